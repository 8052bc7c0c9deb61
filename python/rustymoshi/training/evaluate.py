"""Judge a model: `python -m rustymoshi.training.evaluate [--folder EXPORTED] [--only codec dialogue ...]`.

Seeded; prints one line per measure and writes them all to `evaluation.json` in the training folder.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from . import augment, voices
from .encode import encode
from .export import load_exported
from .paths import FRAME, FRAME_RATE, SAMPLE_RATE, root
from .questions import Bank
from .recognise import Recogniser, plain, word_errors
from .render import AGENT_LEVEL_DB
from .session import Reply, Sampling, Session
from .speech import Studio, VoiceSetting, trim

LISTEN_S = 5.0


class Judge:
    """Model, voices, recogniser and the question bank."""

    def __init__(self, path: Path, engine: str, seed: int, count: int):
        self.lm, self.codec = load_exported(path)
        self.studio, self.bank, self.recogniser = Studio(), Bank(), Recogniser()
        self.seed, self.count, self.sampling = seed, count, Sampling()
        self.wheel = None
        if engine == "wheel":
            from rustymoshi import Model

            self.wheel = Model.load(path)

    def reply(self, pcm: np.ndarray, seed: int) -> Reply:
        """What a fresh session answers to the user's sound."""
        if self.wheel is None:
            return Session(self.lm, self.codec, seed, self.sampling).run(pcm)
        session = self.wheel.session(seed=seed, text_temperature=self.sampling.text, temperature=self.sampling.audio)
        steps = [
            session.step(frame) for frame in pcm[: len(pcm) // FRAME * FRAME].astype(np.float32).reshape(-1, FRAME)
        ]
        sound = [np.asarray(out) if len(out) else np.zeros(FRAME, np.float32) for out, _ in steps]
        return Reply(np.concatenate(sound), [text for _, text in steps])

    def through_codec(self, wav: np.ndarray) -> np.ndarray:
        """Encode and decode."""
        wav = np.pad(wav, (0, -len(wav) % FRAME))
        codes = encode(self.codec, (np.clip(wav, -1, 1) * 32767).astype(np.int16))
        return self.codec.decode(torch.from_numpy(codes.astype(np.int64))[None])[0, 0].numpy()

    def codec_quality(self) -> dict:
        """STOI of the agent and of held-out users, word errors of the agent's speech before and after the codec."""
        from pystoi import stoi

        rng, out = np.random.default_rng(self.seed), {"stoi_agent": [], "stoi_held_out": [], "stoi_new_synthesizer": []}
        errors = {"before": [0, 0], "after": [0, 0]}
        for _ in tqdm(range(self.count), desc="codec"):
            exchange = self.bank.draw(rng)
            for name, setting, text in (
                ("stoi_agent", voices.AGENT, exchange.answer),
                ("stoi_held_out", voices.held_out_voice(rng), exchange.question),
                ("stoi_new_synthesizer", voices.new_synthesizer_voice(rng), exchange.question),
            ):
                wav = augment.normalise(self.studio.say(text, setting, int(rng.integers(1 << 30))).wav, AGENT_LEVEL_DB)
                wav = np.pad(wav, (2400, 24_000))
                made = self.through_codec(wav)[: len(wav)]
                out[name].append(stoi(wav, made, SAMPLE_RATE))
                if name == "stoi_agent":
                    for key, sound in (("before", wav), ("after", made)):
                        wrong, total = word_errors(text, self.recogniser.words(sound))
                        errors[key][0] += wrong
                        errors[key][1] += total
        means = {k: float(np.mean(v)) for k, v in out.items()}
        return means | {f"agent_wer_{k}": wrong / total for k, (wrong, total) in errors.items()}

    def ask(self, question: str, setting: VoiceSetting, rng, clean: bool = False):
        """One question to a fresh session; returns (reply, frame in which the question ends)."""
        wav = trim(self.studio.say(question, setting, int(rng.integers(1 << 30))).wav)
        lead = int(rng.uniform(0.6, 1.4) * SAMPLE_RATE)
        wav = np.pad(wav, (lead, int(LISTEN_S * SAMPLE_RATE)))
        wav = augment.normalise(wav, -22.0) if clean else augment.line(wav, rng)
        return self.reply(wav, int(rng.integers(1 << 30))), (len(wav) / SAMPLE_RATE - LISTEN_S) * FRAME_RATE

    def dialogue(self, name: str, voice_of) -> dict:
        """Right answers by inner monologue, word errors of the spoken answer, and when answers begin."""
        rng = np.random.default_rng(self.seed)
        right, delays, heard, rows = 0, [], [0, 0], []
        for _ in tqdm(range(self.count), desc=f"dialogue: {name}"):
            exchange = self.bank.draw(rng)
            reply, end = self.ask(exchange.question, voice_of(rng), rng)
            said = reply.words()
            right += plain(said) == plain(exchange.answer)
            first = reply.first_word()
            if first is not None:
                delays.append((first - end) / FRAME_RATE)
            if said:
                wrong, total = word_errors(said, self.recogniser.words(reply.pcm))
                heard = [heard[0] + wrong, heard[1] + total]
            rows.append(dict(question=exchange.question, expected=exchange.answer, said=said))
        return {
            f"{name}_right": right / self.count,
            f"{name}_spoken_wer": heard[0] / max(1, heard[1]),
            f"{name}_answer_begins_s": float(np.median(delays)) if delays else None,
            f"{name}_rows": rows,
        }

    def quiet(self) -> dict:
        """Share of ten-second trials of silence, noise or music in which the agent says nothing."""
        rng, silent = np.random.default_rng(self.seed + 1), 0
        for i in tqdm(range(self.count), desc="silence"):
            n = 10 * SAMPLE_RATE
            wav = (
                np.zeros(n, np.float32)
                if i % 3 == 0
                else (augment.music if i % 6 == 1 else augment.noise)(n, rng) * 10 ** (rng.uniform(-60, -28) / 20)
            )
            silent += self.reply(wav.astype(np.float32), i).first_word() is None
        return {"quiet_without_speech": silent / self.count}

    def barge_in(self) -> dict:
        """Share of interruptions after which the agent's sound is gone within 500 ms."""
        rng, stopped, tried = np.random.default_rng(self.seed + 2), 0, 0
        for i in tqdm(range(self.count), desc="barge-in"):
            long = self.bank.exact(("story", "poem", "story two", "riddle")[i % 4], rng)
            voice = voices.held_out_voice(rng)
            ask = trim(self.studio.say(long.question, voice).wav)
            stop = trim(self.studio.say("Stop. Please stop talking.", voice).wav)
            begin = SAMPLE_RATE + len(ask) + int(2.2 * SAMPLE_RATE)
            wav = np.zeros(begin + len(stop) + 2 * SAMPLE_RATE, np.float32)
            wav[SAMPLE_RATE : SAMPLE_RATE + len(ask)] += ask
            wav[begin : begin + len(stop)] += stop
            reply = self.reply(augment.normalise(wav, -22.0), i)
            at = int(begin / FRAME)
            if reply.first_word() is None or _level(reply.pcm, at - 8, at) < -45:
                continue
            tried += 1
            stopped += _level(reply.pcm, at + 7, at + 10) < -45
        return {"barge_in_stopped": stopped / tried if tried else None, "barge_in_tried": tried}


def _level(pcm: np.ndarray, start: int, end: int) -> float:
    """RMS in dB of frames start..end."""
    part = pcm[max(0, start) * FRAME : end * FRAME]
    return 20 * np.log10(np.sqrt(np.mean(part**2)) + 1e-9) if len(part) else -180.0


PARTS = {
    "codec": lambda j: j.codec_quality(),
    "trained": lambda j: j.dialogue("trained_voices", voices.training_voice),
    "held_out": lambda j: j.dialogue("held_out_voices", voices.held_out_voice),
    "new": lambda j: j.dialogue("new_synthesizer", voices.new_synthesizer_voice),
    "quiet": lambda j: j.quiet(),
    "barge_in": lambda j: j.barge_in(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=root() / "export")
    parser.add_argument("--engine", choices=["torch", "wheel"], default="torch", help="what runs the conversations")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge, results = Judge(args.folder, args.engine, args.seed, args.count), {}
    for part in args.only:
        results |= PARTS[part](judge)
        (root() / "evaluation.json").write_text(json.dumps(results, indent=1))
    for name, value in results.items():
        print(
            f"{name}: {value}"
            if not name.endswith("_rows")
            else "\n".join(f"  {r['question']}  ->  {r['said']}" for r in value[:12])
        )


if __name__ == "__main__":
    main()
