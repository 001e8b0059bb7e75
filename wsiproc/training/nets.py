"""Networks that methods share.  All are local: no layer sees further than its kernel.

Normalisation is over the batch, which export folds into the convolutions; normalising over an
image (group, layer or instance normalisation) would let a pixel depend on its whole window.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


def as_input(image: Tensor) -> Tensor:
    """``[n, h, w, 3]`` uint8 as it is read -> ``[n, 3, h, w]`` float32 in [-1, 1]."""
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1.0


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(y)))


class ResidualUNet(nn.Module):
    """A U-Net of residual blocks; skips are added, not stacked, which halves the widest layers.

    Parameters
    ----------
    width
        Channels at full resolution; doubled at each pooling.
    poolings
        How often resolution is halved: edges of images must be multiples of 2 ** poolings.
    outputs
        Channels of the result (logits).
    """

    def __init__(self, width: int, poolings: int, outputs: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(poolings + 1)]
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(Residual(w) for w in widths)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Residual(w) for w in widths[:-1])
        self.head = nn.Conv2d(width, outputs, 1)
        self.poolings = poolings

    @property
    def step(self) -> int:
        """What edges and origins of windows must be multiples of, in px."""
        return 1 << self.poolings

    @property
    def margin(self) -> int:
        """Receptive field's radius in px, rounded up to whole steps.

        Two 3 x 3 convolutions on each side of each level and four at the bottom, of which each
        reaches 2 ** level px, and the stem; that an aligned pixel never reaches further than
        this is proven at export (`wsiproc.training.export`).
        """
        reach = 1 + sum(4 << level for level in range(self.poolings)) + 2 * self.step
        return -(-reach // self.step) * self.step

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` -> ``[n, outputs, h, w]`` logits."""
        x = functional.relu(self.stem(x))
        skips: list[Tensor] = []
        for block, widen in zip(self.down[:-1], self.widen, strict=True):
            x = block(x)
            skips.append(x)
            x = widen(functional.max_pool2d(x, 2))
        x = self.down[-1](x)
        for level in reversed(range(self.poolings)):
            x = functional.interpolate(self.narrow[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](x + skips[level])
        logits: Tensor = self.head(x)
        return logits


def parameters(net: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def predict(net: ResidualUNet, image: Tensor) -> Tensor:
    """Logits ``[outputs, h, w]`` of one ``[h, w, 3]`` uint8 image of any size.

    Past its edges it is white, as a slide is.
    """
    step, margin = net.step, net.margin
    height, width = image.shape[:2]
    pad = (0, 0, margin, margin + -width % step, margin, margin + -height % step)
    around = functional.pad(image, pad, value=255)
    logits: Tensor = net(as_input(around[None]))[0]
    return logits[:, margin : margin + height, margin : margin + width]
