//! `moshi-backend check-config`: reads configuration files and says what they mean.

use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::config::{ModelSource, ModelSpec, ServerConfig, TlsChoice};

/// Check server configuration files without starting anything.
///
/// Prints what each file means and every warning; fails on the first file that cannot be used.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// Configuration files (JSON).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// The first file that cannot be used, and why.
pub fn run(args: &CheckConfigArgs) -> anyhow::Result<()> {
    for file in &args.files {
        let config = ServerConfig::load(file)?;
        say(&format!("{}: good", file.display()))?;
        say(&format!("  model      {}", describe_model(&config.model)))?;
        let tls = match config.tls {
            TlsChoice::Auto => "TLS unless on localhost",
            TlsChoice::On => "TLS",
            TlsChoice::Off => "plain http",
        };
        say(&format!("  listens    {} port {}, {tls}", config.host, config.port))?;
        say(&format!("  calls      {} at once", config.max_sessions))?;
        let page = config.static_dir.as_ref().map(|folder| folder.display().to_string());
        say(&format!("  page       {}", page.unwrap_or_else(|| "the one in the binary".to_owned())))?;
        for warning in &config.warnings {
            say(&format!("  warning    {warning}"))?;
        }
    }
    Ok(())
}

fn describe_model(spec: &ModelSpec) -> String {
    let mut text = match &spec.source {
        ModelSource::BuiltIn => "the built-in model".to_owned(),
        ModelSource::Loopback => "none: callers hear themselves".to_owned(),
        ModelSource::Path(path) => path.display().to_string(),
        ModelSource::Repo(repo) => format!("{repo} from the hub"),
    };
    for file in [&spec.lm_model_file, &spec.mimi_model_file, &spec.text_tokenizer_file].into_iter().flatten() {
        text.push_str(&format!(", {file}"));
    }
    text
}
