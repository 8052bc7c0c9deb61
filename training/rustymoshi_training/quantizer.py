"""The split residual vector quantizer with codebooks that follow the data by moving averages."""

import torch
import torch.nn.functional as F
from torch import nn

DECAY = 0.99
DEAD_SHARE = 0.1


class Codebook(nn.Module):
    """Vectors [bins, dim] = embedding_sum / cluster_usage."""

    def __init__(self, bins: int, dim: int):
        super().__init__()
        self.register_buffer("_initialized", torch.zeros(1))
        self.register_buffer("embedding_sum", torch.randn(bins, dim))
        self.register_buffer("cluster_usage", torch.ones(bins))

    @property
    def vectors(self) -> torch.Tensor:
        """[bins, dim]."""
        return self.embedding_sum / self.cluster_usage.clamp(min=1e-5)[:, None]

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """Codes [n] of x [n, dim]; ties go to the lowest index."""
        vectors = self.vectors
        return ((vectors**2).sum(1) - 2 * x @ vectors.T).argmin(1)

    @torch.no_grad()
    def follow(self, x: torch.Tensor, codes: torch.Tensor) -> None:
        """Move the vectors towards the inputs x [n, dim] that chose them; replace those that nobody chooses."""
        one_hot = F.one_hot(codes, self.cluster_usage.shape[0]).to(x.dtype)
        self.cluster_usage.lerp_(one_hot.sum(0), 1 - DECAY)
        self.embedding_sum.lerp_(one_hot.T @ x, 1 - DECAY)
        mean = self.cluster_usage.mean()
        dead = (self.cluster_usage < DEAD_SHARE * mean).nonzero()[:, 0]
        if len(dead) > 0:
            dead = dead[torch.randperm(len(dead))[: max(1, len(x) // 16)]]
            chosen = x[torch.randint(len(x), (len(dead),))]
            self.cluster_usage[dead] = 0.5 * mean
            self.embedding_sum[dead] = chosen * 0.5 * mean

    @torch.no_grad()
    def start(self, x: torch.Tensor, rounds: int = 10) -> None:
        """k-means on x [n, dim]."""
        bins = self.cluster_usage.shape[0]
        vectors = x[torch.randint(len(x), (bins,))] + 1e-3 * torch.randn(bins, x.shape[1])
        for _ in range(rounds):
            codes = ((vectors**2).sum(1) - 2 * x @ vectors.T).argmin(1)
            counts = torch.bincount(codes, minlength=bins).float()
            sums = torch.zeros_like(vectors).index_add_(0, codes, x)
            empty = counts == 0
            vectors = torch.where(
                empty[:, None], x[torch.randint(len(x), (bins,))], sums / counts.clamp(min=1)[:, None]
            )
        usage = counts.clamp(min=0.5)
        self.cluster_usage.copy_(usage * (128.0 / usage.mean()) / 128.0)
        self.embedding_sum.copy_(vectors * self.cluster_usage[:, None])
        self._initialized.fill_(1)

    def grow(self, bins: int) -> None:
        """Have so many vectors, a multiple of those there are: copies beside each, nearer than the next one is."""
        vectors, copies = self.vectors, bins // len(self.cluster_usage)
        if copies * len(vectors) != bins:
            raise ValueError(f"a codebook of {len(vectors)} grows to a multiple of that, not to {bins}")
        far = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf).amin(1, keepdim=True)
        beside = 0.5 * far * torch.randn(copies - 1, *vectors.shape) / vectors.shape[1] ** 0.5
        usage = self.cluster_usage.repeat(copies) / copies
        self.embedding_sum = torch.cat([vectors[None], vectors + beside]).flatten(0, 1) * usage.clamp(min=1e-5)[:, None]
        self.cluster_usage = usage


class Residual(nn.Module):
    """Projection, residual codebooks, projection back: `rvq_first` or `rvq_rest`."""

    def __init__(self, dim: int, inner: int, bins: int, count: int):
        super().__init__()
        self.input_proj = nn.Conv1d(dim, inner, 1, bias=False)
        self.output_proj = nn.Conv1d(inner, dim, 1, bias=False)
        self.vq = nn.Module()
        self.vq.layers = nn.ModuleList([nn.Module() for _ in range(count)])
        for layer in self.vq.layers:
            layer._codebook = Codebook(bins, inner)

    @property
    def books(self) -> list[Codebook]:
        """The codebooks in order."""
        return [layer._codebook for layer in self.vq.layers]

    def forward(self, x: torch.Tensor):
        """Training: x [b, dim, t] -> (quantized [b, dim, t], commitment loss), moving the codebooks along."""
        inner = self.input_proj(x).float()
        flat = inner.transpose(1, 2).flatten(0, 1)
        residual, total, loss = flat, torch.zeros_like(flat), 0.0
        for book in self.books:
            rest = residual.detach()
            if not bool(book._initialized):
                book.start(rest)
            codes = book.nearest(rest)
            chosen = F.embedding(codes, book.vectors)
            loss = loss + F.mse_loss(residual, chosen)
            total, residual = total + chosen, residual - chosen
            if self.training:
                book.follow(rest, codes)
        quantized = flat + (total - flat).detach()
        back = quantized.unflatten(0, (x.shape[0], -1)).transpose(1, 2)
        return self.output_proj(back), loss / len(self.books)

    def through(self, x: torch.Tensor) -> torch.Tensor:
        """As if there were a vector for everything: x [b, dim, t] -> [b, dim, t]."""
        return self.output_proj(self.input_proj(x))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """x [b, dim, t] -> codes [b, count, t]."""
        residual = self.input_proj(x).transpose(1, 2).flatten(0, 1)
        out = []
        for book in self.books:
            codes = book.nearest(residual)
            residual = residual - F.embedding(codes, book.vectors)
            out.append(codes.unflatten(0, (x.shape[0], -1)))
        return torch.stack(out, 1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """codes [b, count, t] -> [b, dim, t]."""
        total = sum(F.embedding(codes[:, i], book.vectors) for i, book in enumerate(self.books))
        return self.output_proj(total.transpose(1, 2))


class SplitQuantizer(nn.Module):
    """One semantic codebook and the acoustic rest, both fed with the same input; outputs are added."""

    def __init__(self, dim: int, inner: int, bins: int, codebooks: int):
        super().__init__()
        self.rvq_first = Residual(dim, inner, bins, 1)
        self.rvq_rest = Residual(dim, inner, bins, codebooks - 1)

    def grow(self, bins: int) -> None:
        """Codebooks of so many vectors, a multiple of those there are."""
        for book in (*self.rvq_first.books, *self.rvq_rest.books):
            book.grow(bins)

    def forward(self, x):
        """x [b, dim, t] -> (quantized, semantic part alone, commitment loss)."""
        first, loss_first = self.rvq_first(x)
        rest, loss_rest = self.rvq_rest(x)
        return first + rest, first, loss_first + loss_rest

    def through(self, x):
        """The same as if there were a vector for everything."""
        first = self.rvq_first.through(x)
        return first + self.rvq_rest.through(x), first, x.new_zeros(())

    def encode(self, x):
        """x [b, dim, t] -> codes [b, codebooks, t]."""
        return torch.cat([self.rvq_first.encode(x), self.rvq_rest.encode(x)], 1)

    def decode(self, codes):
        """codes [b, codebooks, t] -> [b, dim, t]."""
        return self.rvq_first.decode(codes[:, :1]) + self.rvq_rest.decode(codes[:, 1:])
