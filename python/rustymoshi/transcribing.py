"""The command `rustymoshi transcribe`: recordings and the microphone, written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from rustymoshi import Heard, Model, Transcript, Word
from rustymoshi.files import readable, seconds_option
from rustymoshi.loading import load_kind, model_options

#: How a transcript is written, by the format's name.
FORMATS: dict[str, Callable[[Transcript], str]] = {
    "text": lambda transcript: transcript.text + "\n",
    "json": lambda transcript: as_json(transcript) + "\n",
    "srt": Transcript.srt,
    "vtt": Transcript.vtt,
}
#: How the file of a format ends.
ENDINGS = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def as_json(transcript: Transcript) -> str:
    """Text and words in one line."""
    return json.dumps(
        {"text": transcript.text, "words": [word_fields(word) for word in transcript.words]}, ensure_ascii=False
    )


def word_fields(word: Word) -> dict[str, Any]:
    """A word for JSON, its times to the millisecond."""
    return {"text": word.text, "start": round(word.start, 3), "stop": round(word.stop, 3)}


class Progress:
    """A bar on standard error, in seconds of sound."""

    def __init__(self, name: str) -> None:
        self._bar: tqdm[Any] = tqdm(desc=name, unit="s", unit_scale=True, file=sys.stderr, disable=None)

    def __call__(self, seconds: float, total: float | None, _new: object) -> None:
        self._bar.total = total
        self._bar.update(round(seconds, 1) - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def write_down(model: Model, name: str) -> Transcript:
    """What a file says, with a bar while it is heard."""
    progress = Progress(name)
    try:
        with readable(name) as path:
            return model.transcribe(path, progress=progress)
    finally:
        progress.close()


def hear_microphone(model: Model, form: str, device: str | None, seconds: float | None) -> None:
    """Write down what the microphone hears, as it comes: text, or a word in each line of JSON."""
    from rustymoshi.devices import microphone_frames

    session = model.transcription()

    def tell(heard: Heard) -> None:
        if form == "text":
            click.echo(heard.text, nl=False)
        for word in heard.words if form == "json" else []:
            click.echo(json.dumps(word_fields(word), ensure_ascii=False))

    try:
        for pcm in microphone_frames(device, seconds):
            tell(session.step(pcm))
    except KeyboardInterrupt:
        pass
    tell(session.finish())
    if form == "text":
        click.echo()


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--mic", is_flag=True, help="Write down what this machine's microphone hears, until Ctrl-C.")
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True, help="What to write."
)
@click.option(
    "--output-folder",
    "-o",
    type=click.Path(file_okay=False, exists=True),
    help="Write a file for each recording there.",
)
@click.option("--input-device", help="Microphone: a name or number of `python -m sounddevice`.")
@click.option(
    "--seconds", type=click.FloatRange(0), callback=seconds_option, help="With --mic: stop after so many seconds."
)
@model_options
def transcribe(
    files: tuple[str, ...],
    mic: bool,
    form: str,
    output_folder: str | None,
    input_device: str | None,
    seconds: float | None,
    model: str | None,
    **options: Any,
) -> None:
    """Write down what FILES say, or what the microphone hears.

    FILES have any common format and rate; "-" is standard input. json holds the words with the seconds at which they
    start and stop, srt and vtt are captions. Takes a model for recognition.
    """
    check_use(files, mic, form, output_folder)
    loaded = load_kind("stt", "transcribe", model, **options)
    if mic:
        hear_microphone(loaded, form, input_device, seconds)
        return
    for name in files:
        written = FORMATS[form](write_down(loaded, name))
        if output_folder is not None:
            (Path(output_folder) / (Path(name).stem + ENDINGS[form])).write_text(written, encoding="utf-8")
            continue
        if len(files) > 1 and form == "text":
            click.echo(f"{name}: ", nl=False)
        click.echo(written, nl=False)


def check_use(files: tuple[str, ...], mic: bool, form: str, output_folder: str | None) -> None:
    """Refuse what cannot be done before a model is loaded for it."""
    if mic == bool(files):
        raise click.UsageError("name the files to write down, or --mic for the microphone")
    if mic and form in ("srt", "vtt"):
        raise click.UsageError(f"--format {form} needs a file: captions are made when a recording is over")
    if len(files) > 1 and form in ("srt", "vtt") and output_folder is None:
        raise click.UsageError(f"several files as {form} need --output-folder, where each has its own")
    stems = [Path(name).stem for name in files]
    if output_folder is not None and len(set(stems)) < len(stems):
        raise click.UsageError("two of the files would be written to the same name; write them down one by one")
