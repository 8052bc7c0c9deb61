"""The command `rustymoshi speak`: a text, read aloud while it comes."""

from __future__ import annotations

import codecs
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rustymoshi import SAMPLE_RATE, SpokenWord, SynthesisSession
from rustymoshi.files import output_option, save
from rustymoshi.loading import load_kind, model_options

#: Most bytes of standard input that are taken at once.
PIECE = 65_536
#: Takes each piece of sound as it is made.
Take = Callable[[NDArray[np.float32]], None]


def pieces_of(text: tuple[str, ...], file: str | None) -> Iterator[str]:
    """The text, piece by piece: what was typed, a file, or standard input as it comes."""
    if file == "-" or (file is None and text == ("-",)):
        yield from standard_input()
    elif file is None:
        yield " ".join(text)
    else:
        try:
            yield Path(file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise click.UsageError(f"{file} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def standard_input() -> Iterator[str]:
    """What comes on standard input, as soon as it comes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    while True:
        read = os.read(sys.stdin.fileno(), PIECE)
        try:
            text = decoder.decode(read, final=not read)
        except UnicodeDecodeError as error:
            raise click.UsageError(f"standard input is no text in UTF-8: {error.reason}") from error
        if text:
            yield text
        if not read:
            return


def read_aloud(
    session: SynthesisSession, pieces: Iterator[str]
) -> Iterator[tuple[NDArray[np.float32], list[SpokenWord]]]:
    """Sound and words of a text, as far as it goes with each piece, and then the rest."""
    for piece in pieces:
        session.push(piece)
        yield from session
    session.finish()
    yield from session


@contextmanager
def binary(name: str) -> Iterator[BinaryIO]:
    """A file to write, or standard output."""
    if name == "-":
        yield sys.stdout.buffer
        return
    with Path(name).open("wb") as file:
        yield file


class PcmFile:
    """Samples as 16-bit integers, little-endian, as OpenAI's `pcm` has them, as soon as they are made."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, pcm: NDArray[np.float32]) -> None:
        """Write samples, clipped to [-1, 1]."""
        self._file.write(np.round(np.clip(pcm, -1.0, 1.0) * 32_767).astype("<i2").tobytes())
        self._file.flush()


def place(stack: ExitStack, output: str | None, form: str, device: str | None) -> Take:
    """Where the sound goes: played or written as it is made, or as a file when it is over, also after Ctrl-C."""
    if output is None:
        from rustymoshi.devices import Loudspeaker

        return stack.enter_context(Loudspeaker(device)).play
    if form == "pcm":
        return PcmFile(stack.enter_context(binary(output))).write
    spoken: list[NDArray[np.float32]] = []
    stack.callback(lambda: save(output, spoken) if spoken else None)
    return spoken.append


def check_use(text: tuple[str, ...], file: str | None, output: str | None, form: str) -> None:
    """Refuse what cannot be done before a model is loaded for it."""
    if bool(text) == (file is not None):
        raise click.UsageError('give a text to read, or a file with --file; "-" is standard input')
    if file is None and text != ("-",) and not " ".join(text).strip():
        raise click.UsageError("the text is empty")
    if output is None and form != "wav":
        raise click.UsageError(f"--format {form} needs --output: the loudspeaker has no format")
    if output is not None and form == "wav":
        context = click.get_current_context()
        output_option(context, next(p for p in context.command.params if p.name == "output"), output)


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "--file", "-f", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="Read this file of text."
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, writable=True, allow_dash=True), help="Write it; do not play it."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["wav", "pcm"]),
    default="wav",
    show_default=True,
    help="What to write; pcm (24 kHz, mono, 16 bit) is written as it is made.",
)
@click.option("--output-device", help="Loudspeaker: a name or number of `python -m sounddevice`.")
@model_options
@click.option(
    "--voice", multiple=True, help="A file, a name in the model's voices, or hf://kyutai/tts-voices/NAME.wav."
)
@click.option("--cfg", type=float, help="Draw it towards the voice: 1 is not at all; default: 2.")
@click.option("--seed", default=0, show_default=True, help="The same seed and text give the same sound; -1 is any.")
@click.option("--temperature", type=float, default=0.6, show_default=True, help="Of the voice; 0 is greedy.")
@click.option("--text-temperature", type=float, default=0.6, show_default=True, help="Of the pauses; 0 is greedy.")
@click.option("--num-codebooks", type=click.IntRange(1), help="Fewer are faster and rougher; default: the model's.")
def speak(
    text: tuple[str, ...],
    file: str | None,
    output: str | None,
    form: str,
    output_device: str | None,
    model: str | None,
    device: str,
    dtype: str | None,
    quantize: str | None,
    threads: int | None,
    voice: tuple[str, ...],
    **sampling: Any,
) -> None:
    """Read TEXT aloud, through this machine's loudspeaker or to a file.

    TEXT "-" is standard input, read as it comes: `some-program | rustymoshi speak -`. <break time="0.5s"/> is a pause.
    It is played while it is made. Takes a model for synthesis; Ctrl-C ends it, and keeps what was written.
    """
    check_use(text, file, output, form)
    options = {"device": device, "dtype": dtype, "quantize": quantize, "threads": threads}
    loaded = load_kind("tts", "speak", model, **options)
    with ExitStack() as stack:
        session = stack.enter_context(loaded.synthesis(voice=list(voice) or None, **sampling))
        take = place(stack, output, form, output_device)
        start, seconds = time.perf_counter(), 0.0
        bar = stack.enter_context(tqdm(desc="speech", unit="s", unit_scale=True, file=sys.stderr, disable=None))
        for pcm, words in read_aloud(session, pieces_of(text, file)):
            take(pcm)
            seconds += len(pcm) / SAMPLE_RATE
            bar.update(round(seconds, 1) - bar.n)
            if words:
                bar.set_postfix_str(words[-1].text)
    wall = time.perf_counter() - start
    if output is not None:
        click.echo(f"{seconds:.1f} s of speech in {wall:.1f} s: {seconds / wall:.1f} times real time", err=True)
