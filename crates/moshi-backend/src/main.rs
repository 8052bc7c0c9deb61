//! `moshi-backend`: see [`moshi_backend::cli`].

use clap::Parser;

fn main() -> anyhow::Result<()> {
    moshi_backend::cli::Cli::parse().run()
}
