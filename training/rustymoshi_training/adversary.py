"""The last polish of the decoder: small discriminators on complex spectrograms that learn to tell made from real.

`Adversary.decoder_loss` adds to the decoder's losses; `Adversary.learn` trains the discriminators on the same batch.
"""

import torch
import torch.nn.functional as F
from torch import nn

WINDOWS = (1024, 512, 256)


class Discriminator(nn.Module):
    """One window length: convolutions over [b, real and imaginary, frames, bins] that end in a map of scores."""

    def __init__(self, fft: int, width: int = 16):
        super().__init__()
        self.fft = fft
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(2, width, (3, 9), padding=(1, 4)),
                nn.Conv2d(width, width, (3, 9), (1, 2), padding=(1, 4)),
                nn.Conv2d(width, 2 * width, (3, 9), (1, 2), padding=(2, 4), dilation=(2, 1)),
                nn.Conv2d(2 * width, 2 * width, (3, 9), (1, 2), padding=(4, 4), dilation=(4, 1)),
            ]
        )
        self.score = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, pcm: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """pcm [b, samples] -> (scores, what every layer saw)."""
        window = torch.hann_window(self.fft, device=pcm.device)
        spectrum = torch.stft(pcm, self.fft, self.fft // 4, window=window, return_complex=True)
        spectrum = spectrum / window.square().sum().sqrt()
        spectrum = spectrum / (spectrum.abs() + 1e-4).sqrt()  # quiet parts are heard too
        x = torch.view_as_real(spectrum).permute(0, 3, 2, 1).contiguous(memory_format=torch.channels_last)
        seen = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return self.score(x), seen


class Adversary(nn.Module):
    """All discriminators with their optimizer."""

    def __init__(self, lr: float = 3e-4):
        super().__init__()
        self.judges = nn.ModuleList([Discriminator(fft) for fft in WINDOWS])
        self.optimizer = torch.optim.AdamW(self.judges.parameters(), lr=lr, betas=(0.5, 0.9))

    def decoder_loss(self, made: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
        """Hinge loss for being taken as real, and the distance of what the layers see; inputs [b, samples]."""
        fool, match = 0.0, 0.0
        for judge in self.judges:
            score, seen = judge(made)
            with torch.no_grad():
                _, truth = judge(real)
            fool = fool + F.relu(1 - score).mean()
            match = match + sum(
                (a - b).abs().mean() / (b.abs().mean() + 1e-3) for a, b in zip(seen, truth, strict=True)
            )
        return {"fool": fool / len(self.judges), "match": match / len(self.judges) / len(seen)}

    def learn(self, made: torch.Tensor, real: torch.Tensor) -> float:
        """One step of the discriminators; returns their hinge loss (2 when they know nothing)."""
        loss = 0.0
        for judge in self.judges:
            loss = loss + F.relu(1 - judge(real)[0]).mean() + F.relu(1 + judge(made.detach())[0]).mean()
        loss = loss / len(self.judges)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> dict:
        """What a checkpoint keeps."""
        return {"judges": self.judges.state_dict(), "optimizer": self.optimizer.state_dict()}

    def resume(self, state: dict) -> None:
        """Take up a checkpoint's `state`."""
        self.judges.load_state_dict(state["judges"])
        self.optimizer.load_state_dict(state["optimizer"])
