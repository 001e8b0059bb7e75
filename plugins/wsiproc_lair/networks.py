"""The detector, which is kept, and the networks it learns with."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SHARE_OF_SQUARES = 0.03
"""Part of the pixels of tissue that lie in the squares of points: what a detector begins with."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions, around a shortcut that is a 1 x 1 convolution where widths differ."""

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, to, 3, padding=1, bias=False),
            nn.BatchNorm2d(to),
            nn.ReLU(),
            nn.Conv2d(to, to, 3, padding=1, bias=False),
            nn.BatchNorm2d(to),
        )
        self.shortcut: nn.Module = nn.Identity()
        if width != to:
            self.shortcut = nn.Sequential(nn.Conv2d(width, to, 1, bias=False), nn.BatchNorm2d(to))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class Detector(nn.Module):
    """A U-Net of residual blocks, with deconvolutions and stacked skips (sec. III-B).

    Softmax over two channels is the sigmoid of their difference, so there is one.

    Parameters
    ----------
    width
        Channels at full resolution; doubled at each pooling.
    poolings
        The paper's map of 62 x 62 for images of 500 px says 3.
    """

    def __init__(self, width: int, poolings: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(poolings + 1)]
        self.poolings = poolings
        self.down = nn.ModuleList(Residual(a, b) for a, b in pairwise([3, *widths]))
        self.raise_ = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(Residual(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(width, 1, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, math.log(SHARE_OF_SQUARES / (1 - SHARE_OF_SQUARES)))

    @property
    def step(self) -> int:
        """What edges and origins of windows must be multiples of, px."""
        return 1 << self.poolings

    def encoded(self, x: Tensor) -> list[Tensor]:
        """Features of all levels, the full resolution first."""
        levels = [self.down[0](x)]
        for block in self.down[1:]:
            levels.append(block(functional.max_pool2d(levels[-1], 2)))
        return levels

    def decoded(self, levels: list[Tensor]) -> Tensor:
        """Logits of encoded features."""
        x = levels[-1]
        for level in reversed(range(self.poolings)):
            x = self.up[level](torch.cat([levels[level], self.raise_[level](x)], 1))
        logits: Tensor = self.head(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in [-1, 1] -> ``[n, 1, h, w]`` logits."""
        return self.decoded(self.encoded(x))


class Inception(nn.Module):
    """Four branches of different reach, side by side (Szegedy et al. 2015, fig. 2b).

    Of `to` channels, a multiple of 8, half have seen 3 x 3 px, an eighth 5 x 5.
    """

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        half, quarter, eighth = to // 2, to // 4, to // 8
        self.branches = nn.ModuleList(
            [
                _convolved(width, quarter, 1),
                nn.Sequential(_convolved(width, quarter, 1), _convolved(quarter, half, 3)),
                nn.Sequential(
                    _convolved(width, eighth, 1),
                    _convolved(eighth, eighth, 3),
                    _convolved(eighth, eighth, 3),
                ),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _convolved(width, eighth, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Reconstruction(nn.Module):
    """Paints an image from where its nuclei are (sec. III-B.2).

    Parameters
    ----------
    width
        Channels at full resolution; doubled at each of three poolings.
    features
        0: it is given a map ``[n, 1, h, w]``.  Else it is given features with so many channels
        and has only the way up, without skips (Table 4), over `levels` levels.
    """

    def __init__(self, width: int, features: int = 0, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.stem = nn.Sequential(_convolved(1, width, 3), _convolved(width, width, 3))
        self.down = nn.ModuleList(Inception(a, b) for a, b in pairwise(widths))
        if features:
            self.stem, self.down = nn.Sequential(), nn.ModuleList()
        self.enter = Inception(features, widths[-1]) if features else nn.Identity()
        self.raise_ = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(Inception(w if features else 2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map or features -> ``[n, 3, h, w]`` in [0, 1]."""
        x = self.enter(self.stem(x))
        skips: list[Tensor] = []
        for block in self.down:
            skips.append(x)
            x = block(functional.max_pool2d(x, 2))
        for level in reversed(range(len(self.up))):
            x = self.raise_[level](x)
            if skips:
                x = torch.cat([skips[level], x], 1)
            x = self.up[level](x)
        return torch.sigmoid(self.head(x))


class Critic(nn.Module):
    """Five convolutions of 4 x 4, stride 2: how much each part of an image looks made.

    Parameters
    ----------
    width
        Channels of the first layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise([3, width, 2 * width, 4 * width, 8 * width]):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in [0, 1] -> logits ``[n, 1, h / 32, w / 32]``."""
        logits: Tensor = self.layers(x)
        return logits


def _convolved(width: int, to: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, to, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(to),
        nn.ReLU(),
    )
