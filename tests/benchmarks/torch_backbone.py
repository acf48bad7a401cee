"""EfficientNet-Lite in plain PyTorch, with weights drawn at random; see `torch_image_captioner.py`.

Tan and Le 2019, and the Lite variants of its authors: no squeeze and excitation, ReLU6, stem and
head not scaled. Sizes are those of `tfrecords.pictures.extraction`.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

# Name -> factors of width and depth, side of the image.
NETWORKS = {
    "EfficientNetLite0": (1.0, 1.0, 224),
    "EfficientNetLite1": (1.0, 1.1, 240),
    "EfficientNetLite2": (1.1, 1.2, 260),
}
HEAD = 1280
# Repeats, kernel, stride, expansion, channels.
_BLOCKS = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
)  # fmt: skip


def _layer(size_in: int, size_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list:
    convolution = nn.Conv2d(
        size_in, size_out, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(size_out, eps=1e-3)]


class Block(nn.Module):
    """An inverted residual block."""

    def __init__(self, size_in: int, size_out: int, kernel: int, stride: int, grown: int) -> None:
        super().__init__()
        inner = grown * size_in
        layers = [*_layer(size_in, inner), nn.ReLU6()] if grown > 1 else []
        layers += [*_layer(inner, inner, kernel, stride, inner), nn.ReLU6()]
        self.layers = nn.Sequential(*layers, *_layer(inner, size_out))
        self.is_residual = stride == 1 and size_in == size_out

    def forward(self, maps: Tensor) -> Tensor:
        found = self.layers(maps)
        return maps + found if self.is_residual else found


def backbone(name: str) -> nn.Module:
    """Returns a network: [B, 3, S, S] in -1..1 -> feature maps [B, 1280, S / 32, S / 32]."""
    width, depth, _ = NETWORKS[name]
    layers: list[nn.Module] = [*_layer(3, 32, 3, 2), nn.ReLU6()]
    size = 32
    for number, (repeats, kernel, stride, grown, channels) in enumerate(_BLOCKS):
        wider = int(channels * width + 4) // 8 * 8
        is_end = number in (0, len(_BLOCKS) - 1)
        for repeat in range(repeats if is_end else math.ceil(depth * repeats)):
            layers.append(Block(size, wider, kernel, 1 if repeat else stride, grown))
            size = wider
    return nn.Sequential(*layers, *_layer(size, HEAD), nn.ReLU6()).eval()
