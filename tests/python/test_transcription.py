"""Recognition: the text, words and times of the published script, however a recording is heard."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rustymoshi
from golden_data import AUDIO, Golden


def assert_is_the_reference(words: list[rustymoshi.Word], golden: Golden) -> None:
    expected = golden.meta["words"]
    assert [word.text for word in words] == [word["text"] for word in expected]
    for key in ("start", "stop"):
        found = [getattr(word, key) for word in words]
        np.testing.assert_allclose(found, [word[key] for word in expected], atol=1e-3)


def test_a_file_is_written_down(stt: Golden) -> None:
    pieces: list[tuple[float, float | None, int]] = []
    transcript = stt.model.transcribe(
        stt.folder / "speech.wav", progress=lambda at, total, words: pieces.append((at, total, len(words)))
    )
    assert_is_the_reference(transcript.words, stt)
    assert transcript.text == stt.meta["text"]
    at, total, _ = pieces[-1]
    assert total is not None and at == pytest.approx(total) and sum(n for *_, n in pieces) == len(transcript.words)
    assert repr(transcript).startswith("Transcript(") and "Word(" in repr(transcript.words[0])


def test_samples_and_names_of_files_do_as_well(stt: Golden) -> None:
    path = str(stt.folder / "speech.wav")
    expected = stt.model.transcribe(path).text
    assert stt.model.transcribe(rustymoshi.load_audio(path)).text == expected == stt.meta["text"]


@pytest.mark.parametrize("piece", [777, 1_920, 10_000])
def test_a_recording_says_the_same_in_any_pieces(stt: Golden, piece: int) -> None:
    pcm = rustymoshi.load_audio(stt.folder / "speech.wav")
    session = stt.model.transcription()
    heard = [session.step(pcm[i : i + piece]) for i in range(0, len(pcm), piece)]
    heard.append(session.finish())
    assert_is_the_reference([word for part in heard for word in part.words], stt)
    assert "".join(part.text for part in heard).strip() == stt.meta["text"]
    np.testing.assert_array_equal(np.concatenate([part.tokens for part in heard]), stt["text_tokens"])
    heads = np.concatenate([part.heads for part in heard])
    np.testing.assert_allclose(heads, stt["extra_heads"], rtol=1e-4, atol=1e-5)
    assert any(part.pause for part in heard) == bool((stt["extra_heads"][:, 2, 0] > 0.5).any())


def test_codes_are_heard_without_the_codec(stt: Golden) -> None:
    session = stt.model.transcription()
    heard = [session.step_codes(frame) for frame in stt["codes"].T]
    heard.append(session.finish())
    np.testing.assert_array_equal(np.concatenate([part.tokens for part in heard]), stt["text_tokens"])
    assert_is_the_reference([word for part in heard for word in part.words], stt)


def test_the_other_way_to_pad_gives_its_tokens(stt: Golden) -> None:
    session = stt.model.transcription()
    tokens = [session.step_codes(frame).tokens for frame in stt["file_codes"].T]
    np.testing.assert_array_equal(np.concatenate(tokens), stt["file_text_tokens"])


def test_teacher_forced_logits_agree(stt: Golden) -> None:
    text, audio = stt.model.lm.forward(stt["tf_codes"])
    assert np.abs(text - stt["tf_text_logits"]).max() < 1e-4 * np.abs(stt["tf_text_logits"]).max()
    assert audio.shape[0] == 0


def test_several_at_once_say_what_each_says_alone(stt: Golden) -> None:
    texts: list[str] = []

    def work() -> None:
        texts.append(stt.model.transcribe(stt.folder / "speech.wav").text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [stt.meta["text"]] * 4


def test_a_finished_session_says_so_and_a_reset_one_begins_anew(stt: Golden) -> None:
    session = stt.model.transcription()
    session.step(np.zeros(5_000, np.float32))
    session.reset()
    pcm = rustymoshi.load_audio(stt.folder / "speech.wav")
    words = session.step(pcm).words + session.finish().words
    assert_is_the_reference(words, stt)
    for again in (lambda: session.step(pcm), session.finish, session.reset):
        with pytest.raises(ValueError, match="finished; open another"):
            again()


def test_captions(stt: Golden) -> None:
    transcript = stt.model.transcribe(stt.folder / "speech.wav")
    srt, vtt = transcript.srt(), transcript.vtt()
    assert srt.startswith("1\n00:00:00,000 --> ") and vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
    said = [line for line in srt.splitlines() if line and "-->" not in line and not line.isdigit()]
    assert " ".join(said).split() == [word.text for word in transcript.words]


def test_bad_input_is_told(stt: Golden, tmp_path: Path) -> None:
    with pytest.raises(rustymoshi.RustymoshiError, match=r"missing\.wav"):
        stt.model.transcribe(tmp_path / "missing.wav")
    with pytest.raises(rustymoshi.RustymoshiError, match=r"six-channels\.opus"):
        stt.model.transcribe(AUDIO / "six-channels.opus")
    with pytest.raises(TypeError, match="float32"):
        stt.model.transcribe(np.zeros(10, np.int16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="samples or codes"):
        session = stt.model.transcription()
        session.step(np.zeros(10, np.float32))
        session.step_codes(stt["codes"][:, 0])


def test_another_kind_of_model_is_refused_in_words(moshi: Golden, stt: Golden) -> None:
    assert (moshi.model.kind, stt.model.kind) == ("dialogue", "stt")
    assert moshi.model.info["kind"] == "dialogue"
    takes = r'needs a model for recognition \(kind "stt"\).*this is one for dialogue \(kind "dialogue"\)'
    with pytest.raises(ValueError, match="transcribe " + takes):
        moshi.model.transcribe(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match="transcription " + takes):
        moshi.model.transcription()
    with pytest.raises(ValueError, match=r'translate needs a model for translation \(kind "translation"\)'):
        stt.model.translate(np.zeros(10, np.float32))
    with pytest.raises(ValueError, match=r'a role or voice needs a model for dialogue \(kind "dialogue"\)'):
        stt.model.session(role="You are a kind guide.")


def test_a_long_file_does_not_grow_the_memory(stt: Golden, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    rustymoshi.save_audio(path, np.tile(rustymoshi.load_audio(stt.folder / "speech.wav"), 200))
    program = """
import resource, sys, rustymoshi
model = rustymoshi.Model.load(sys.argv[1])
model.transcribe(sys.argv[1] + "/speech.wav")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
transcript = model.transcribe(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, len(transcript.words))
"""
    command = [sys.executable, "-c", program, stt.folder, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    grown, words = map(int, done.stdout.split())
    # Its samples alone are many times as large as what may be needed for its words.
    assert words > 500 and grown < 30_000 < 4 * len(rustymoshi.load_audio(path)) / 1_024
