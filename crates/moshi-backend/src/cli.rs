//! The command line: one variant per command, one file per command in [`crate::commands`].

use clap::{Parser, Subcommand};

use crate::commands::{check_config, standalone};

/// Talk with Moshi: a server for full-duplex speech models, and tools around it.
#[derive(Debug, Parser)]
#[command(name = "moshi-backend", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Standalone(standalone::StandaloneArgs),
    CheckConfig(check_config::CheckConfigArgs),
}

impl Cli {
    /// Runs the command that was asked for.
    ///
    /// # Errors
    /// Whatever stopped it, for a person to read.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Standalone(args) => standalone::run(&args),
            Command::CheckConfig(args) => check_config::run(&args),
        }
    }
}
