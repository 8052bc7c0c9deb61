"""Mimi in PyTorch at any size, with the published tensor names, for training, encoding and judging.

Example: `codec = Codec(CodecConfig()); codes = codec.encode(pcm)  # [b, k, t]; codec.decode(codes)  # [b, 1, samples]`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .paths import FRAME
from .transformer import attend, rotary, rotate, split_heads, window_mask


@dataclass(frozen=True)
class CodecConfig:
    """Sizes; everything not here is as published."""

    n_filters: int = 16
    dim: int = 128
    ratios: tuple[int, ...] = (8, 6, 5, 4)
    layers: int = 2
    heads: int = 4
    feedforward: int = 512
    context: int = 32
    codebooks: int = 8
    bins: int = 512
    codebook_dim: int = 64

    def published(self) -> dict:
        """The same as the contents of a published `mimi_config.json`."""
        seanet = dict(
            channels=1,
            dimension=self.dim,
            causal=True,
            n_filters=self.n_filters,
            n_residual_layers=1,
            activation="ELU",
            compress=2,
            dilation_base=2,
            disable_norm_outer_blocks=0,
            kernel_size=7,
            residual_kernel_size=3,
            last_kernel_size=3,
            norm="none",
            pad_mode="constant",
            ratios=list(self.ratios),
            true_skip=True,
        )
        quantizer = dict(
            dimension=self.codebook_dim,
            n_q=self.codebooks,
            bins=self.bins,
            input_dimension=self.dim,
            output_dimension=self.dim,
        )
        transformer = dict(
            d_model=self.dim,
            num_heads=self.heads,
            num_layers=self.layers,
            causal=True,
            layer_scale=0.01,
            context=self.context,
            conv_layout=True,
            max_period=10_000,
            gating="none",
            norm="layer_norm",
            positional_embedding="rope",
            dim_feedforward=self.feedforward,
            input_dimension=self.dim,
            output_dimensions=[self.dim],
        )
        return dict(
            sample_rate=24_000, channels=1, frame_rate=12.5, seanet=seanet, quantizer=quantizer, transformer=transformer
        )


class Conv(nn.Module):
    """Causal convolution: zeros (or the repeated first column) on the left."""

    def __init__(self, cin, cout, kernel, stride=1, bias=True, replicate=False):
        super().__init__()
        self.conv = nn.Module()
        self.conv.conv = nn.Conv1d(cin, cout, kernel, stride, bias=bias)
        self.left, self.replicate = kernel - stride, replicate

    def forward(self, x):
        """x [b, c, 1, t], channels last: that is how the CPU's convolutions are fast (2 to 4 times)."""
        first = x[..., :1].expand(-1, -1, -1, self.left)
        x = torch.cat([first, x], -1) if self.replicate else F.pad(x, (self.left, 0))
        return F.conv2d(x, self.conv.conv.weight[:, :, None], self.conv.conv.bias, (1, *self.conv.conv.stride))


class ConvTranspose(nn.Module):
    """Causal transposed convolution: kernel - stride samples dropped on the right."""

    def __init__(self, cin, cout, kernel, stride, groups=1, bias=True):
        super().__init__()
        self.convtr = nn.Module()
        self.convtr.convtr = nn.ConvTranspose1d(cin, cout, kernel, stride, groups=groups, bias=bias)
        self.right = kernel - stride

    def forward(self, x):
        """x [b, c, 1, t], channels last."""
        c = self.convtr.convtr
        y = F.conv_transpose2d(x, c.weight[:, :, None], c.bias, (1, *c.stride), groups=c.groups)
        return y[..., : y.shape[-1] - self.right]


class Residual(nn.Module):
    """x + conv1(elu(conv3(elu(x))))."""

    def __init__(self, channels):
        super().__init__()
        self.block = nn.ModuleList(
            [nn.ELU(), Conv(channels, channels // 2, 3), nn.ELU(), Conv(channels // 2, channels, 1)]
        )

    def forward(self, x):
        y = x
        for layer in self.block:
            y = layer(y)
        return x + y


class Seanet(nn.Module):
    """A chain of layers under `model.{i}`."""

    def __init__(self, layers):
        super().__init__()
        self.model = nn.ModuleList(layers)

    def forward(self, x):
        """x [b, c, t] -> [b, c', t']."""
        x = flat(x)
        for layer in self.model:
            x = layer(x)
        return x[:, :, 0]


def flat(x: torch.Tensor) -> torch.Tensor:
    """[b, c, t] as an image of one row, [b, c, 1, t], with the channels last in memory."""
    return x[:, :, None].contiguous(memory_format=torch.channels_last)


def seanet_encoder(c: CodecConfig) -> Seanet:
    """PCM [b, 1, samples] -> [b, dim, 25 per second]."""
    width, layers = c.n_filters, [Conv(1, c.n_filters, 7)]
    for stride in reversed(c.ratios):
        layers += [Residual(width), nn.ELU(), Conv(width, 2 * width, 2 * stride, stride)]
        width *= 2
    return Seanet([*layers, nn.ELU(), Conv(width, c.dim, 3)])


def seanet_decoder(c: CodecConfig) -> Seanet:
    """[b, dim, 25 per second] -> PCM [b, 1, samples]."""
    width = c.n_filters * 2 ** len(c.ratios)
    layers = [Conv(c.dim, width, 7)]
    for stride in c.ratios:
        layers += [nn.ELU(), ConvTranspose(width, width // 2, 2 * stride, stride), Residual(width // 2)]
        width //= 2
    return Seanet([*layers, nn.ELU(), Conv(width, 1, 3)])


class Scale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, dim, init=0.1):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), init))

    def forward(self, x):
        return x * self.scale


