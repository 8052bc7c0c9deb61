"""The language model in PyTorch at any size, with the published tensor names: temporal and depth transformer.

`Lm.forward` gives teacher-forced losses for training; `Session` is the 80 ms step loop of a live conversation.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn

from .streams import DELAYS, NOTHING
from .transformer import attend, rotary, rotate, split_heads, window_mask

DROPOUT = 0.1
# Layers after which the user's speech sounds, and words, are read while training.
SOUNDS_AFTER, WORDS_AFTER = 2, 4
# What is heard after either, each [b, t, dim].
Hidden = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Sampling:
    """Temperatures (0: the likeliest) and how many candidates are kept."""

    audio: float = 0.25
    text: float = 0.0
    top_k: int = 20
    top_k_text: int = 10

    def published(self) -> dict:
        """The same as `lm_gen_config` of a published `config.json`."""
        return dict(temp=self.audio, temp_text=self.text, top_k=self.top_k, top_k_text=self.top_k_text)

    @classmethod
    def of(cls, published: dict) -> "Sampling":
        """What `published` has written."""
        return cls(published["temp"], published["temp_text"], published["top_k"], published["top_k_text"])


@dataclass(frozen=True)
class LmConfig:
    """Sizes. `hidden_scale` and `depth_feedforward` are as in a published config.json (two thirds of them are used)."""

    dim: int = 256
    heads: int = 4
    layers: int = 6
    hidden_scale: float = 4.125
    context: int = 256
    text_card: int = 1_024
    card: int = 512
    n_q: int = 16
    dep_q: int = 8
    depth_dim: int = 128
    depth_heads: int = 4
    depth_layers: int = 2
    depth_feedforward: int = 384
    delays: tuple[int, ...] = field(default=tuple(DELAYS))

    def published(self) -> dict:
        """The same as the contents of a published `config.json`."""
        return dict(
            dim=self.dim,
            text_card=self.text_card,
            existing_text_padding_id=3,
            existing_text_end_padding_id=0,
            n_q=self.n_q,
            dep_q=self.dep_q,
            card=self.card,
            num_heads=self.heads,
            num_layers=self.layers,
            hidden_scale=self.hidden_scale,
            causal=True,
            layer_scale=None,
            context=self.context,
            max_period=10_000,
            gating="silu",
            norm="rms_norm_f32",
            positional_embedding="rope",
            depformer_dim=self.depth_dim,
            depformer_dim_feedforward=self.depth_feedforward,
            depformer_num_heads=self.depth_heads,
            depformer_num_layers=self.depth_layers,
            depformer_layer_scale=None,
            depformer_multi_linear=True,
            depformer_context=self.dep_q,
            depformer_max_period=10_000,
            depformer_gating="silu",
            depformer_pos_emb="none",
            depformer_weights_per_step=True,
            delays=list(self.delays),
            moshi_name="model.safetensors",
            mimi_name="mimi.safetensors",
            mimi_config_name="mimi_config.json",
            tokenizer_name="tokenizer.model",
            model_type="moshi",
            lm_gen_config=Sampling().published(),
        )


def gated_width(dim: int, feedforward: int) -> int:
    """The published rule for the inner width of a gated block."""
    return 21 * dim // 8 if feedforward == 4 * dim else 2 * feedforward // 3


@lru_cache(maxsize=2)
def _masks(dtype: torch.dtype) -> torch.Tensor:
    """Many drawn factors, 0 or 1 / (1 - DROPOUT)."""
    return (torch.rand(1 << 24) >= DROPOUT).to(dtype) / (1 - DROPOUT)


def dropout(x: torch.Tensor) -> torch.Tensor:
    """Dropout; on a CPU, where drawing a number for every value is a tenth of a training step, with a stretch out of
    numbers drawn once."""
    masks = _masks(x.dtype) if x.device.type == "cpu" else ()
    if len(masks) <= x.numel():
        return F.dropout(x, DROPOUT)
    start = int(torch.randint(len(masks) - x.numel(), ()))
    return x * masks[start : start + x.numel()].view_as(x)


class RmsNorm(nn.Module):
    """x * alpha / rms(x), in f32."""

    def __init__(self, dim):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, 1, dim))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-8) * self.alpha).to(x.dtype)


class Gating(nn.Module):
    """W_out(silu(a) * b)."""

    def __init__(self, dim, inner):
        super().__init__()
        self.linear_in = nn.Linear(dim, 2 * inner, bias=False)
        self.linear_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x):
        a, b = self.linear_in(x).chunk(2, -1)
        return self.linear_out(F.silu(a) * b)


class Attention(nn.Module):
    """Attention projections; `steps` > 1 stacks one set of weights per depth step."""

    def __init__(self, dim, heads, steps=1):
        super().__init__()
        self.heads, self.steps = heads, steps
        self.in_proj_weight = nn.Parameter(torch.randn(steps * 3 * dim, dim) / dim**0.5)
        self.out_proj = nn.Linear(dim, steps * dim, bias=False)


class TemporalLayer(nn.Module):
    """One layer over time."""

    def __init__(self, c: LmConfig):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(c.dim), RmsNorm(c.dim)
        self.self_attn = Attention(c.dim, c.heads)
        self.gating = Gating(c.dim, gated_width(c.dim, int(c.hidden_scale * c.dim)))

    def forward(self, x, cos, sin, mask, cache=None):
        """x [b, t, dim]; `cache` is a list [k, v] that grows (None in training)."""
        q, k, v = split_heads(F.linear(self.norm1(x), self.self_attn.in_proj_weight), self.self_attn.heads)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        x = x + self._drop(self.self_attn.out_proj(attend(q, k, v, mask)))
        return x + self._drop(self.gating(self.norm2(x)))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout while training: without it some thousand conversations are learned by heart."""
        return dropout(x) if self.training else x


