"""A live conversation in PyTorch: user frames in, agent frames and words out, a step per 80 ms.

Example: `session = Session(lm, codec, seed=1); replies = session.run([pcm])`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from .codec import Codec
from .encode import encode
from .lm import Lm, Sampling
from .lm_data import initial_column
from .paths import FRAME
from .streams import AGENT_BOOKS, undelayed
from .tokens import tokenizer


@dataclass
class Reply:
    """Agent sound [samples] at 24 kHz and the text of each frame, on the user's clock."""

    pcm: np.ndarray
    pieces: list[str]

    def words(self, start: int = 0, end: int | None = None) -> str:
        """What the inner monologue says between two frames."""
        return "".join(self.pieces[start:end]).strip()

    def first_word(self, start: int = 0) -> int | None:
        """The first frame from `start` on with a word, or None."""
        return next((i for i in range(start, len(self.pieces)) if self.pieces[i].strip()), None)


class Session:
    """Runs user codes through the model, step by step, several conversations abreast."""

    def __init__(self, lm: Lm, codec: Codec | None, seed: int = 0, sampling: Sampling | None = None):
        self.lm, self.codec, self.sampling = lm, codec, sampling or Sampling()
        self.generator = torch.Generator().manual_seed(seed)
        self.initial = torch.from_numpy(initial_column(lm.config))

    def _draw(self, logits: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
        """logits [b, card] -> ids [b]."""
        if temperature == 0:
            return logits.argmax(-1)
        values, ids = (logits.float() / temperature).topk(min(top_k, logits.shape[-1]))
        chosen = torch.multinomial(values.softmax(-1), 1, generator=self.generator)
        return ids.gather(-1, chosen)[:, 0]

    @torch.no_grad()
    def run_codes(self, user: np.ndarray) -> np.ndarray:
        """User codes [b, 8, t] -> the delayed tables [b, 17, t + 1] with the agent's tokens written."""
        c, (rows, books, frames) = self.lm.config, user.shape
        table = self.initial[None, :, None].repeat(rows, 1, frames + 1)
        for k in range(books):
            stream = 1 + c.dep_q + k
            delay = c.delays[stream]
            table[:, stream, delay + 1 : frames] = torch.from_numpy(user[:, k, 1 : frames - delay].astype(np.int64))
        caches = [[] for _ in range(c.layers)]
        for step in range(frames):
            z = self.lm.temporal(table[:, :, step : step + 1], caches, start=len_of(caches), position=step)
            for cache in caches:
                cache[:] = [x[:, :, -(c.context - 1) :] for x in cache]
            table[:, : 1 + c.dep_q, step + 1] = self._column(z[:, 0], step)
        return table.numpy()

    def _column(self, z: torch.Tensor, step: int) -> torch.Tensor:
        """z [b, dim] -> text and agent codes of the next column [b, 9]; initial tokens while in their delay."""
        c, s = self.lm.config, self.sampling
        text = self._draw(self.lm.text_linear(z), s.text, s.top_k_text)
        codes = torch.zeros(len(z), 0, dtype=torch.long)
        for k in range(c.dep_q):
            hidden = self.lm.depth(z, text, codes)
            code = self._draw(self.lm.linears[k](hidden[:, k]), s.audio, s.top_k)
            codes = torch.cat([codes, code[:, None]], 1)
        for k in range(c.dep_q):
            if step + 1 <= c.delays[1 + k]:
                codes[:, k] = c.card
        return torch.cat([text[:, None], codes], 1)

    def run(self, sounds: list[np.ndarray]) -> list[Reply]:
        """Float user sounds -> the agent's side of the same time; shorter ones are filled up with silence."""
        frames = -(-max(map(len, sounds)) // FRAME)
        padded = [np.pad(np.clip(x, -1, 1), (0, frames * FRAME - len(x))) for x in sounds]
        user = np.stack([encode(self.codec, (x * 32767).astype(np.int16)) for x in padded])
        return [self._reply(table) for table in self.run_codes(user)]

    @torch.no_grad()
    def _reply(self, table: np.ndarray) -> Reply:
        """The emitted frames of one table [17, t + 1] as sound and text."""
        frames = undelayed(table, self.lm.config.delays)
        codes = np.maximum(frames[1 : 1 + AGENT_BOOKS], 0)
        sound = self.codec.decode(torch.from_numpy(codes)[None].long())[0, 0].numpy()
        spm = tokenizer()
        return Reply(sound, [spm.id_to_piece(int(i)).replace("\u2581", " ") if i > 3 else "" for i in frames[0]])


def len_of(caches) -> int:
    """How many keys the caches hold."""
    return caches[0][0].shape[2] if caches[0] else 0
