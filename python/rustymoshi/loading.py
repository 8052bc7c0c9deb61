"""Models for commands: which one, how it runs, and how its download goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from tqdm import tqdm

import rustymoshi

#: Published repositories of each kind, with their sizes: what to name where the built-in model is of no use.
PUBLISHED = {
    "stt": "kyutai/stt-1b-en_fr-candle (English and French, about 2 GB) or kyutai/stt-2.6b-en (English, about 6 GB)",
    "tts": "kyutai/tts-1.6b-en_fr (English and French, about 3.7 GB) or kyutai/tts-0.75b-en-public (English, "
    "about 2 GB)",
    "translation": "kyutai/hibiki-1b-pytorch-bf16 (French to English, about 4 GB) or kyutai/hibiki-2b-pytorch-bf16 "
    "(the same, about 6 GB)",
    "role": "nvidia/personaplex-7b-v1 (English, about 17 GB)",
}


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
    model: str | None,
    device: str,
    dtype: str | None,
    quantize: str | None,
    threads: int | None,
    lora: Sequence[str] = (),
) -> rustymoshi.Model:
    """The built-in model, or the one at `model`; its notice goes to standard error."""
    if model is None:
        if quantize:
            raise click.UsageError("--quantize needs --model: the built-in model is small enough as it is")
        if lora:
            raise click.UsageError("--lora needs --model: the adapter's base; the built-in model has no adapters")
        loaded = rustymoshi.Model.default(device, threads=threads)
    else:
        loaded = rustymoshi.Model.load(
            model, device, dtype, quantize=quantize, threads=threads, progress=DownloadBars(), lora=list(lora)
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


def load_kind(kind: str, command: str, model: str | None, **options: Any) -> rustymoshi.Model:
    """A model that the command can use; without one, or with one of another kind, what to name."""
    advice = f"name one with --model: {PUBLISHED[kind]}; it is downloaded once"
    if model is None:
        raise click.UsageError(
            f'{command} needs a model of kind "{kind}", and the built-in one is for dialogue; {advice}'
        )
    loaded = load_model(model, **options)
    if loaded.kind != kind:
        raise click.UsageError(
            f'{command} needs a model of kind "{kind}", and {model} is one of kind "{loaded.kind}"; {advice}'
        )
    return loaded