class DepthLayer(nn.Module):
    """One layer over the codebooks of a frame, with weights of its own for every step."""

    def __init__(self, c: LmConfig):
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(c.depth_dim), RmsNorm(c.depth_dim)
        self.self_attn = Attention(c.depth_dim, c.depth_heads, c.dep_q)
        inner = gated_width(c.depth_dim, c.depth_feedforward)
        self.gating = nn.ModuleList([Gating(c.depth_dim, inner) for _ in range(c.dep_q)])

    def forward(self, x, mask):
        """x [n, k, d] for the first k steps."""
        count, d, a = x.shape[1], x.shape[2], self.self_attn
        w_in = a.in_proj_weight.view(a.steps, 3 * d, d)[:count]
        w_out = a.out_proj.weight.view(a.steps, d, d)[:count]
        qkv = torch.einsum("nki,koi->nko", self.norm1(x), w_in.to(x.dtype))
        q, k, v = split_heads(qkv, a.heads)
        x = x + torch.einsum("nki,koi->nko", attend(q, k, v, mask), w_out.to(x.dtype))
        y = self.norm2(x)
        return x + torch.stack([self.gating[i](y[:, i]) for i in range(count)], 1)


class Stack(nn.Module):
    """Layers under `layers.{i}`."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class Lm(nn.Module):
    """The whole model."""

    def __init__(self, config: LmConfig = LmConfig()):
        super().__init__()
        c = self.config = config
        self.text_emb = nn.Embedding(c.text_card + 1, c.dim)
        self.emb = nn.ModuleList([nn.Embedding(c.card + 1, c.dim) for _ in range(c.n_q)])
        self.transformer = Stack([TemporalLayer(c) for _ in range(c.layers)])
        self.out_norm = RmsNorm(c.dim)
        self.text_linear = nn.Linear(c.dim, c.text_card, bias=False)
        self.depformer_in = nn.ModuleList([nn.Linear(c.dim, c.depth_dim, bias=False) for _ in range(c.dep_q)])
        self.depformer_text_emb = nn.Embedding(c.text_card + 1, c.depth_dim)
        self.depformer_emb = nn.ModuleList([nn.Embedding(c.card + 1, c.depth_dim) for _ in range(c.dep_q - 1)])
        self.depformer = Stack([DepthLayer(c) for _ in range(c.depth_layers)])
        self.linears = nn.ModuleList([nn.Linear(c.depth_dim, c.card, bias=False) for _ in range(c.dep_q)])
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.3 if module.embedding_dim == self.config.dim else 0.5)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        for layer in [*self.transformer.layers, *self.depformer.layers]:
            layer.self_attn.out_proj.weight.data.mul_(0.3)
            for gating in [layer.gating] if isinstance(layer, TemporalLayer) else layer.gating:
                gating.linear_out.weight.data.mul_(0.3)

    def temporal(self, table: torch.Tensor, caches=None, start: int = 0, position: int | None = None) -> torch.Tensor:
        """Columns table [b, streams, t] -> z [b, t, dim]; with `caches` the new columns alone, after `start`
        cached keys, at `position` (default `start`) in the conversation."""
        return self._temporal(table, caches, start, position)[0]

    def heard(self, table: torch.Tensor) -> Hidden:
        """Columns table [b, streams, t] -> the hidden states from which an `Ear` learns to understand."""
        return self._heard(self._begin(table), [None] * WORDS_AFTER)

    def temporal_and_heard(self, table: torch.Tensor) -> tuple[torch.Tensor, Hidden]:
        """Both."""
        return self._temporal(table, None, 0, None)

    def _temporal(self, table, caches, start, position):
        layers = self.transformer.layers
        caches = [None] * len(layers) if caches is None else caches
        begin = self._begin(table, start, position)
        heard = self._heard(begin, caches)
        z = self._layers(heard[1], *begin[1:], layers[WORDS_AFTER:], caches[WORDS_AFTER:])
        return self.out_norm(z), heard

    def _heard(self, begin: tuple, caches: list) -> Hidden:
        """Hidden states after `SOUNDS_AFTER` and `WORDS_AFTER` layers."""
        layers, middle = self.transformer.layers, slice(SOUNDS_AFTER, WORDS_AFTER)
        early = self._layers(*begin, layers[:SOUNDS_AFTER], caches[:SOUNDS_AFTER])
        return early, self._layers(early, *begin[1:], layers[middle], caches[middle])

    def _begin(self, table: torch.Tensor, start: int = 0, position: int | None = None):
        """(embedded columns [b, t, dim], cos, sin, mask)."""
        c, t = self.config, table.shape[-1]
        x = _embed(self.text_emb, table[:, 0]) + sum(_embed(e, table[:, i + 1]) for i, e in enumerate(self.emb))
        cos, sin = (a.to(x.device) for a in rotary(t, c.dim // c.heads, start=start if position is None else position))
        # None: the whole past, for which attention has a faster way than for a mask.
        mask = None if start == 0 and t <= c.context else window_mask(t, start + t, c.context, x.device)
        return x, cos, sin, mask

    @staticmethod
    def _layers(x, cos, sin, mask, layers, caches) -> torch.Tensor:
        for layer, cache in zip(layers, caches, strict=True):
            x = layer(x, cos, sin, mask, cache)
        return x

    def depth(self, z: torch.Tensor, text: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """z [n, dim], text [n], codes [n, k - 1] already chosen -> hidden states [n, k, d] of the first k steps."""
        count = codes.shape[1] + 1
        tokens = [_embed(self.depformer_text_emb, text)] + [
            _embed(self.depformer_emb[i], codes[:, i]) for i in range(count - 1)
        ]
        x = torch.stack([self.depformer_in[i](z) + tokens[i] for i in range(count)], 1)
        for layer in self.depformer.layers:
            x = layer(x, None)
        return x

    def forward(
        self, table: torch.Tensor, goal: torch.Tensor, depth_rows: torch.Tensor, text_weight: torch.Tensor
    ) -> tuple[dict, Hidden]:
        """Losses of columns table [b, streams, t] against goal [b, 1 + dep_q, t].

        `depth_rows` [m] are the flat (b * t) positions on which the depth transformer is trained; `text_weight` [b, t]
        weighs text tokens. Also returns the hidden states from which an `Ear` learns to understand.
        """
        z, heard = self.temporal_and_heard(table)
        logits = self.text_linear(z).float()
        text = F.cross_entropy(logits.flatten(0, 1), goal[:, 0].flatten().clamp(min=0), reduction="none")
        weight = (text_weight * (goal[:, 0] >= 0)).flatten()
        losses = {"text": (text * weight).sum() / weight.sum()}
        rows = goal.transpose(1, 2).flatten(0, 1)[depth_rows]
        hidden = self.depth(z.flatten(0, 1)[depth_rows], rows[:, 0], rows[:, 1:-1])
        audio = [
            F.cross_entropy(self.linears[k](hidden[:, k]).float(), rows[:, k + 1], ignore_index=NOTHING)
            for k in range(self.config.dep_q)
        ]
        losses["semantic"], losses["acoustic"] = audio[0], sum(audio[1:]) / len(audio[1:])
        return losses, heard


def _embed(table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    """Rows of the table; zero where the id is `NOTHING`."""
    return table(ids.clamp(min=0)) * (ids >= 0)[..., None]
