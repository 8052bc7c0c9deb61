"""The command `rustymoshi`: run a file through a model, talk with one, look at one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import rustymoshi
from rustymoshi import FRAME_SAMPLES, SAMPLE_RATE

#: Frames of silence after a file, in which the model finishes what its delays and thoughts hold back.
TAIL_FRAMES = 3


class DownloadBars:
    """One progress bar a file while a repository is downloaded."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def __call__(self, file: str, done: int, total: int) -> None:
        bar = self._bars.get(file)
        if bar is None:
            bar = self._bars[file] = tqdm(total=total, desc=file, unit="B", unit_scale=True, file=sys.stderr)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()


def load_model(
    model: str | None, device: str, dtype: str | None, quantize: str | None, threads: int | None
) -> rustymoshi.Model:
    """The built-in model, or the one at `model`; its notice goes to standard error."""
    if model is None:
        if quantize:
            raise click.UsageError("--quantize needs --model: the built-in model is small enough as it is")
        loaded = rustymoshi.Model.default(device, threads=threads)
    else:
        loaded = rustymoshi.Model.load(
            model, device, dtype, quantize=quantize, threads=threads, progress=DownloadBars()
        )
    if loaded.notice:
        click.secho(loaded.notice, fg="yellow", err=True)
    return loaded


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that choose a model and how it runs."""
    for option in (
        click.option("--threads", type=click.IntRange(1), help="Threads per step; default: one for each core."),
        click.option("--quantize", type=click.Choice(["q8", "q4"]), help="Make integers of the weights while loading."),
        click.option("--dtype", type=click.Choice(["f32", "bf16", "f16"]), help="Weights in memory, not as the file."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, metal or reference."),
        click.option("--model", "-m", help="A folder, file or repository (owner/name@revision); default: built-in."),
    ):
        command = option(command)
    return command


def sampling_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a session; those left out take the checkpoint's own values."""
    for option in (
        click.option("--text-top-k", type=click.IntRange(0), help="Keep the k likeliest words; 0 keeps all."),
        click.option("--text-temperature", type=float, help="Temperature of the words; 0 is greedy."),
        click.option("--top-k", type=click.IntRange(0), help="Keep the k likeliest codes; 0 keeps all."),
        click.option("--temperature", type=float, help="Temperature of the voice; 0 is greedy."),
        click.option("--seed", default=0, show_default=True, help="The same seed and audio give the same answer."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"auto_envvar_prefix": "RUSTYMOSHI", "help_option_names": ["-h", "--help"]})
@click.version_option(rustymoshi.__version__, prog_name="rustymoshi")
def cli() -> None:
    """Talk with Moshi, a full-duplex speech model.

    Every option can also be set in the environment, e.g. RUSTYMOSHI_RUN_MODEL.
    """


@cli.command()
@click.argument("input_file", type=click.Path(exists=True, dir_okay=False))
@click.argument("output_file", type=click.Path(dir_okay=False, writable=True))
@model_options
@sampling_options
def run(
    input_file: str,
    output_file: str,
    model: str | None,
    device: str,
    dtype: str | None,
    quantize: str | None,
    threads: int | None,
    **sampling: Any,
) -> None:
    """Let a model hear INPUT_FILE (any format and rate), save what it says to OUTPUT_FILE and print its words."""
    heard = rustymoshi.load_audio(input_file)
    session = load_model(model, device, dtype, quantize, threads).session(**sampling)
    frames = -(-len(heard) // FRAME_SAMPLES) + TAIL_FRAMES
    heard = np.pad(heard, (0, frames * FRAME_SAMPLES - len(heard)))
    spoken: list[NDArray[np.float32]] = []
    start = time.perf_counter()
    with tqdm(total=frames, unit="frame", file=sys.stderr) as bar:
        for frame in heard.reshape(frames, FRAME_SAMPLES):
            pcm, text = session.step(frame)
            spoken.append(pcm)
            if text:
                with bar.external_write_mode(file=sys.stdout, nolock=False):
                    click.echo(text, nl=False)
            bar.update()
    click.echo()
    rustymoshi.save_audio(output_file, np.concatenate(spoken))
    seconds, wall = len(heard) / SAMPLE_RATE, time.perf_counter() - start
    click.echo(f"{seconds:.1f} s of audio in {wall:.1f} s: {seconds / wall:.1f} times real time", err=True)


@cli.command()
@model_options
@sampling_options
@click.option("--input-device", help="Microphone: a name or number of `python -m sounddevice`.")
@click.option("--output-device", help="Loudspeaker: a name or number of `python -m sounddevice`.")
@click.option("--seconds", type=float, help="Hang up after so many seconds.")
def chat(
    model: str | None,
    device: str,
    dtype: str | None,
    quantize: str | None,
    threads: int | None,
    input_device: str | None,
    output_device: str | None,
    seconds: float | None,
    **sampling: Any,
) -> None:
    """Talk with a model through this machine's microphone and loudspeaker. Wear headphones; Ctrl-C hangs up."""
    from rustymoshi.devices import converse

    session = load_model(model, device, dtype, quantize, threads).session(**sampling)
    converse(session, input_device, output_device, seconds, lambda text: click.echo(text, nl=False))
    click.echo()


@cli.command()
@model_options
def info(model: str | None, device: str, dtype: str | None, quantize: str | None, threads: int | None) -> None:
    """Say what a model is: its source, executor, streams and size."""
    for key, value in load_model(model, device, dtype, quantize, threads).info.items():
        click.echo(f"{key:14} {value}")


def main() -> None:
    """Entry point: errors of the model and its files are one line, without a traceback."""
    try:
        cli()
    except (rustymoshi.RustymoshiError, ValueError, OSError) as error:
        click.secho(f"rustymoshi: {error}", fg="red", err=True)
        sys.exit(1)
