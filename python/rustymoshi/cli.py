"""The command `rustymoshi`: run a file through a model, talk with one, look at one."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import rustymoshi
from rustymoshi import FRAME_SAMPLES, SAMPLE_RATE
from rustymoshi._native import SESSION_PARAMETERS
from rustymoshi.answer import MOST_SECONDS, TAIL_SECONDS
from rustymoshi.files import output_option, readable, save, seconds_option
from rustymoshi.loading import PUBLISHED, load_model, model_options
from rustymoshi.speaking import speak
from rustymoshi.transcribing import transcribe
from rustymoshi.translating import translate


def sampling_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a session; those left out take the checkpoint's own values."""
    for (name, _, help), (low, high, whole, _), _ in reversed(SESSION_PARAMETERS):
        kind = click.IntRange(int(low), int(high)) if whole else click.FloatRange(low, high)
        command = click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{help}.")(command)
    seed = "The same seed and audio give the same answer; -1 is any."
    return click.option("--seed", default=0, show_default=True, help=seed)(command)


@click.group(context_settings={"auto_envvar_prefix": "RUSTYMOSHI", "help_option_names": ["-h", "--help"]})
@click.version_option(rustymoshi.__version__, prog_name="rustymoshi")
def cli() -> None:
    """Talk with Moshi, a full-duplex speech model.

    Every option can also be set in the environment, e.g. RUSTYMOSHI_RUN_MODEL.
    """


def role_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of who the model is."""
    for option in (
        click.option("--lora", type=click.Path(exists=True), help="Speak with the adapter in this folder."),
        click.option(
            "--voice", help="Speak with this voice: a recording, a .pt file, or a name in the model's voices."
        ),
        click.option("--role", help="Who the model plays, in words."),
    ):
        command = option(command)
    return command


def open_session(
    model: str | None, role: str | None, voice: str | None, lora: str | None, sampling: dict[str, Any], **options: Any
) -> rustymoshi.StreamingSession:
    """A session of the model, as the options of a command say."""
    if model is None and (role is not None or voice is not None):
        raise click.UsageError(f"--role and --voice need a model that plays roles: --model {PUBLISHED['role']}")
    loaded = load_model(model, **options, lora=[lora] if lora else [])
    return loaded.session(**sampling, role=role, voice=voice, lora=lora)


cli.add_command(speak)
cli.add_command(transcribe)
cli.add_command(translate)


@cli.command()
@click.argument("input_file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("output_file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), callback=output_option)
@model_options
@role_options
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
    role: str | None,
    voice: str | None,
    lora: str | None,
    tail: float,
    **sampling: Any,
) -> None:
    """Let a model hear INPUT_FILE, save what it says to OUTPUT_FILE and print its words.

    INPUT_FILE has any format and rate, OUTPUT_FILE becomes a wav file; "-" is standard input or output (the words go to
    standard error then). After the file the model hears silence until it has said nothing for three seconds.
    """
    with readable(input_file) as name:
        heard = rustymoshi.load_audio(name)
    options = {"device": device, "dtype": dtype, "quantize": quantize, "threads": threads}
    session = open_session(model, role, voice, lora, sampling, **options)
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
@role_options
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
    role: str | None,
    voice: str | None,
    lora: str | None,
    input_device: str | None,
    output_device: str | None,
    seconds: float | None,
    **sampling: Any,
) -> None:
    """Talk with a model through this machine's microphone and loudspeaker. Wear headphones; Ctrl-C hangs up."""
    from rustymoshi.devices import converse

    options = {"device": device, "dtype": dtype, "quantize": quantize, "threads": threads}
    session = open_session(model, role, voice, lora, sampling, **options)
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
