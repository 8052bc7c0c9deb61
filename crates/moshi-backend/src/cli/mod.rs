//! The command line: one variant per command, one file per command in [`crate::commands`].

mod environment;
mod hints;
mod named;
pub(crate) mod values;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{bench, check_config, convert, make_random, quality, standalone};

/// Talk with Moshi: a server for full-duplex speech models, and tools around it.
#[derive(Debug, Parser)]
#[command(name = "moshi-backend", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What is worth telling about the environment.
    #[arg(skip)]
    notes: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Standalone(Box<standalone::StandaloneArgs>),
    Bench(bench::BenchArgs),
    CheckConfig(check_config::CheckConfigArgs),
    Quantize(convert::QuantizeArgs),
    Convert(convert::ConvertArgs),
    MakeRandom(make_random::MakeRandomArgs),
    Quality(quality::QualityArgs),
}

impl Cli {
    /// Reads this program's arguments and environment. Where they are wrong, and where they ask for help, the program
    /// ends here.
    pub fn from_program() -> Self {
        let given: Vec<OsString> = std::env::args_os().collect();
        let mut notes = Vec::new();
        let command = environment::heed(Self::command(), &given, &mut notes);
        let read = command.clone().try_get_matches_from(&given).and_then(|found| Self::from_arg_matches(&found));
        match read {
            Ok(cli) => Self { notes, ..cli },
            Err(error) => hints::explain(error, &command, &given).exit(),
        }
    }

    /// Runs the command that was asked for; what stopped it goes to standard error.
    pub fn run_to_exit(self) -> ExitCode {
        match self.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // An error means that standard error is closed: then nobody listens.
                let _ = writeln!(std::io::stderr(), "error: {}", in_words(&error));
                match error.downcast_ref::<standalone::Stuck>() {
                    Some(_) => ExitCode::from(standalone::Stuck::EXIT_CODE),
                    None => ExitCode::FAILURE,
                }
            }
        }
    }

    /// Runs the command that was asked for.
    ///
    /// # Errors
    /// Whatever stopped it, for a person to read.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Standalone(args) => standalone::run(&args, self.notes),
            Command::Bench(args) => bench::run(&args),
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Quantize(args) => convert::quantize(&args),
            Command::Convert(args) => convert::convert(&args),
            Command::MakeRandom(args) => make_random::run(&args),
            Command::Quality(args) => quality::run(&args),
        }
    }
}

/// An error and its causes; a cause that the text before it has told already is left out.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}
