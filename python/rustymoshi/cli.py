"""The command `rustymoshi`: run a file through a model, talk with one, look at one."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import rustymoshi
from rustymoshi import FRAME_SAMPLES, SAMPLE_RATE
from rustymoshi.answer import MOST_SECONDS, TAIL_SECONDS


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
        click.option(
            "--seed", default=0, show_default=True, help="The same seed and audio give the same answer; -1 is any."
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"auto_envvar_prefix": "RUSTYMOSHI", "help_option_names": ["-h", "--help"]})
@click.version_option(rustymoshi.__version__, prog_name="rustymoshi")
def cli() -> None:
    """Talk with Moshi, a full-duplex speech model.

    Every option can also be set in the environment, e.g. RUSTYMOSHI_RUN_MODEL.
    """


def seconds_option(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """A length of time; `nan` and `inf` are numbers to Python, and none here."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds", param=parameter)
    return value


def output_option(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A place that can be written, found out before the model has worked for it."""
    path = Path(value)
    if value == "-":
        return value
    if path.suffix not in ("", ".") and path.suffix.lower() not in rustymoshi.SAVED_ENDINGS:
        known = " or ".join(rustymoshi.SAVED_ENDINGS)
        raise click.BadParameter(
            f"{value} ends in {path.suffix}, and only wav files are written; let it end in {known}", param=parameter
        )
    if not path.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {path.absolute().parent} is not there", param=parameter)
    if not path.exists() and not os.access(path.absolute().parent, os.W_OK):
        raise click.BadParameter(f"the folder {path.absolute().parent} cannot be written", param=parameter)
    return value


@contextmanager
def readable(name: str) -> Iterator[str]:
    """The file itself, or a temporary one with what comes from standard input."""
    if name != "-":
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(path)


def save(name: str, spoken: list[NDArray[np.float32]]) -> None:
    """Write what was said to a file, or to standard output."""
    pcm = np.clip(np.concatenate(spoken), -1.0, 1.0) if spoken else np.zeros(0, dtype=np.float32)
    if name != "-":
        rustymoshi.save_audio(name, pcm)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.wav"
        rustymoshi.save_audio(path, pcm)
        sys.stdout.buffer.write(path.read_bytes())
        sys.stdout.buffer.flush()


@cli.command()
@click.argument("input_file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("output_file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), callback=output_option)
@model_options
@sampling_options
@click.option(
    "--tail",
    type=click.FloatRange(0, MOST_SECONDS),
    default=TAIL_SECONDS,
    show_default=True,
    callback=seconds_option,
    help="Go on after the file for so many seconds at most, until the answer is over.",
)
def run(
    input_file: str,
    output_file: str,
    model: str | None,
    device: str,
    dtype: str | None,
    quantize: str | None,
    threads: int | None,
    tail: float,
    **sampling: Any,
) -> None:
    """Let a model hear INPUT_FILE, save what it says to OUTPUT_FILE and print its words.

    INPUT_FILE has any format and rate, OUTPUT_FILE becomes a wav file; "-" is standard input or output (the words go to
    standard error then). After the file the model hears silence until it has said nothing for three seconds.
    """
    with readable(input_file) as name:
        heard = rustymoshi.load_audio(name)
    session = load_model(model, device, dtype, quantize, threads).session(**sampling)
    answer = rustymoshi.Answer(session, heard, tail=tail)
    words = sys.stderr if output_file == "-" else sys.stdout
    spoken: list[NDArray[np.float32]] = []
    steps, start = 0, time.perf_counter()
    try:
        with tqdm(total=answer.frames, unit="frame", file=sys.stderr) as bar:
            for pcm, text in answer:
                spoken.append(pcm)
                if text:
                    with bar.external_write_mode(file=words, nolock=False):
                        click.echo(text, nl=False, file=words)
                steps += 1
                bar.total = max(bar.total, steps)
                bar.update()
        click.echo(file=words)
    finally:
        # Also what was said before Ctrl-C, or before the model failed.
        if spoken:
            save(output_file, spoken)
    seconds, wall = steps * FRAME_SAMPLES / SAMPLE_RATE, time.perf_counter() - start
    click.echo(f"{seconds:.1f} s of audio in {wall:.1f} s: {seconds / wall:.1f} times real time", err=True)
    if answer.cut:
        click.echo(f"The answer was not over after {tail:g} s; --tail gives it more.", err=True)


@cli.command()
@model_options
@sampling_options
@click.option("--input-device", help="Microphone: a name or number of `python -m sounddevice`.")
@click.option("--output-device", help="Loudspeaker: a name or number of `python -m sounddevice`.")
@click.option("--seconds", type=click.FloatRange(0), callback=seconds_option, help="Hang up after so many seconds.")
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
    lost = converse(session, input_device, output_device, seconds, lambda text: click.echo(text, nl=False))
    click.echo()
    if str(lost):
        click.secho(lost, fg="yellow", err=True)


@cli.command()
@model_options
def info(model: str | None, device: str, dtype: str | None, quantize: str | None, threads: int | None) -> None:
    """Say what a model is: its source, executor, streams and size."""
    for key, value in load_model(model, device, dtype, quantize, threads).info.items():
        click.echo(f"{key:14} {value}")


def main() -> None:
    """Entry point: errors and warnings of the model and its files are one line, without a traceback."""
    warnings.showwarning = lambda message, *_: click.secho(f"rustymoshi: {message}", fg="yellow", err=True)
    try:
        cli()
    except (rustymoshi.RustymoshiError, ValueError, TypeError, OSError) as error:
        click.secho(f"rustymoshi: {error}", fg="red", err=True)
        sys.exit(1)
