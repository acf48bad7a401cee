"""Captioners in plain PyTorch, which `test_captioner_speed.py` compares ours with.

    python tests/benchmarks/torch_captioners.py WHAT NAME

runs one turn of `training` or `search` per input line, and prints the throughput. Requires PyTorch,
which the project does not install: R2M_TORCH_PYTHON names an interpreter that has it.

Sizes and batches are those of `captioner_data.py`. Training is the usual plain loop: all padded
positions, one cell call per step, logits inside the loop, images encoded once and repeated for
their captions; a transformer processes all positions at once. The search processes one image at a
time, with its hypotheses as a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import captioner_data
import torch
from captioner_data import (
    ALONE,
    CAPTIONS,
    DECODED,
    IMAGES,
    LENGTH,
    REGION_SIZE,
    STEPS,
    VOCABULARY,
)
from torch import Tensor, nn
from torch.nn import functional
from torch_search import Captioner, Step
from torch_transformer import CachedTransformer, StoppingTransformer, Transformer
from turns import serve_lines

UNITS = 512


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project, self.hidden = nn.Linear(UNITS, UNITS), nn.Linear(UNITS, UNITS)
        self.score = nn.Linear(UNITS, 1)

    def forward(self, hidden: Tensor, rows: Tensor, projected: Tensor) -> Tensor:
        both = torch.tanh(projected + self.hidden(hidden).unsqueeze(1))
        weights = functional.softmax(self.score(both).squeeze(2), dim=1)
        return torch.bmm(weights.unsqueeze(1), rows).squeeze(1)


class Recurrent(Captioner):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(VOCABULARY, UNITS), nn.ReLU(), nn.Dropout(0.5))
        self.row_map = nn.Sequential(nn.Linear(REGION_SIZE, UNITS), nn.ReLU(), nn.Dropout(0.5))
        self.attention, self.out = Attention(), nn.Linear(UNITS, VOCABULARY)

    def encode(self, regions: Tensor, copies: int) -> list[Tensor]:
        rows = self.row_map(regions)
        memory = [rows, self.attention.project(rows), *self.more(regions)]
        return [one.repeat_interleave(copies, 0) for one in memory]

    def start(self, count: int) -> list[Tensor]:
        return [torch.zeros(count, UNITS) for _ in range(self.states)]

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        memory, state = self.encode(regions, CAPTIONS), self.start(len(tokens))
        found = []
        for step in range(LENGTH):
            hidden, state = self.step(self.embed(tokens[:, step]), state, memory)
            found.append(functional.log_softmax(self.out(functional.dropout(hidden)), dim=1))
        return torch.stack(found, 1)


class UpDown(Recurrent):
    states = 4

    def __init__(self) -> None:
        super().__init__()
        self.global_map = nn.Sequential(nn.Linear(REGION_SIZE, UNITS), nn.ReLU(), nn.Dropout(0.5))
        self.look, self.say = nn.LSTMCell(3 * UNITS, UNITS), nn.LSTMCell(2 * UNITS, UNITS)

    def more(self, regions: Tensor) -> list[Tensor]:
        return [self.global_map(regions.mean(1))]

    def step(self, word: Tensor, state: list[Tensor], memory: list[Tensor]) -> Step:
        rows, projected, image = memory
        looking = self.look(torch.cat([state[2], image, word], 1), (state[0], state[1]))
        context = self.attention(looking[0], rows, projected)
        saying = self.say(torch.cat([context, looking[0]], 1), (state[2], state[3]))
        return saying[0], [*looking, *saying]


class Att2in2(Recurrent):
    states = 2

    def __init__(self) -> None:
        super().__init__()
        self.word, self.hidden = nn.Linear(UNITS, 5 * UNITS), nn.Linear(UNITS, 5 * UNITS)
        self.context = nn.Linear(UNITS, 2 * UNITS)

    def more(self, regions: Tensor) -> list[Tensor]:
        return []

    def step(self, word: Tensor, state: list[Tensor], memory: list[Tensor]) -> Step:
        context = self.attention(state[0], *memory)
        sums = self.word(word) + self.hidden(state[0])
        gates = torch.sigmoid(sums[:, : 3 * UNITS])
        into, forget, out = gates.chunk(3, 1)
        pair = sums[:, 3 * UNITS :] + self.context(context)
        cell = forget * state[1] + into * torch.max(*pair.chunk(2, 1))
        hidden = out * torch.tanh(cell)
        return hidden, [hidden, cell]


MODELS = {
    "updown": UpDown,
    "att2in2": Att2in2,
    "transformer": Transformer,
    "transformer_stopping": StoppingTransformer,
    "transformer_cached": CachedTransformer,
}


def train(model: Captioner) -> Callable[[int], int]:
    optimizer = torch.optim.Adam(model.parameters(), 5e-4)
    batches = [
        tuple(torch.tensor(array) for array in captioner_data.batch(seed)) for seed in range(6)
    ]

    def run(turn: int) -> int:
        for i in range(STEPS):
            regions, tokens, lengths = batches[(turn * STEPS + i) % 6]
            real = torch.arange(LENGTH)[None] < lengths[:, None]
            chosen = model(regions, tokens).gather(2, tokens[:, 1:, None]).squeeze(2)
            loss = -(chosen * real).sum() / real.sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.1)
            optimizer.step()
            assert torch.isfinite(loss)
        return STEPS * IMAGES * CAPTIONS

    return run


def search(model: Captioner) -> Callable[[int], int]:
    shown, words = captioner_data.all_images()
    regions = torch.tensor(shown)
    model.eval()

    def run(turn: int) -> int:
        for i in range(ALONE):
            image = (turn * ALONE + i) % DECODED
            assert len(model.search(regions[image : image + 1], words[image])) == words[image]
        return ALONE

    return run


def main(what: str, name: str) -> None:
    torch.manual_seed(0)
    run = {"training": train, "search": search}[what](MODELS[name]())
    serve_lines(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
