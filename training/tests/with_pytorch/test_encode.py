"""Shards of sound to shards of codes: which are still to do, and which codes belong to which line."""

import json

import numpy as np
from rustymoshi_training import encode
from rustymoshi_training.paths import FRAME


def level(samples: np.ndarray) -> np.ndarray:
    """Codes that say how loud a whole sound is."""
    return np.full((8, len(samples) // FRAME), abs(samples).max())


def test_lines_are_encoded_one_by_one_and_conversations_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    (tmp_path / "lines").mkdir()
    (tmp_path / "dialogues").mkdir()
    monkeypatch.setattr(encode.augment, "line", lambda wav, rng: wav)
    loud = np.repeat([100, 200], [3 * FRAME, 2 * FRAME]).astype(np.int16)
    np.save(tmp_path / "lines" / "00002.npy", loud)
    (tmp_path / "lines" / "00002.json").write_text(json.dumps([{"frames": 3}, {"frames": 2}]))
    np.savez(tmp_path / "dialogues" / "00000.npz", user=loud, agent=loud // 2)
    (talk, talk_codes), (lines, lines_codes), (_, again) = encode.work("codec", 2)
    assert (lines_codes.name, again.name) == ("00002.0.npz", "00002.1.npz")
    encode.encode_shard(level, talk, talk_codes)
    encode.encode_shard(level, lines, lines_codes)
    assert np.load(lines_codes)["codes"].tolist() == [[100] * 3 + [200] * 2] * 8
    codes = np.load(talk_codes)
    assert (codes["user"] == 200).all() and (codes["agent"] == 100).all() and codes["user"].shape == (8, 5)
    assert encode.work("codec", 1) == []
