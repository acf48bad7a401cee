"""Usual beam search of captioners in plain PyTorch: one image at a time.

The hypotheses of an image form a batch; see `torch_captioners.py`.
"""

from __future__ import annotations

import torch
from captioner_data import BEAM, LONGEST, VOCABULARY
from torch import Tensor, nn
from torch.nn import functional

Step = tuple[Tensor, list[Tensor]]


class Captioner(nn.Module):
    """A captioner with `encode`, `start` and `step`; `embed` and `out` are layers.

    If `stops` is true, its search ends once the best caption is certain; else it runs all steps.
    """

    embed: nn.Module
    out: nn.Module
    stops = True

    def encode(self, regions: Tensor, copies: int) -> list[Tensor]:
        raise NotImplementedError

    def start(self, count: int) -> list[Tensor]:
        raise NotImplementedError

    def step(self, word: Tensor, state: list[Tensor], memory: list[Tensor]) -> Step:
        raise NotImplementedError

    @torch.no_grad()
    def search(self, regions: Tensor, words: int, beam: int = BEAM) -> list[int]:
        """Runs a beam search for one image [1, L, D]; hypotheses end after `words` words."""
        memory = self.encode(regions, beam)
        state = self.start(beam)
        said, scores = torch.ones(beam, 1, dtype=torch.long), torch.full((beam,), -1e9)
        scores[0], best = 0.0, (-1e9, [])
        for step in range(LONGEST):
            hidden, state = self.step(self.embed(said[:, -1]), state, memory)
            logits = self.out(hidden)
            logits[:, 2] += 30.0 if step >= words else -30.0
            logits[:, :2] = -1e9
            sums = scores[:, None] + functional.log_softmax(logits, 1)
            found, places = sums.flatten().topk(2 * beam)
            parents, nexts = places // VOCABULARY, places % VOCABULARY
            for score, parent, word in zip(
                *(x.tolist() for x in (found, parents, nexts)), strict=True
            ):
                if word == 2 and score > best[0]:
                    best = (score, said[parent, 1:].tolist())
            alive = torch.nonzero(nexts != 2)[:beam, 0]
            scores, parents = found[alive], parents[alive]
            said = torch.cat([said[parents], nexts[alive, None]], 1)
            state = [one[parents] for one in state]
            if self.stops and best[0] > float(scores[0]):
                break
        return best[1]
