//! `moshi-backend convert` and `moshi-backend quantize`: a checkpoint in another layout or number format.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use moshi_checkpoint::export::{Export, Numbers, WriteLayout, write_model, write_repository};
use moshi_checkpoint::{HubOptions, Layout, OpenOptions, Parts};

use super::say;
use crate::cli::values;

/// Write a checkpoint with another layout of names; numbers stay as they are where the layout can hold them, and become
/// f32 where it cannot, so that nothing is rounded.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// A folder, file or repository (owner/name@revision); an adapter that it names is merged.
    input: String,
    /// Folder to write a repository to, or a .safetensors or .gguf file for the language model alone.
    output: PathBuf,
    /// Whose names and file format.
    #[arg(long, env = "MOSHI_LAYOUT", value_enum)]
    layout: LayoutArg,
    /// Threads; by default one for each core.
    #[arg(long, env = "MOSHI_THREADS", value_parser = values::threads)]
    threads: Option<NonZeroUsize>,
}

/// Write a checkpoint with other numbers, as the programs that use them expect: q8_0 and q4_0 in GGUF, q8-rows for the
/// PyTorch package, mlx-q8 and mlx-q4 for MLX; bf16, f16 and f32 with the input's names.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// A folder, file or repository (owner/name@revision); an adapter that it names is merged.
    input: String,
    /// Folder to write a repository to, or a .safetensors or .gguf file for the language model alone.
    output: PathBuf,
    /// q8_0, q4_0, q8-rows, mlx-q8, mlx-q4, bf16, f16 or f32.
    #[arg(long = "type", env = "MOSHI_TYPE", value_name = "TYPE")]
    numbers: Numbers,
    /// Round weights that are quantized already a second time.
    #[arg(long, env = "MOSHI_REQUANTIZE")]
    requantize: bool,
    /// Threads; by default one for each core.
    #[arg(long, env = "MOSHI_THREADS", value_parser = values::threads)]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutArg {
    /// The PyTorch package's names.
    Pytorch,
    /// The published Rust server's names.
    Candle,
    /// The MLX package's names.
    Mlx,
    /// The published Rust server's names in GGUF.
    Gguf,
}

/// Runs `convert`.
///
/// # Errors
/// When the input cannot be read, or the output exists or cannot be written.
pub fn convert(args: &ConvertArgs) -> anyhow::Result<()> {
    let layout = match args.layout {
        LayoutArg::Pytorch => WriteLayout::PyTorch,
        LayoutArg::Candle => WriteLayout::Candle,
        LayoutArg::Mlx => WriteLayout::Mlx,
        LayoutArg::Gguf => WriteLayout::Gguf,
    };
    let wish = Wish { requantize: false, threads: args.threads };
    write(&args.input, &args.output, |_| (layout, Numbers::Keep), wish)
}

/// Runs `quantize`.
///
/// # Errors
/// As [`convert`]; when weights would be rounded a second time.
pub fn quantize(args: &QuantizeArgs) -> anyhow::Result<()> {
    let layout = |found| match (args.numbers, found) {
        (Numbers::Q8_0 | Numbers::Q4_0, _) => WriteLayout::Gguf,
        (Numbers::MlxQ8 | Numbers::MlxQ4, _) | (_, Layout::Mlx) => WriteLayout::Mlx,
        (Numbers::Int8Rows, _) | (_, Layout::PyTorch) => WriteLayout::PyTorch,
        (_, _) => WriteLayout::Candle,
    };
    let wish = Wish { requantize: args.requantize, threads: args.threads };
    write(&args.input, &args.output, |found| (layout(found), args.numbers), wish)
}

/// How a checkpoint is written, besides its layout and numbers.
struct Wish {
    requantize: bool,
    threads: Option<NonZeroUsize>,
}

fn write(
    input: &str,
    output: &Path,
    choose: impl Fn(Layout) -> (WriteLayout, Numbers),
    wish: Wish,
) -> anyhow::Result<()> {
    let extension = output.extension().and_then(|e| e.to_str());
    let single = matches!(extension, Some("safetensors" | "gguf"));
    let parts = if single { Parts::LM } else { Parts::ALL };
    let open = OpenOptions { parts, hub: HubOptions::from_env(), ..OpenOptions::default() };
    let repository = super::open(input, &open)?;
    let (layout, numbers) = choose(repository.lm_layout()?);
    if single && (extension == Some("gguf")) != (layout == WriteLayout::Gguf) {
        let right = if layout == WriteLayout::Gguf { "a .gguf" } else { "a .safetensors" };
        anyhow::bail!("{}: this is written as {right} file; name one, or a folder", output.display());
    }
    let threads = wish.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let export = Export { layout, numbers, requantize: wish.requantize, threads };
    let mut told = 0;
    let mut progress = |done: usize, count: usize| {
        let tenths = 10 * done / count.max(1);
        if tenths > told {
            told = tenths;
            // A closed output is no reason to stop.
            let _ = say(&format!("{} %", 10 * tenths));
        }
    };
    if single {
        write_model(&repository, output, &export, &mut progress)?;
    } else {
        write_repository(&repository, output, &export, &mut progress)?;
    }
    Ok(say(&format!("wrote {}", output.display()))?)
}
