//! What the environment says, before the options are read: every option has a variable, and not everything that stands
//! in one was meant for it.
//!
//! A variable is passed over when it is empty, when it says no to an option that is a yes, when an option on the command
//! line contradicts it, and when Kubernetes made it. Beside a Service named `moshi`, every pod of the namespace has
//! `MOSHI_PORT=tcp://10.0.0.12:8998`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// What means yes and no in the variable of an option without a value.
const YES: [&str; 6] = ["1", "true", "yes", "on", "y", "t"];
const NO: [&str; 6] = ["0", "false", "no", "off", "n", "f"];

/// Prepares the whole command line for the arguments `given`; `told` is what a person should know about variables that
/// are passed over.
pub(super) fn heed(command: Command, given: &[OsString], told: &mut Vec<String>) -> Command {
    let Some(name) = super::named::subcommand(&command, given).map(|sub| sub.get_name().to_owned()) else {
        return command.mut_subcommands(with_words);
    };
    let command = command.mut_subcommands(with_words);
    command.mut_subcommand(name, |sub| {
        let deaf: Vec<clap::Id> = sub
            .get_arguments()
            .filter(|arg| passed_over(arg, told) || contradicted(&sub, arg, given))
            .map(|arg| arg.get_id().clone())
            .collect();
        deaf.into_iter().fold(sub, |sub, id| sub.mut_arg(id, |arg| arg.env(None::<&str>)))
    })
}

/// Whether an option is a yes by being there.
fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Lets the variables of options without a value take every usual word, and the help say so.
fn with_words(command: Command) -> Command {
    let any = command.get_arguments().any(|arg| is_flag(arg) && arg.get_env().is_some());
    let command = command.mut_args(|arg| {
        let flag = is_flag(&arg) && arg.get_env().is_some();
        if flag { arg.value_parser(yes_or_no) } else { arg }
    });
    match any {
        true => command.after_help(
            "The variables of options without a value take 1, true, yes, on, or 0, false, no, off. An option wins over \
             its variable, and an empty variable is none.",
        ),
        false => command,
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    let word = text.trim().to_ascii_lowercase();
    match (YES.contains(&word.as_str()), NO.contains(&word.as_str())) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err("expected 1, true, yes, on, or 0, false, no, off".to_owned()),
    }
}

fn passed_over(arg: &Arg, told: &mut Vec<String>) -> bool {
    let Some(variable) = arg.get_env() else { return false };
    let Some(value) = std::env::var_os(variable) else { return false };
    let Some(value) = value.to_str() else { return false };
    let variable = variable.to_string_lossy();
    if made_by_kubernetes(&variable, value) {
        told.push(format!(
            "the environment variable {variable} is {value}, which Kubernetes makes of a Service's name: it is passed \
             over; set the port with --port or in the configuration file, or `enableServiceLinks: false` in the pod"
        ));
        return true;
    }
    value.trim().is_empty() || (is_flag(arg) && yes_or_no(value) == Ok(false))
}

/// Whether a variable is one of those that Kubernetes (and `docker --link`) makes of a Service's name: `NAME_PORT`, and
/// more whose names end in ways in which no option's does.
fn made_by_kubernetes(variable: &str, value: &str) -> bool {
    let protocol = value.split_once("://").map(|(protocol, _)| protocol);
    variable.ends_with("_PORT") && matches!(protocol, Some("tcp" | "udp" | "sctp"))
}

/// Whether an option on the command line cannot go with this one: it wins over the other's variable too.
fn contradicted(command: &Command, arg: &Arg, given: &[OsString]) -> bool {
    if arg.get_env().is_none() || is_given(arg, given) {
        return false;
    }
    let against = |other: &Arg| {
        let conflicts =
            |one: &Arg, with: &Arg| command.get_arg_conflicts_with(one).iter().any(|c| c.get_id() == with.get_id());
        conflicts(arg, other) || conflicts(other, arg)
    };
    let mut others = command.get_arguments().filter(|other| other.get_id() != arg.get_id() && is_given(other, given));
    others.any(against)
}

fn is_given(arg: &Arg, given: &[OsString]) -> bool {
    let Some(long) = arg.get_long() else { return false };
    let options = given.iter().take_while(|word| word.as_os_str() != OsStr::new("--"));
    options
        .filter_map(|word| word.to_str()?.strip_prefix("--"))
        .any(|word| word.strip_prefix(long).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn words_for_yes_and_no_are_understood_however_they_are_written() {
        for (text, meant) in
            [("1", true), (" TRUE ", true), ("Yes", true), ("on\r", true), ("0", false), ("OFF", false)]
        {
            assert_eq!(yes_or_no(text), Ok(meant), "{text:?}");
        }
        for text in ["2", "yess", "enabled", "ja", "01"] {
            assert!(yes_or_no(text).unwrap_err().contains("1, true, yes, on, or 0, false, no, off"), "{text}");
        }
    }

    #[test]
    fn what_kubernetes_makes_of_a_services_name_is_no_ones_option_but_the_port() {
        for value in ["tcp://10.0.0.12:8998", "udp://10.0.0.12:8998", "tcp://[fd00::12]:8998", "sctp://10.0.0.12:1"] {
            assert!(made_by_kubernetes("MOSHI_PORT", value), "{value}");
        }
        assert!(!made_by_kubernetes("MOSHI_PORT", "8998") && !made_by_kubernetes("MOSHI_HOST", "tcp://10.0.0.12:1"));
        for command in crate::cli::Cli::command().get_subcommands() {
            for variable in command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()) {
                let made = ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP", "_PROTO", "_ADDR"];
                assert!(!made.iter().any(|end| variable.ends_with(end)), "a Service could be named so: {variable}");
                assert!(!variable.ends_with("_PORT") || variable == "MOSHI_PORT", "{variable}");
                assert!(!variable.contains("_SERVICE_PORT_") && !variable.contains("_PORT_"), "{variable}");
            }
        }
    }
}
