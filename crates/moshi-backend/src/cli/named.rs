//! Which command a command line names, before it is read.

use std::ffi::OsString;

use clap::Command;

/// The command that the arguments name.
pub(super) fn subcommand<'a>(command: &'a Command, given: &[OsString]) -> Option<&'a Command> {
    let words = given.iter().skip(1).filter_map(|word| word.to_str());
    words.take_while(|word| !word.starts_with('-')).find_map(|word| command.find_subcommand(word))
}
