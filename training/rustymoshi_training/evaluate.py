"""Judge a model: `python -m rustymoshi_training.evaluate [--folder EXPORTED] [--only codec dialogue ...]`.

Seeded; prints one line per measure and writes them all to `evaluation.json` in the training folder; `--card` also puts
them into the model's card.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from . import augment, voices
from .card import write_card
from .encode import encode
from .export import load_exported
from .lm import Sampling
from .paths import AGENT_LEVEL_DB, FRAME, FRAME_RATE, SAMPLE_RATE, root
from .questions import Bank
from .recognise import Recogniser, plain, word_errors
from .session import Reply, Session
from .speech import Studio, VoiceSetting, trim

LISTEN_S = 5.0
BATCH = 16
QUIET_DB = -45.0


class Judge:
    """Model, voices, recogniser and the question bank."""

    def __init__(self, path: Path, engine: str, seed: int, count: int):
        self.lm, self.codec = load_exported(path)
        self.studio, self.bank, self.recogniser = Studio(), Bank(), Recogniser()
        self.seed, self.count = seed, count
        self.sampling = Sampling.of(json.loads((path / "config.json").read_text())["lm_gen_config"])
        self.wheel = None
        if engine == "wheel":
            from rustymoshi import Model

            self.wheel = Model.load(path)

    def replies(self, sounds: list[np.ndarray], label: str) -> list[Reply]:
        """What fresh sessions answer to the users' sounds, in batches of sixteen."""
        out: list[Reply] = []
        for start in tqdm(range(0, len(sounds), BATCH), desc=label):
            batch = sounds[start : start + BATCH]
            if self.wheel is None:
                out += Session(self.lm, self.codec, self.seed + start, self.sampling).run(batch)
            else:
                out += [self._wheel_reply(pcm, self.seed + start + i) for i, pcm in enumerate(batch)]
        return out

    def _wheel_reply(self, pcm: np.ndarray, seed: int) -> Reply:
        """The same through the package's own session."""
        session = self.wheel.session(seed=seed, text_temperature=self.sampling.text, temperature=self.sampling.audio)
        frames = pcm[: len(pcm) // FRAME * FRAME].astype(np.float32).reshape(-1, FRAME)
        steps = [session.step(frame) for frame in frames]
        sound = [np.asarray(out) if len(out) else np.zeros(FRAME, np.float32) for out, _ in steps]
        return Reply(np.concatenate(sound), [text for _, text in steps])

    def through_codec(self, wav: np.ndarray) -> np.ndarray:
        """Encode and decode."""
        wav = np.pad(wav, (0, -len(wav) % FRAME))
        codes = encode(self.codec, (np.clip(wav, -1, 1) * 32767).astype(np.int16))
        return self.codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0, 0].numpy()[: len(wav)]

    def spoken(self, text: str, setting: VoiceSetting, rng: np.random.Generator) -> np.ndarray:
        """One line at a common level, with silence around."""
        wav = self.studio.say(text, setting, int(rng.integers(1 << 30))).wav
        return np.pad(augment.normalise(wav, AGENT_LEVEL_DB), (2_400, SAMPLE_RATE))

    def codec_quality(self) -> dict:
        """Of the agent, of held-out users and of a new synthesizer: STOI, and the recogniser's word errors before and
        after the codec."""
        from pystoi import stoi

        rng, names = np.random.default_rng(self.seed), ("held_out", "new_synthesizer", "agent")
        scores: dict[str, list[float]] = {name: [] for name in names}
        errors = {name: np.zeros((2, 2), int) for name in names}
        for _ in tqdm(range(self.count), desc="codec"):
            exchange = self.bank.draw(rng)
            settings = voices.held_out_voice(rng), voices.new_synthesizer_voice(rng), voices.AGENT
            texts = exchange.question, exchange.question, exchange.answer
            for name, setting, text in zip(names, settings, texts, strict=True):
                wav = self.spoken(text, setting, rng)
                made = self.through_codec(wav)[: len(wav)]
                scores[name].append(stoi(wav, made, SAMPLE_RATE))
                errors[name] += [word_errors(text, self.recogniser.words(sound)) for sound in (wav, made)]
        return {f"stoi_{name}": float(np.mean(values)) for name, values in scores.items()} | {
            f"{name}_wer_{when}": float(wrong / all_words)
            for name, counts in errors.items()
            for when, (wrong, all_words) in zip(("before", "after"), counts, strict=True)
        }

    def streaming(self) -> dict:
        """Share of codes that are the same frame by frame, and how far the sounds differ (wheel only)."""
        if self.wheel is None:
            return {}
        wav = self.spoken(
            "A little bird found a seed. In spring a tree grew.", voices.AGENT, np.random.default_rng(self.seed)
        )
        wav = np.pad(wav, (0, -len(wav) % FRAME)).astype(np.float32)
        mimi, stream = self.wheel.mimi, self.wheel.mimi.stream()
        codes = np.asarray(mimi.encode(wav))
        live = np.stack([np.asarray(stream.encode_step(frame)).reshape(-1) for frame in wav.reshape(-1, FRAME)], 1)
        sound = np.concatenate(
            [np.asarray(stream.decode_step(np.ascontiguousarray(c[:, None]))).reshape(-1) for c in codes.T]
        )
        apart = np.abs(sound - np.asarray(mimi.decode(codes)).reshape(-1)).max()
        return {"streaming_same_codes": float((live == codes).mean()), "streaming_sound_differs": float(apart)}

    def question(self, text: str, setting: VoiceSetting, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """A question behind a drawn microphone and five seconds to answer; and the frame in which it ends."""
        wav = trim(self.studio.say(text, setting, int(rng.integers(1 << 30))).wav)
        wav = np.pad(wav, (int(rng.uniform(0.6, 1.4) * SAMPLE_RATE), int(LISTEN_S * SAMPLE_RATE)))
        return augment.line(wav, rng), (len(wav) / SAMPLE_RATE - LISTEN_S) * FRAME_RATE

    def dialogue(self, name: str, voice_of) -> dict:
        """Right answers by inner monologue, word errors of the spoken answer, and when answers begin."""
        rng = np.random.default_rng(self.seed)
        exchanges = [self.bank.draw(rng) for _ in range(self.count)]
        asked = [self.question(e.question, voice_of(rng), rng) for e in exchanges]
        rows, delays, heard = [], [], np.zeros(2, int)
        for exchange, (_, end), reply in zip(
            exchanges, asked, self.replies([wav for wav, _ in asked], name), strict=True
        ):
            said = reply.words()
            if said:
                # The voice, which comes behind the words; an answer before the question's end counts as that.
                voice = next((i for i in range(reply.first_word(), len(reply.pieces)) if _loud(reply.pcm, i)), None)
                delays += [] if voice is None else [(voice - end) / FRAME_RATE]
                heard += word_errors(said, self.recogniser.words(reply.pcm))
            right = plain(said) == plain(exchange.answer)
            rows.append({"question": exchange.question, "expected": exchange.answer, "said": said, "right": right})
        return {
            f"{name}_right": sum(row["right"] for row in rows) / self.count,
            f"{name}_spoken_wer": float(heard[0] / max(1, heard[1])),
            f"{name}_answer_begins_s": float(np.median(delays)) if delays else None,
            f"{name}_rows": rows,
        }

    def quiet(self) -> dict:
        """Share of ten-second trials of silence, noise or music in which the agent says nothing."""
        rng, sounds, n = np.random.default_rng(self.seed + 1), [], 10 * SAMPLE_RATE
        for i in range(self.count):
            made = augment.music(n, rng) if i % 6 == 1 else augment.noise(n, rng)
            level = 0.0 if i % 3 == 0 else 10 ** (rng.uniform(-60, -28) / 20)
            sounds.append((made * level).astype(np.float32))
        silent = sum(reply.first_word() is None for reply in self.replies(sounds, "silence"))
        return {"quiet_without_speech": silent / self.count}

    def barge_in(self) -> dict:
        """Share of interruptions after which the agent's sound is gone within 500 ms: by being told to stop, and by
        another question."""
        told = self._interrupted("barge-in", lambda rng: "Stop. Please stop talking.")
        asked = self._interrupted("barge-in by a question", lambda rng: self.bank.draw(rng).question)
        return {
            f"{name}_{what}": value
            for name, (share, tried) in (("barge_in", told), ("question_barge_in", asked))
            for what, value in (("stopped", share), ("tried", tried))
        }

    def _interrupted(self, label: str, line_of) -> tuple[float | None, int]:
        """(share that fell silent, how many spoke when the user's line began)."""
        rng, sounds, at = np.random.default_rng(self.seed + 2), [], []
        for i in range(self.count):
            voice = voices.held_out_voice(rng)
            long = self.bank.exact(("story", "poem", "story two", "riddle")[i % 4], rng)
            ask = np.pad(trim(self.studio.say(long.question, voice).wav), (SAMPLE_RATE, int(2.2 * SAMPLE_RATE)))
            line = trim(self.studio.say(line_of(rng), voice).wav)
            at.append(len(ask) // FRAME)
            sounds.append(augment.normalise(np.concatenate([ask, line, np.zeros(2 * SAMPLE_RATE, np.float32)]), -22.0))
        levels = [
            (_level(reply.pcm, start - 8, start), _level(reply.pcm, start + 7, start + 10))
            for reply, start in zip(self.replies(sounds, label), at, strict=True)
        ]
        spoke = [after for before, after in levels if before > QUIET_DB]
        return sum(after < QUIET_DB for after in spoke) / len(spoke) if spoke else None, len(spoke)

    def long_talk(self) -> dict:
        """Five minutes, a question every ten seconds: right answers in the first and the last half."""
        rng = np.random.default_rng(self.seed + 3)
        voice, every = voices.held_out_voice(rng), 10 * SAMPLE_RATE
        exchanges = [self.bank.draw(rng) for _ in range(30)]
        wav = np.zeros(every * len(exchanges), np.float32)
        for i, exchange in enumerate(exchanges):
            said = trim(self.studio.say(exchange.question, voice, i).wav)[: every // 2]
            wav[i * every + SAMPLE_RATE : i * every + SAMPLE_RATE + len(said)] = said
        reply, frames = self.replies([augment.normalise(wav, -22.0)], "five minutes")[0], every // FRAME
        right = [plain(reply.words(i * frames, (i + 1) * frames)) == plain(e.answer) for i, e in enumerate(exchanges)]
        half = len(right) // 2
        return {"five_minutes_first_half": sum(right[:half]) / half, "five_minutes_last_half": sum(right[half:]) / half}


def _level(pcm: np.ndarray, start: int, end: int) -> float:
    """RMS in dB of frames start..end."""
    part = pcm[max(0, start) * FRAME : end * FRAME]
    return 20 * np.log10(np.sqrt(np.mean(part**2)) + 1e-9) if len(part) else -180.0


def _loud(pcm: np.ndarray, frame: int) -> bool:
    """Whether something is heard in a frame."""
    return _level(pcm, frame, frame + 1) > QUIET_DB


PARTS = {
    "codec": lambda j: j.codec_quality(),
    "streaming": lambda j: j.streaming(),
    "trained": lambda j: j.dialogue("trained_voices", voices.training_voice),
    "held_out": lambda j: j.dialogue("held_out_voices", voices.held_out_voice),
    "new": lambda j: j.dialogue("new_synthesizer", voices.new_synthesizer_voice),
    "quiet": lambda j: j.quiet(),
    "barge_in": lambda j: j.barge_in(),
    "long": lambda j: j.long_talk(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=root() / "export")
    parser.add_argument("--engine", choices=["torch", "wheel"], default="torch", help="what runs the conversations")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--card", action="store_true", help="write the numbers into the folder's MODEL_CARD.md")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge, results = Judge(args.folder, args.engine, args.seed, args.count), {}
    for part in args.only:
        results |= PARTS[part](judge)
        (root() / "evaluation.json").write_text(json.dumps(results, indent=1))
    if args.card:
        write_card(args.folder / "MODEL_CARD.md", results, args.count)
    for name, value in results.items():
        print(
            f"{name}: {value}"
            if not name.endswith("_rows")
            else "\n".join(f"  {r['question']}  ->  {r['said']}" for r in value[:12])
        )


if __name__ == "__main__":
    main()
