"""The examples of the manual run, on golden models in place of the published ones."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from golden_data import GOLDEN

DOCS = Path(__file__).parents[2] / "docs"
#: What stands for a published repository.
MODELS = {
    "kyutai/stt-1b-en_fr-candle": "tiny-stt",
    "kyutai/hibiki-1b-pytorch-bf16": "tiny-hibiki",
    "nvidia/personaplex-7b-v1": "tiny-personaplex",
    "kyutai/moshiko-candle-bf16": "tiny-moshi",
    "kyutai/tts-1.6b-en_fr": "tiny-tts",
}
#: What stands for the user's files.
FILES = {
    "talk.mp3": "tiny-hibiki/speech.wav",
    "question.wav": "tiny-personaplex/speech.wav",
    "voice.wav": "tiny-personaplex/voices/VARM0.wav",
    "anna.wav": "tiny-tts/voices/anna.wav",
    "anna.wav.a1b2c3d4@240.safetensors": "tiny-tts/voices/anna.wav.a1b2c3d4@240.safetensors",
    "bob.wav": "tiny-tts/voices/bob.wav",
    "bob.wav.a1b2c3d4@240.safetensors": "tiny-tts/voices/bob.wav.a1b2c3d4@240.safetensors",
    "adapters/kind": "tiny-lora/a",
    "adapters/gruff": "tiny-lora/b",
}


@pytest.mark.parametrize("page", ["transcription", "translation", "roles", "adapters", "read-aloud", "steering"])
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for name, source in FILES.items():
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        if (GOLDEN / source).is_dir():
            shutil.copytree(GOLDEN / source, target)
        else:
            shutil.copy(GOLDEN / source, target)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks)
    for repository, golden in MODELS.items():
        code = code.replace(repository, str(GOLDEN / golden))
    exec(compile(code, f"{page}.md", "exec"), {})
