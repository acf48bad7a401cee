"""A captioner of images in plain PyTorch, which `torch_server.py` puts behind our server.

    python tests/benchmarks/torch_image_captioner.py SETTINGS

SETTINGS is JSON: `model` of `torch_captioners.py`, `backbone` of `torch_backbone.py`, `units`,
`vocabulary` (words), `beam` and `words` per caption. For each line `B S` of the input and the
pixels behind it, uint8 [B, S, S, 3], it prints the word ids of B captions as JSON. Weights are
drawn at random. Needs PyTorch, which the project does not have.
"""

from __future__ import annotations

import json
import sys

import captioner_data
import numpy as np
import torch
from torch_backbone import HEAD, backbone


@torch.no_grad()
def main(settings: str) -> None:
    own = json.loads(settings)
    # The modules of the captioners read these sizes when they are imported.
    captioner_data.VOCABULARY, captioner_data.REGION_SIZE = own["vocabulary"], HEAD
    import torch_captioners

    torch_captioners.UNITS = own["units"]
    torch.manual_seed(0)
    network = backbone(own["backbone"])
    model = torch_captioners.MODELS[own["model"]]().eval()
    while line := sys.stdin.buffer.readline():
        batch, side = map(int, line.split())
        data = bytearray(sys.stdin.buffer.read(batch * side * side * 3))
        pixels = torch.from_numpy(np.frombuffer(data, np.uint8).reshape(batch, side, side, 3))
        maps = network((pixels.permute(0, 3, 1, 2).float() - 127) / 128)
        regions = maps.flatten(2).transpose(1, 2)
        captions = [
            model.search(regions[image : image + 1], own["words"], own["beam"])
            for image in range(batch)
        ]
        print(json.dumps(captions), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
