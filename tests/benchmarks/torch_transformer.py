"""A transformer captioner of 6 + 6 layers in plain PyTorch, without and with a cache in its search.

The model follows common reference code: pre-norm, images encoded once and repeated for their
captions, all padded positions. Its search runs all steps, and each step decodes all previous words
again. `StoppingTransformer` stops once the best caption is certain. `CachedTransformer` also caches
keys and values of the words, and computes those of the regions once. See `torch_captioners.py`.
"""

from __future__ import annotations

import math

import torch
from captioner_data import CAPTIONS, LENGTH, LONGEST, REGION_SIZE, VOCABULARY
from torch import Tensor, nn
from torch.nn import functional
from torch_search import Captioner, Step

UNITS, HEADS, INNER, LAYERS, DROPOUT = 512, 8, 2_048, 6, 0.1


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(UNITS, UNITS) for _ in range(4))
        self.dropout = nn.Dropout(DROPOUT)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(len(x), -1, HEADS, UNITS // HEADS).transpose(1, 2)

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.heads(self.key(rows)), self.heads(self.value(rows))

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        scores = self.heads(self.query(x)) @ keys.transpose(2, 3) / math.sqrt(UNITS // HEADS)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        found = self.dropout(functional.softmax(scores, dim=-1)) @ values
        return self.out(found.transpose(1, 2).reshape(len(x), -1, UNITS))


class Layer(nn.Module):
    def __init__(self, attentions: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(Attention() for _ in range(attentions))
        self.inner = nn.Sequential(
            nn.Linear(UNITS, INNER), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(INNER, UNITS)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(UNITS) for _ in range(attentions + 1))
        self.dropout = nn.Dropout(DROPOUT)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.inner(self.norms[-1](x)))

    def attend(
        self, which: int, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        found = self.attentions[which](self.norms[which](x), keys, values, mask)
        return x + self.dropout(found)


class Transformer(Captioner):
    stops = False

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Identity()
        self.words, self.dropout = nn.Embedding(VOCABULARY, UNITS), nn.Dropout(DROPOUT)
        self.row_map = nn.Sequential(nn.Linear(REGION_SIZE, UNITS), nn.ReLU(), nn.Dropout(0.5))
        self.encoder = nn.ModuleList(Layer(1) for _ in range(LAYERS))
        self.decoder = nn.ModuleList(Layer(2) for _ in range(LAYERS))
        self.norms, self.out = (
            nn.ModuleList(nn.LayerNorm(UNITS) for _ in range(2)),
            nn.Linear(UNITS, VOCABULARY),
        )
        place = torch.arange(max(LENGTH, LONGEST))[:, None]
        angles = place / 10_000 ** (torch.arange(0, UNITS, 2) / UNITS)
        self.register_buffer("places", torch.stack([angles.sin(), angles.cos()], 2).flatten(1))

    def encode(self, regions: Tensor, copies: int) -> list[Tensor]:
        x = self.row_map(regions)
        for layer in self.encoder:
            normed = layer.norms[0](x)
            x = layer.feed_forward(layer.attend(0, x, *layer.attentions[0].project(normed)))
        return [self.norms[0](x).repeat_interleave(copies, 0)]

    def located(self, tokens: Tensor, start: int = 0) -> Tensor:
        places = self.places[start : start + tokens.shape[1]]
        return self.dropout(self.words(tokens) * math.sqrt(UNITS) + places)

    def decode(self, tokens: Tensor, rows: Tensor) -> Tensor:
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
        x = self.located(tokens)
        for layer in self.decoder:
            own, image = layer.attentions
            x = layer.attend(0, x, *own.project(layer.norms[0](x)), mask)
            x = layer.feed_forward(layer.attend(1, x, *image.project(rows)))
        return self.norms[1](x)

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        hidden = self.decode(tokens[:, :LENGTH], *self.encode(regions, CAPTIONS))
        return functional.log_softmax(self.out(hidden), dim=2)

    def start(self, count: int) -> list[Tensor]:
        return [torch.zeros(count, 0, dtype=torch.long)]

    def step(self, word: Tensor, state: list[Tensor], memory: list[Tensor]) -> Step:
        said = torch.cat([state[0], word[:, None]], 1)
        return self.decode(said, *memory)[:, -1], [said]


class StoppingTransformer(Transformer):
    stops = True


class CachedTransformer(StoppingTransformer):
    def encode(self, regions: Tensor, copies: int) -> list[Tensor]:
        (rows,) = super().encode(regions, copies)
        return [x for layer in self.decoder for x in layer.attentions[1].project(rows)]

    def start(self, count: int) -> list[Tensor]:
        return [torch.zeros(count, HEADS, 0, UNITS // HEADS) for _ in range(2 * LAYERS)]

    def step(self, word: Tensor, state: list[Tensor], memory: list[Tensor]) -> Step:
        x, caches = self.located(word[:, None], state[0].shape[2]), []
        for i, layer in enumerate(self.decoder):
            new = layer.attentions[0].project(layer.norms[0](x))
            cache = [torch.cat(pair, 2) for pair in zip(state[2 * i : 2 * i + 2], new, strict=True)]
            x = layer.attend(0, x, *cache)
            x = layer.feed_forward(layer.attend(1, x, *memory[2 * i : 2 * i + 2]))
            caches += cache
        return self.norms[1](x)[:, 0], caches
