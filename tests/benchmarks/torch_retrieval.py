"""VSE++ in plain PyTorch, which `test_retrieval_training_speed.py` compares ours with.

    python tests/benchmarks/torch_retrieval.py MEAN

runs one turn of training per input line, and prints the pairs per second. Requires PyTorch, which
the project does not install: R2M_TORCH_PYTHON names an interpreter that has it.

Sizes and batches are those of `retrieval_data.py`. The GRU is PyTorch's, over packed sequences.
MEAN is `last`: regions are mapped and then averaged, as in the published code; or `first`: regions
are averaged and then mapped, which is equivalent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import retrieval_data
import torch
from retrieval_data import MARGIN, PAIRS, STEPS, UNITS, VOCABULARY, WORD_SIZE
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence
from turns import serve_lines


class Embedding(nn.Module):
    def __init__(self, mean: str) -> None:
        super().__init__()
        self.mean_first = mean == "first"
        self.image = nn.Linear(2_048, UNITS)
        self.words = nn.Embedding(VOCABULARY, WORD_SIZE)
        self.gru = nn.GRU(WORD_SIZE, UNITS, batch_first=True)

    def forward(self, regions: Tensor, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        images = self.image(regions.mean(1)) if self.mean_first else self.image(regions).mean(1)
        packed = pack_padded_sequence(self.words(tokens), lengths, batch_first=True)
        _, last = self.gru(packed)
        return functional.normalize(images), functional.normalize(last[0])


def hardest_hinges(images: Tensor, sentences: Tensor) -> Tensor:
    scores = images @ sentences.T
    pairs = scores.diag()
    own = torch.eye(len(scores), dtype=torch.bool)
    by_image = (MARGIN + scores - pairs[:, None]).clamp(min=0).masked_fill(own, 0)
    by_sentence = (MARGIN + scores - pairs[None]).clamp(min=0).masked_fill(own, 0)
    return by_image.amax(1).sum() + by_sentence.amax(0).sum()


def training(mean: str) -> Callable[[int], int]:
    model = Embedding(mean)
    optimizer = torch.optim.Adam(model.parameters(), 2e-4)
    batches = [
        tuple(torch.tensor(array) for array in retrieval_data.batch(seed)) for seed in range(6)
    ]

    def run(turn: int) -> int:
        for i in range(STEPS):
            loss = hardest_hinges(*model(*batches[(turn * STEPS + i) % 6]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            assert torch.isfinite(loss)
        return STEPS * PAIRS

    return run


def main(mean: str) -> None:
    torch.manual_seed(0)
    run = training(mean)
    serve_lines(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
