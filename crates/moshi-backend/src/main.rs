//! `moshi-backend`: see [`moshi_backend::cli`].

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    moshi_backend::cli::Cli::parse().run_to_exit()
}
