"""What the codec trains on, and what it is held to: lines where they are said to be, envelopes as STOI weighs them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rustymoshi_training import codec_data, ear, losses, pool, render
from rustymoshi_training.codec_data import LATE, Sounds
from rustymoshi_training.ear import Heard, Said, SoundReader
from rustymoshi_training.paths import FRAME, FRAME_RATE, SAMPLE_RATE
from rustymoshi_training.speech import Word

BEFORE, SPOKEN, AFTER = 5, 12, 10


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """One line of a loud tone in silence, and a corpus of silence."""
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    monkeypatch.setattr(ear, "_phonemes", lambda: str.lower)
    monkeypatch.setattr(codec_data.augment, "heard", lambda wav, rng: (wav + 0.01 * (wav != 0), wav))
    for folder in ("lines", "codec"):
        (tmp_path / folder).mkdir()
    tone = 8_000 * np.sin(np.arange(SPOKEN * FRAME) * 0.1)
    np.save(tmp_path / "lines" / "00000.npy", np.pad(tone, (BEFORE * FRAME, AFTER * FRAME)).astype(np.int16))
    frames = BEFORE + SPOKEN + AFTER
    about = dict(question="Hello", frames=frames, start=BEFORE, end=BEFORE + SPOKEN)
    (tmp_path / "lines" / "00000.json").write_text(json.dumps([about]))
    np.save(tmp_path / "codec" / "agent.npy", np.zeros(100 * FRAME, np.int16))
    return Sounds(20, 1, 1.0)


def test_a_line_is_inside_its_crop_and_where_it_is_said_to_be(sounds):
    for _ in range(30):
        batch = sounds.batch(3, 2)
        assert batch.pcm.shape == (3, 1, 20 * FRAME) and batch.teacher.shape == (3, 20, codec_data.TEACHER_DIM)
        assert [x.window for x in batch.lines] == [0, 1] and not batch.pcm[2].any()
        assert batch.wanted.shape == (3, 20 * FRAME)
        assert (batch.wanted[:2] != batch.pcm[:2, 0]).any() and not batch.wanted[2].any()
        for line in batch.lines:
            loud = np.flatnonzero(batch.pcm[line.window, 0].numpy())
            assert line.start * FRAME <= loud[0] and loud[-1] < line.end * FRAME <= 20 * FRAME
            assert line.end - line.start <= SPOKEN + LATE + 2 and len(line.said.sounds) == 5
            assert loud[-1] - loud[0] >= SPOKEN * FRAME - 4, "all of it"


def test_a_pool_knows_its_crops_and_lets_new_ones_in(sounds, monkeypatch):
    monkeypatch.setattr(pool, "BEGIN_WITH", 3)
    monkeypatch.setattr(pool, "MOST", 6)
    args = SimpleNamespace(answers=0.0, lines=0.4, in_step=False)
    crops = pool.Pool(28, 1, args, lambda pcm, drawn: torch.tensor(int(np.abs(pcm).max())))
    assert len(crops.crops) == 3
    first = crops.crops[0]
    for _ in range(40):
        for crop in crops.draw(3):
            assert len(crop.pcm) == 28 * FRAME and crop.sketch.shape[0] == 28 * 6
            assert (crop.heard is None) == (not crop.pcm.any()) == (crop.teacher is not None)
            asked = not crop.sketch[:, pool.sketch.MAGNITUDES :].isnan().any()
            assert asked == (crop.heard is None), "of users no phases"
            if crop.heard is not None:
                assert int(crop.known) > np.abs(crop.pcm).max() + 300, "to sound as the voice alone"
    assert len(crops.crops) == 6 and all(crop is not first for crop in crops.crops)
    told = pool.Pool(28, 1, args, lambda pcm, drawn: pcm, asked=True).crops
    assert all(crop.phases.shape == (28, 6) for crop in told) and all(crop.phases is None for crop in crops.crops)
    stepping = pool.Pool(28, 1, SimpleNamespace(**(vars(args) | dict(in_step=True))), lambda pcm, drawn: pcm).crops
    assert all(crop.waves.shape == (28 * 6, 56) for crop in stepping) and all(crop.waves is None for crop in told)
    for crop in stepping:
        silent = crop.waves.isnan()
        assert torch.equal(crop.sketch[:, pool.sketch.MAGNITUDES :].isnan(), silent) and silent.any()
    with pytest.raises(ValueError, match=r"--answers 0\.8 and --lines 0\.4 .* 1 at most"):
        pool.Pool(28, 1, SimpleNamespace(answers=0.8, lines=0.4), lambda pcm, drawn: drawn)


def test_batches_go_on_and_take_in_new_lines(sounds):
    batches = sounds.batches(2, 1)
    assert all(len(next(batches).lines) == 1 for _ in range(3))
    lines = sounds.lines
    old = codec_data.folder("lines") / "00000"
    for end in (".npy", ".json"):
        (old.with_name("00001" + end)).write_bytes(old.with_suffix(end).read_bytes())
    assert lines.look_for_more() == 2


def test_answers_are_cut_out_and_half_of_them_begin_with_a_frame(sounds):
    agent = np.zeros(120 * FRAME, np.int16)
    agent[30 * FRAME : 95 * FRAME] = 1_000
    talks = codec_data.folder("dialogues") / "00000"
    np.savez(talks.with_suffix(".npz"), agent=agent)
    words = [["Hi", 20 / FRAME_RATE, 50 / FRAME_RATE], ["there.", 60 / FRAME_RATE, 85 / FRAME_RATE]]
    log = [dict(answer_from=20 / FRAME_RATE)]
    about = [dict(frames=10, words=[], log=[]), dict(frames=110, words=words, log=log)]
    talks.with_suffix(".json").write_text(json.dumps(about))
    sounds.said = 1
    starts = []
    for _ in range(60):
        said = sounds.batch(3, 1).pcm[1, 0].numpy()
        assert (said > 0).sum() >= 14 * FRAME, "an answer and little around it"
        if said[0] == 0 or said[-1] == 0:
            starts.append(np.flatnonzero(np.diff((said > 0).astype(int)))[0] + 1)
    assert any(at % FRAME == 0 for at in starts) and any(at % FRAME for at in starts)


def test_nothing_to_train_on_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSTYMOSHI_TRAINING_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"rustymoshi_training\.corpus"):
        Sounds(20, 1, 1.0)


def test_what_is_said_can_be_read_off_latents():
    torch.manual_seed(0)
    reader, latent = SoundReader(16), torch.randn(2, 16, 30)
    lines = [Heard(0, 2, 12, Said([1], (3, 1, 4, 1, 5, 9))), Heard(1, 0, 9, Said([2], (2, 6, 5)))]
    optimizer = torch.optim.Adam(reader.parameters(), 0.02)
    first = last = reader(latent, lines)
    for _ in range(60):
        optimizer.zero_grad()
        last = reader(latent, lines)
        last.backward()
        optimizer.step()
    assert last < 0.1 * first and reader(latent, []).item() == 0


def test_envelopes_are_weighed_as_stoi_weighs_them():
    """Less alike the more noise, near to what pystoi measures; a level is no difference, silence does not count."""
    from pystoi import stoi

    rng = np.random.default_rng(0)
    # Noise whose bands come and go as those of speech do.
    slow = np.repeat(rng.uniform(0.02, 1.0, 60), SAMPLE_RATE // 10)
    real = (rng.standard_normal(len(slow)) * slow * 0.1).astype(np.float32)
    last = 0.0
    for noise in (0.003, 0.01, 0.03):
        made = real + noise * rng.standard_normal(len(real)).astype(np.float32)
        loss = float(losses.intelligibility(torch.from_numpy(made)[None], torch.from_numpy(real)[None]))
        assert last < loss and abs(1 - loss - stoi(real, made, SAMPLE_RATE)) < 0.03
        last = loss
    sound, silence = torch.from_numpy(real)[None], torch.zeros(1, len(real))
    assert losses.intelligibility(0.5 * sound, sound) < 1e-3
    assert losses.intelligibility(sound, silence) == 1


def test_phases_that_jump_are_heard_as_rough():
    """Of a voice whose phase is another one every 40 ms more is missed than of one that glides, be it late; of one that
    is only quieter, less; silence counts for nothing."""
    rng = np.random.default_rng(0)
    phase = 2 * np.pi * np.cumsum(np.linspace(180, 240, SAMPLE_RATE)) / SAMPLE_RATE
    jumps = np.repeat(rng.uniform(-np.pi, np.pi, 25), SAMPLE_RATE // 25)

    def voice(moved):
        harmonics = sum(np.cos(k * (phase + moved)) / k for k in range(1, 6))
        return torch.from_numpy(0.1 * harmonics.astype(np.float32))[None]

    real = voice(0)
    late, quiet, rough = (losses.harmonics(made, real).item() for made in (voice(1.0), 0.9 * real, voice(jumps)))
    assert max(late, quiet) < 0.15 < 0.5 < rough
    assert losses.harmonics(0.01 * real, torch.zeros_like(real)) == 0


def test_a_wrong_pitch_misses_a_voices_periods_whatever_its_phase():
    def voice(hertz, phase=0.0):
        turns = 2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE + phase
        return torch.from_numpy(sum(0.1 * np.cos(k * turns) / k for k in range(1, 6)).astype(np.float32))[None]

    real = voice(187.5)
    late, near, half_way, noise = (
        losses.aperiodicity(made, real).item()
        for made in (voice(187.5, 2.0), voice(190.0), voice(200.0), 0.1 * torch.randn(1, SAMPLE_RATE))
    )
    assert late < 0.04 < near < 0.2 < half_way and 0.8 < noise < 1.2
    assert losses.aperiodicity(0.01 * real, torch.zeros_like(real)) == 0


def test_harmonics_are_to_go_on_as_they_do_whatever_their_phases():
    def voice(hertz, phases=(0.0, 0.0, 0.0)):
        turns = 2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE
        return torch.from_numpy(sum(0.1 * np.cos((k + 1) * turns + p) for k, p in enumerate(phases)).astype(np.float32))

    real = voice(187.5)[None]
    late, quiet, near, noise = (
        losses.advance(made, real).item()
        for made in (voice(187.5, (1.0, -2.0, 2.5))[None], 0.5 * real, voice(190.0)[None], torch.randn(1, SAMPLE_RATE))
    )
    assert max(late, quiet) < 0.02 < near < 0.3 and 0.8 < noise < 1.2
    silent = torch.zeros_like(real).requires_grad_()
    losses.advance(silent, real).backward()
    assert silent.grad.isfinite().all() and losses.advance(real, torch.zeros_like(real)) == 0


def test_an_answer_begins_with_a_frame_and_says_the_same_each_time():
    class Voice:
        hibari = None

        def say(self, text, voice, seed=0):
            return render.Utterance(np.full(9_000, 0.1, np.float32), [Word(text, 0.1, 0.3)])

    Voice.hibari = voice = Voice()
    stage = render.Stage(voice, np.random.default_rng(3), None)
    for _ in range(3):
        stage.play(render.Turn(render.Exchange("Hi", "Hello.", "hello"), 0.613, 0.4))
    starts = [at * FRAME_RATE for at, _ in stage.agent]
    assert starts == [round(at) for at in starts] and len({wav.tobytes() for _, wav in stage.agent}) == 1
