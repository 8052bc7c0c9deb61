//! What to do where an option is not known here: another command has it, a configuration file says it, or it has
//! another name.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::config::ServerConfig;

/// Options of other programs, of other versions and of the Python command, and what is meant by them here.
const ELSEWHERE: [(&[&str], &[&str], &str); 12] = [
    (&["revision"], &[], "a revision stands behind the repository's name: owner/name@REVISION"),
    (
        &["model", "m", "hf-repo"],
        &["quality", "convert", "quantize"],
        "the model is named without an option, behind the command",
    ),
    (&["hf-repo", "repo"], &["standalone", "bench"], "repositories are models too: --model owner/name"),
    (
        &["seed", "temperature", "temp", "top-k", "text-temperature", "text-top-k", "cfg-coef"],
        &["standalone"],
        "each caller chooses this in the query of its call, see docs/protocol.md; what it leaves out is as the model's \
         config.json says",
    ),
    (
        &["moshi-weight", "moshi-weights", "lm-file"],
        &["standalone"],
        "set \"lm_model_file\" in the configuration file (--config FILE), or give --model the file",
    ),
    (
        &["mimi-weight", "mimi-weights"],
        &["standalone"],
        "set \"mimi_model_file\" in the configuration file (--config FILE)",
    ),
    (&["tokenizer"], &["standalone"], "set \"text_tokenizer_file\" in the configuration file (--config FILE)"),
    (&["ssl"], &["standalone"], "--tls has a certificate made; --cert and --key give one, --cert-dir names its folder"),
    (&["cpu"], &["standalone", "bench"], "write --device cpu"),
    (&["half"], &["standalone", "bench"], "write --dtype f16, or bf16"),
    (
        &["log", "l", "log-level", "verbose", "v", "silent"],
        &["standalone"],
        "MOSHI_LOG=debug in the environment sets \
     what is logged; --log-format how",
    ),
    (
        &["device", "dtype"],
        &["quality", "convert", "quantize"],
        "this command runs on the processor, with the numbers that the file holds; --type and --quantize choose others \
         where they are taken",
    ),
];

/// Adds to an error of the command line what a person can do about it.
pub(super) fn explain(mut error: Error, command: &Command, given: &[OsString]) -> Error {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg).cloned() else { return error };
    let here = super::named::subcommand(command, given);
    let hint = match error.kind() {
        ErrorKind::UnknownArgument => unknown(&arg, command, here),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => from_environment(&arg, here, given),
        _ => None,
    };
    if let Some(hint) = hint {
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

fn unknown(arg: &str, command: &Command, here: Option<&Command>) -> Option<String> {
    let here = here?.get_name();
    let Some(name) = arg.strip_prefix('-') else {
        let bare = here == "bench" || here == "standalone";
        return bare.then(|| format!("a model is named with an option: --model {arg}"));
    };
    let name = name.trim_start_matches('-').split('=').next().unwrap_or_default();
    let elsewhere = ELSEWHERE
        .iter()
        .find(|(names, commands, _)| names.contains(&name) && (commands.is_empty() || commands.contains(&here)));
    if let Some((_, _, hint)) = elsewhere {
        return Some((*hint).to_owned());
    }
    if here == "standalone"
        && let Some(key) = key_like(name)
    {
        return Some(format!(
            "set \"{key}\" in the configuration file (--config FILE); docs/server.md lists every key"
        ));
    }
    let others =
        command.get_subcommands().filter(|sub| sub.get_arguments().any(|known| known.get_long() == Some(name)));
    let others: Vec<String> = others.map(|sub| sub.get_name().to_owned()).collect();
    (!others.is_empty()).then(|| format!("--{name} is an option of {}, not of {here}", others.join(", ")))
}

/// The configuration's key that an option would have, with or without its unit.
fn key_like(name: &str) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let units = ["", "_s", "_ms", "_frames", "_bytes", "_file", "_dir"];
    let names: Vec<String> = units.iter().map(|unit| format!("{name}{unit}")).collect();
    ServerConfig::keys().into_iter().find(|key| names.iter().any(|name| name == key))
}

/// Where a wrong value came from, if not from the command line.
fn from_environment(arg: &str, here: Option<&Command>, given: &[OsString]) -> Option<String> {
    // It is named as the help names it: `--port <PORT>`.
    let long = arg.split([' ', '=']).next()?;
    let known = here?.get_arguments().find(|known| known.get_long() == long.strip_prefix("--"))?;
    let said = given.iter().filter_map(|word| word.to_str()).any(|word| word.split('=').next() == Some(long));
    let variable = known.get_env()?.to_str()?;
    (!said).then(|| format!("it stands in the environment variable {variable}"))
}
