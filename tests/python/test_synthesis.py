"""Reading aloud: every run of the published program, in one piece and in any others, and what cannot be read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rustymoshi
from golden_data import GOLDEN, Golden
from slow_hub import SlowHub
from tts_models import GREEDY, RUNS, TTS, Readers, assert_words, folder_of, script

FRAME = rustymoshi.FRAME_SAMPLES


@pytest.fixture(scope="session")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    return Readers(tmp_path_factory.mktemp("tts"))


def assert_sound(readers: Readers, run: str, pcm: np.ndarray) -> None:
    expected = readers.results.get(f"{run}_pcm")
    if expected is not None:
        assert pcm.dtype == np.float32 and pcm.shape == expected.shape
        assert np.abs(pcm - expected).max() <= 1e-3 * np.abs(expected).max()


def whole(session: rustymoshi.SynthesisSession) -> tuple[np.ndarray, list[rustymoshi.SpokenWord]]:
    """The rest of a session that was finished."""
    steps = list(session)
    assert session.step() is None
    return np.concatenate([pcm for pcm, _ in steps]), [word for _, words in steps for word in words]


@pytest.mark.parametrize("run", RUNS)
def test_a_script_is_read_as_the_reference_reads_it(readers: Readers, run: str) -> None:
    speech = readers.model(run).synthesize(script(run), **readers.options(run))
    assert speech.tokens.dtype == np.int32
    np.testing.assert_array_equal(speech.tokens, readers.results[f"{run}_tokens"])
    assert_words(run, speech.words)
    assert_sound(readers, run, speech.pcm)
    assert np.abs(speech.pcm).max() <= 1.0


@pytest.mark.parametrize("piece", [1, 3, 1_000])
def test_text_is_read_the_same_however_it_is_cut(readers: Readers, piece: int) -> None:
    run = "distilled"
    pcm, words = [], []
    with readers.model(run).synthesis(**readers.options(run)) as session:
        for speaker, text in script(run):
            for start in range(0, len(text), piece):
                session.push(text[start : start + piece], speaker)
                for sound, begun in session:
                    pcm.append(sound)
                    words += begun
            sound, begun = session.step() or (None, None)
            assert sound is not None and len(sound) == 0 and begun == [], "it waits"
        session.finish()
        rest, begun = whole(session)
    assert len(pcm) > 10, "sound comes before the text is over"
    assert_words(run, [*words, *begun])
    assert_sound(readers, run, np.concatenate([*pcm, rest]))


def test_every_step_gives_a_frame_until_all_is_read(readers: Readers) -> None:
    session = readers.model("one_voice").synthesis(**readers.options("one_voice"))
    session.push("It's grey.")
    session.finish()
    sizes = []
    while (step := session.step()) is not None:
        sizes.append(len(step[0]))
    assert set(sizes) == {FRAME}
    assert session.step() is None


def test_texts_and_turns_are_the_same_script(readers: Readers) -> None:
    options, model = readers.options("one_voice"), readers.model("one_voice")
    expected = readers.results["one_voice_tokens"]
    for text in ("It's grey.", [(0, "It's"), (0, "grey.")], ((np.int64(0), "It's grey."),)):
        np.testing.assert_array_equal(model.synthesize(text, **options).tokens, expected)  # type: ignore[arg-type]
    other = model.synthesize([(1, "It's grey.")], **options)
    assert not np.array_equal(other.tokens, expected), "the other speaker"


def test_sessions_read_side_by_side_what_they_read_alone(readers: Readers) -> None:
    names = ["distilled", "guided", "prefix_guided", "one_voice", "few_codebooks", "prefix", "distilled", "guided"]
    for name in names:
        readers.model(name)
    failed: list[str] = []

    def read(run: str) -> None:
        speech = readers.model(run).synthesize(script(run), **readers.options(run))
        if not np.array_equal(speech.tokens, readers.results[f"{run}_tokens"]):
            failed.append(run)

    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_the_seed_decides_and_two_is_the_guidance_as_a_rule(readers: Readers) -> None:
    for run in ("distilled", "guided", "prefix"):
        model, voice = readers.model(run), readers.options(run)["voice"]
        tokens = [model.synthesize("hello", voice, seed=seed).tokens for seed in (1, 1, 2)]
        np.testing.assert_array_equal(tokens[0], tokens[1])
        assert not np.array_equal(tokens[0], tokens[2])
        rule, two, one = (model.synthesize("hello", voice, cfg, **GREEDY).tokens for cfg in (None, 2.0, 1.0))
        np.testing.assert_array_equal(rule, two)
        assert not np.array_equal(rule, one)


def test_a_model_that_has_learnt_other_guidance_takes_none_as_a_rule(tmp_path: Path) -> None:
    folder = folder_of("config.json", tmp_path)
    config = (folder / "config.json").read_text()
    assert '"2.0"' in config
    (folder / "config.json").write_text(config.replace('"2.0"', '"2.2"'))
    model = rustymoshi.Model.load(folder, exact=True)
    assert len(model.synthesize("hello").pcm) > 0
    with pytest.raises(ValueError, match=r"cfg is 2; .*2\.2"):
        model.synthesize("hello", cfg=2.0)


def test_voices_are_found_by_path_by_sound_and_by_name(readers: Readers) -> None:
    model, options = readers.model("one_voice"), readers.options("one_voice")
    for voice in ("bob", "bob.wav", TTS / "voices/bob.wav", str(TTS / "voices/bob.wav"), [Path("bob")]):
        speech = model.synthesize("It's grey.", **{**options, "voice": voice})
        np.testing.assert_array_equal(speech.tokens, readers.results["one_voice_tokens"])
    assert model.info["voices"] == ["anna", "bob"]
    without = model.synthesize("It's grey.", **{**options, "voice": None})
    assert not np.array_equal(without.tokens, readers.results["one_voice_tokens"])


def test_the_beginning_of_what_is_said_may_be_a_file_or_samples(readers: Readers) -> None:
    options = readers.options("prefix")
    for voice in (rustymoshi.load_audio(TTS / "voices/prefix.wav"), "prefix", "prefix.wav"):
        speech = readers.model("prefix").synthesize(script("prefix"), **{**options, "voice": voice})
        np.testing.assert_array_equal(speech.tokens, readers.results["prefix_tokens"])


BAD_VOICES: dict[str, tuple[str, Any, str]] = {
    "of another model": ("one_voice", TTS / "voices/bob.wav.4d3c2b1a@241.safetensors", r"another model \(4d3c2b1a@241"),
    "not there": ("one_voice", "nobody", r"nobody.*anna, bob"),
    "outside": ("one_voice", "../voices/nowhere", "nowhere"),
    "a sound alone": ("one_voice", TTS / "voices/prefix.wav", r"prefix\.wav\.a1b2c3d4@240\.safetensors"),
    "samples": ("one_voice", np.zeros(24_000, np.float32), "a published voice"),
    "too many": ("one_voice", ["bob"] * 6, "6 voices.*1 to 5"),
    "none": ("one_voice", [], "0 voices"),
    "short": ("prefix", np.zeros(1_000, np.float32), "0 frames"),
    "long": ("prefix", np.zeros(24_000 * 61, np.float32), "more than a minute"),
    "two": ("prefix", ["prefix", "prefix"], "2 voices"),
    "no such sound": ("prefix", "nobody", "nobody"),
}


@pytest.mark.parametrize("which", BAD_VOICES)
def test_a_voice_that_cannot_be_had_is_named(readers: Readers, which: str) -> None:
    run, voice, message = BAD_VOICES[which]
    with pytest.raises(ValueError, match=message):
        readers.model(run).synthesis(voice=voice)


def test_a_voice_is_fetched_from_the_hub_and_kept(
    readers: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = readers.model("one_voice"), readers.options("one_voice")
    file = "bob.wav.a1b2c3d4@240.safetensors"
    with SlowHub(GOLDEN / "tiny-moshi", "well") as hub:
        for name in (file, file.replace("@", "%40")):
            hub.files[name] = (TTS / "voices" / file).read_bytes()
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        for voice in ("hf://lab/voices/of/bob.wav", f"hf://lab/voices/of/{file}"):
            speech = model.synthesize("It's grey.", **{**options, "voice": voice})
            np.testing.assert_array_equal(speech.tokens, readers.results["one_voice_tokens"])
        with pytest.raises(rustymoshi.RustymoshiError, match=r"nobody\.wav\.a1b2c3d4@240"):
            model.synthesis(voice="hf://lab/voices/nobody.wav")
    assert len(list(tmp_path.rglob(file))) == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model.synthesis(voice="hf://lab/voices/of/bob.wav")
    for voice in ("hf://lab/voices", "ftp://lab/voices/bob.wav"):
        with pytest.raises(ValueError, match="hf://kyutai/tts-voices"):
            model.synthesis(voice=voice)


@pytest.mark.parametrize("voice", [3, b"bob", [1, 2], np.zeros(10, np.int16)])
def test_what_is_no_voice_is_refused(readers: Readers, voice: object) -> None:
    with pytest.raises(TypeError, match="float32"):
        readers.model("prefix").synthesis(voice=voice)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('one <break time="x"/>', "no break"),
        ('one <break time="60s"/>', "0 to 10 seconds"),
        ("one <break", "no break"),
        ("hello \u4e2d", "spelled"),
        ("a" * 500, "400 characters"),
        ("a " * 100_000, "50000"),
        ([(2, "hello")], "speaker is 2"),
        ([(-1, "hello")], "speaker is -1"),
    ],
)
def test_text_that_cannot_be_read_is_refused(readers: Readers, text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        readers.model("one_voice").synthesize(text)


@pytest.mark.parametrize("text", [None, 3, ["hello"], [("hello", 0)], [(0, 1)], [(0, "a", "b")], b"hello"])
def test_what_is_no_script_is_refused(readers: Readers, text: Any) -> None:
    with pytest.raises(TypeError, match=r"script|speaker"):
        readers.model("one_voice").synthesize(text)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("cfg", 1.7, r"1\.7.*1\.5"),
        ("cfg", float("nan"), "cfg"),
        ("num_codebooks", 9, "1 to 8"),
        ("num_codebooks", 0, "num_codebooks is 0"),
        ("padding_between", -1, "padding_between"),
        ("temperature", -1.0, "temperature"),
        ("text_temperature", 11.0, "text_temperature"),
        ("seed", -2, "seed"),
    ],
)
def test_numbers_out_of_range_are_named(readers: Readers, option: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        readers.model("one_voice").synthesize("hello", **{option: value})


def test_what_is_refused_changes_nothing_of_what_is_read(readers: Readers) -> None:
    run = "one_voice"
    session = readers.model(run).synthesis(**readers.options(run))
    for bad, speaker in (("hello \u4e2d there", 0), ("hello", 2), ('a <break time="x"/>', 0)):
        with pytest.raises(ValueError):
            session.push(bad, speaker)
    # A word is known to be none when it is over; then it is dropped, and the text goes on.
    for bad in ("\u4e2d", '<break time="x'):
        session.push(bad)
        with pytest.raises(ValueError, match=r"spelled|no break"):
            session.finish()
    session.push("It's gr")
    session.push("ey.")
    session.finish()
    for again in (session.finish, lambda: session.push("more")):
        with pytest.raises(ValueError, match="finished before"):
            again()
    pcm, words = whole(session)
    assert_words(run, words)
    assert len(pcm) == FRAME * (len(readers.results["one_voice_tokens"]) - 8)


def test_a_closed_synthesis_says_so(readers: Readers) -> None:
    model = readers.model("one_voice")
    with model.synthesis() as session:
        session.push("hello there")
    assert repr(session) == "SynthesisSession(closed)"
    session.close()
    for again in (session.step, session.finish, lambda: session.push("more"), lambda: next(session)):
        with pytest.raises(ValueError, match="closed"):
            again()


def test_a_break_is_a_pause(readers: Readers) -> None:
    model = readers.model("one_voice")
    near, far = (model.synthesize(text, **GREEDY) for text in ("one two", 'one <break time="2s"/> two'))
    assert [word.text for word in far.words] == ["one", "two"]
    assert far.words[1].start - far.words[0].start >= 2.0 > near.words[1].start - near.words[0].start


def test_other_models_say_that_they_do_not_read(moshi: Golden) -> None:
    for call in (moshi.model.synthesis, lambda: moshi.model.synthesize("hello")):
        with pytest.raises(ValueError, match=r'kind "tts".*kind "dialogue"'):
            call()


def test_a_model_that_reads_hears_nothing(readers: Readers) -> None:
    assert readers.model("one_voice").kind == "tts"
    with pytest.raises(ValueError, match="reads aloud"):
        readers.model("one_voice").session()


@pytest.mark.parametrize("quantize", ["q8", "q4"])
def test_a_quantized_model_reads_too(quantize: str) -> None:
    speech = rustymoshi.Model.load(GOLDEN / "tiny-tts", quantize=quantize).synthesize("hello there", "anna", seed=1)
    assert [word.text for word in speech.words] == ["hello", "there"]
    assert np.isfinite(speech.pcm).all() and np.abs(speech.pcm).max() > 0
