"""Adapters: chosen for each session by their folders, on every base, several at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN
from safetensors.numpy import load_file

LORA = GOLDEN / "tiny-lora"
BASES = {
    "bf16": "model.safetensors",
    "torch_q8": "model.torch.q8.safetensors",
    "gguf_q8": "model.q8.gguf",
    "mlx_q8": "model.mlx.q8.safetensors",
    "mlx_q4": "model.mlx.q4.safetensors",
}
RESULTS = load_file(LORA / "golden.safetensors")


def load(base: str, *adapters: str) -> rustymoshi.Model:
    return rustymoshi.Model.load(
        GOLDEN / "tiny-moshi" / BASES[base], exact=True, lora=[LORA / name for name in adapters]
    )


def folder(name: str) -> Path | None:
    return None if name == "none" else LORA / name


@pytest.mark.parametrize("base", BASES)
def test_logits_of_every_base_with_each_adapter(base: str) -> None:
    model = load(base, "a", "b", "c")
    inside = RESULTS["tf_audio_mask"].astype(bool)
    for name in ("none", "a", "b", "c"):
        text, audio = model.lm.forward(RESULTS["tf_codes"], lora=folder(name))
        expected = RESULTS[f"{base}_{name}_tf_text_logits"], RESULTS[f"{base}_{name}_tf_audio_logits"][inside]
        for found, wanted in zip((text, audio[inside]), expected, strict=True):
            cosine = np.vdot(found, wanted) / np.linalg.norm(found) / np.linalg.norm(wanted)
            assert cosine > 0.999, (base, name)
            if base == "bf16":
                assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max(), name


def test_sessions_of_one_model_speak_with_adapters_of_their_own() -> None:
    model = load("bf16", "a", "b", "c")
    names = ("none", "a", "b", "c")
    sessions = {name: model.session(temperature=0, text_temperature=0, lora=folder(name)) for name in names}
    said: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for frame in RESULTS["user_codes"].T:
        for name, session in sessions.items():
            out = session.step_codes(frame)
            if out is not None:
                said[name].append(out)
    for name in names:
        np.testing.assert_array_equal(np.stack(said[name]), RESULTS[f"bf16_{name}_out_tokens"])


def test_an_adapter_is_known_by_any_spelling_of_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LORA)
    model = rustymoshi.Model.load(GOLDEN / "tiny-moshi", lora="a")
    assert model.info["adapters"] == [str((LORA / "a").resolve())]
    assert model.session(lora=LORA / "b" / ".." / "a")


@pytest.mark.parametrize("base", ["bf16", "mlx_q4"])
def test_an_adapter_is_loaded_when_a_session_first_asks_for_it(base: str) -> None:
    model = load(base)
    plain = model.info["memory_bytes"]
    sessions = {}
    for name in ("none", "a", "b", "c"):
        sessions[name] = model.session(temperature=0, text_temperature=0, lora=folder(name))
        text, _audio = model.lm.forward(RESULTS["tf_codes"], lora=folder(name))
        wanted = RESULTS[f"{base}_{name}_tf_text_logits"]
        assert np.vdot(text, wanted) / np.linalg.norm(text) / np.linalg.norm(wanted) > 0.999
    assert [Path(path).name for path in model.info["adapters"]] == ["a", "b", "c"]
    assert model.info["memory_bytes"] == plain
    eager = load(base, "a", "b", "c")
    for name, session in sessions.items():
        other = eager.session(temperature=0, text_temperature=0, lora=folder(name))
        for frame in RESULTS["user_codes"].T:
            found, expected = session.step_codes(frame), other.step_codes(frame)
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", [{"quantize": "q4"}, {"dtype": "f16"}, {}])
def test_however_the_base_was_loaded_an_adapter_changes_it(options: dict[str, str]) -> None:
    model = rustymoshi.Model.load(GOLDEN / "tiny-moshi", **options)  # type: ignore[arg-type]
    plain, _audio = model.lm.forward(RESULTS["tf_codes"])
    for name in ("a", "c"):
        text, _audio = model.lm.forward(RESULTS["tf_codes"], lora=LORA / name)
        wanted = RESULTS[f"bf16_{name}_tf_text_logits"]
        cosine = np.vdot(text, wanted) / np.linalg.norm(text) / np.linalg.norm(wanted)
        assert cosine > 0.99 and not np.array_equal(text, plain), (name, cosine)
    np.testing.assert_array_equal(model.lm.forward(RESULTS["tf_codes"])[0], plain)


def test_what_is_no_adapter_of_the_model_is_refused() -> None:
    model = load("bf16")
    for path in (GOLDEN / "tiny-stt", GOLDEN / "nowhere"):
        with pytest.raises(rustymoshi.RustymoshiError, match=path.name):
            model.session(lora=path)
        with pytest.raises(rustymoshi.RustymoshiError, match=path.name):
            rustymoshi.Model.load(GOLDEN / "tiny-moshi", lora=path)
    with pytest.raises(TypeError, match="lora: expected a folder"):
        rustymoshi.Model.load(GOLDEN / "tiny-moshi", lora=3)  # type: ignore[arg-type]
    # Whoever asked for one that is none has harmed nobody.
    assert model.session(lora=LORA / "a").step_codes(RESULTS["user_codes"][:, 0]) is None