class Attention(nn.Module):
    """Projections of one attention layer under their published names."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x, cos, sin, mask):
        q, k, v = split_heads(F.linear(x, self.in_proj_weight), self.heads)
        return self.out_proj(attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask))


class Layer(nn.Module):
    """One pre-norm transformer layer with layer scales."""

    def __init__(self, c: CodecConfig):
        super().__init__()
        self.self_attn = Attention(c.dim, c.heads)
        self.norm1, self.norm2 = nn.LayerNorm(c.dim), nn.LayerNorm(c.dim)
        self.linear1 = nn.Linear(c.dim, c.feedforward, bias=False)
        self.linear2 = nn.Linear(c.feedforward, c.dim, bias=False)
        self.layer_scale_1, self.layer_scale_2 = Scale(c.dim), Scale(c.dim)

    def forward(self, x, cos, sin, mask):
        x = x + self.layer_scale_1(self.self_attn(self.norm1(x), cos, sin, mask))
        return x + self.layer_scale_2(self.linear2(F.gelu(self.linear1(self.norm2(x)))))


class Transformer(nn.Module):
    """x [b, dim, t] -> [b, dim, t]; names under `transformer.layers.{i}`."""

    def __init__(self, c: CodecConfig):
        super().__init__()
        self.c = c
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList([Layer(c) for _ in range(c.layers)])

    def forward(self, x):
        t = x.shape[-1]
        cos, sin = (a.to(x.device) for a in rotary(t, self.c.dim // self.c.heads))
        mask = window_mask(t, t, self.c.context, x.device)
        y = x.transpose(1, 2)
        for layer in self.transformer.layers:
            y = layer(y, cos, sin, mask)
        return y.transpose(1, 2)


class Codec(nn.Module):
    """Encoder, split residual quantizer and decoder."""

    def __init__(self, config: CodecConfig = CodecConfig()):
        super().__init__()
        from .quantizer import SplitQuantizer

        c = self.config = config
        self.encoder, self.decoder = seanet_encoder(c), seanet_decoder(c)
        self.encoder_transformer, self.decoder_transformer = Transformer(c), Transformer(c)
        self.downsample = nn.Module()
        self.downsample.conv = Conv(c.dim, c.dim, 4, 2, bias=False, replicate=True)
        self.upsample = nn.Module()
        self.upsample.convtr = ConvTranspose(c.dim, c.dim, 4, 2, groups=c.dim, bias=False)
        self.quantizer = SplitQuantizer(c.dim, c.codebook_dim, c.bins, c.codebooks)
        self._initialise()

    def _initialise(self) -> None:
        """Weights that keep the signal's size through every layer, quiet branches, a loud first, a quiet last layer."""
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                transposed = isinstance(module, nn.ConvTranspose1d)
                taps = module.kernel_size[0] / (module.stride[0] if transposed else 1)
                fan_in = (module.in_channels // module.groups) * taps
                nn.init.normal_(module.weight, std=1.2 / fan_in**0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Residual):
                module.block[3].conv.conv.weight.data.mul_(0.3)
        self.encoder.model[0].conv.conv.weight.data.mul_(6.0)
        self.decoder.model[-1].conv.conv.weight.data.mul_(0.05)

    def held(self, pcm: torch.Tensor, layers: int) -> torch.Tensor:
        """PCM [b, 1, samples] -> what the encoder's first layers make of it [b, channels, columns]."""
        x = flat(pcm)
        for layer in self.encoder.model[:layers]:
            x = layer(x)
        return x[:, :, 0]

    def columns_of_held(self, held: torch.Tensor, layers: int) -> torch.Tensor:
        """What the first layers made [b, channels, columns] -> the encoder's columns [b, dim, 2 frames]."""
        x = flat(held)
        for layer in self.encoder.model[layers:]:
            x = layer(x)
        return self.encoder_transformer(x[:, :, 0])

    def latent_of_columns(self, columns: torch.Tensor) -> torch.Tensor:
        """The encoder's columns [b, dim, 2 frames] -> unquantized [b, dim, frames]."""
        return self.downsample.conv(flat(columns))[:, :, 0]

    def latent(self, pcm: torch.Tensor) -> torch.Tensor:
        """PCM [b, 1, samples] -> unquantized [b, dim, frames]."""
        return self.latent_of_columns(self.columns_of_held(pcm, 0))

    def features(self, latent: torch.Tensor) -> torch.Tensor:
        """Quantized latents [b, dim, frames] -> what the decoder makes sound of [b, dim, 2 frames]."""
        return self.decoder_transformer(self.upsample.convtr(flat(latent))[:, :, 0])

    def stretches(self, features: torch.Tensor, starts: list[int], frames: int) -> torch.Tensor:
        """Of every row the sound of `frames` frames, as it is within the whole, from its own start on (1 or more):
        [b, samples]."""
        first, *others = self.decoder.model
        columns = first(flat(features))
        # The layers behind the first one reach back less than two columns, which are a frame.
        x = torch.stack([row[..., 2 * at - 2 : 2 * (at + frames)] for row, at in zip(columns, starts, strict=True)])
        for layer in others:
            x = layer(x)
        return x[:, 0, 0, FRAME:]

    def synthesise(self, latent: torch.Tensor) -> torch.Tensor:
        """Quantized latents [b, dim, frames] -> PCM [b, 1, samples]."""
        return self.decoder(self.features(latent))

    @torch.no_grad()
    def encode(self, pcm: torch.Tensor) -> torch.Tensor:
        """PCM [b, 1, whole frames] -> codes [b, codebooks, frames]."""
        return self.quantizer.encode(self.latent(pcm).float())

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [b, codebooks, frames] -> PCM [b, 1, samples]."""
        return self.synthesise(self.quantizer.decode(codes))
