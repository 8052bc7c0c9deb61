//! `moshi-backend`: see [`moshi_backend::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    moshi_backend::cli::Cli::from_program().run_to_exit()
}
