"""The command `rustymoshi translate`: a recording, said in another language."""

from __future__ import annotations

import sys
from typing import Any

import click

from rustymoshi.files import output_option, readable, save
from rustymoshi.loading import load_kind, model_options
from rustymoshi.transcribing import Progress


@click.command()
@click.argument("input_file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.argument("output_file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), callback=output_option)
@model_options
@click.option(
    "--seed", default=0, show_default=True, help="The same seed and audio give the same translation; -1 is any."
)
@click.option("--temperature", type=float, help="Temperature of the voice; 0 is greedy.")
@click.option("--text-temperature", type=float, help="Temperature of the words; 0 is greedy.")
@click.option("--cfg", type=float, help="Draw the voice towards the speaker's: 3 is strong, 1 is not at all.")
def translate(
    input_file: str,
    output_file: str,
    model: str | None,
    seed: int,
    temperature: float | None,
    text_temperature: float | None,
    cfg: float | None,
    **options: Any,
) -> None:
    """Say what INPUT_FILE says in the model's language: the voice to OUTPUT_FILE, the words to standard output.

    INPUT_FILE has any format and rate, OUTPUT_FILE becomes a wav file; "-" is standard input or output (the words go to
    standard error then). Takes a model for translation.
    """
    loaded = load_kind("translation", "translate", model, **options)
    progress = Progress(input_file)
    try:
        with readable(input_file) as path:
            translation = loaded.translate(
                path,
                seed=seed,
                temperature=temperature,
                text_temperature=text_temperature,
                cfg=cfg,
                progress=progress,
            )
    finally:
        progress.close()
    save(output_file, [translation.pcm])
    click.echo(translation.text, file=sys.stderr if output_file == "-" else sys.stdout)
