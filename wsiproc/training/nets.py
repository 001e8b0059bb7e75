"""Networks that methods share.  All are local: no layer sees further than its kernel.

Normalisation is over the batch, which export folds into the convolutions; normalising over an
image (group, layer or instance normalisation) would let a pixel depend on its whole window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class ResidualEncoder(nn.Module):
    """The half of a `ResidualUNet` that makes images smaller.

    Parameters
    ----------
    width
        Channels at full resolution; doubled at each pooling.
    poolings
        How often resolution is halved: edges of images must be multiples of 2 ** poolings.
    """

    def __init__(self, width: int, poolings: int) -> None:
        super().__init__()
        widths = self.widths = [width * 2**level for level in range(poolings + 1)]
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(Residual(w) for w in widths)
        self.widen = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.poolings = poolings

    @property
    def step(self) -> int:
        """What edges and origins of windows must be multiples of, in px."""
        return 1 << self.poolings

    @property
    def margin(self) -> int:
        """See `aligned_margin`."""
        return aligned_margin(self.poolings)

    def encoded(self, x: Tensor) -> list[Tensor]:
        """``[n, 3, h, w]`` -> the features of each level, finest first."""
        x = functional.relu(self.stem(x))
        levels: list[Tensor] = []
        for block, widen in zip(self.down[:-1], self.widen, strict=True):
            x = block(x)
            levels.append(x)
            x = widen(functional.max_pool2d(x, 2))
        return [*levels, self.down[-1](x)]


class ResidualUNet(ResidualEncoder):
    """A U-Net of residual blocks; skips are added, not stacked, which halves the widest layers.

    Parameters
    ----------
    width, poolings
        See `ResidualEncoder`.
    outputs
        Channels of the result (logits).
    """

    def __init__(self, width: int, poolings: int, outputs: int) -> None:
        super().__init__(width, poolings)
        self.narrow, self.up = enlarging(self.widths)
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` -> ``[n, outputs, h, w]`` logits."""
        logits: Tensor = self.head(enlarged(self.encoded(x), self.narrow, self.up))
        return logits


def enlarging(widths: Sequence[int]) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The layers of `enlarged`, for levels with so many channels, finest first."""
    return (
        nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths)),
        nn.ModuleList(Residual(w) for w in widths[:-1]),
    )


def enlarged(levels: Sequence[Tensor], narrow: nn.ModuleList, up: nn.ModuleList) -> Tensor:
    """From the coarsest level back to full resolution, each level added on the way."""
    x = levels[-1]
    for level in reversed(range(len(narrow))):
        x = functional.interpolate(narrow[level](x), scale_factor=2.0, mode="nearest")
        x = up[level](x + levels[level])
    return x


def aligned_margin(poolings: int, after: int = 0) -> int:
    """How far from an aligned window's edge a `ResidualUNet` has seen all that it looks at.

    In px, the smallest multiple of the step: the leftmost pixel that the output at that distance
    depends on is followed down through the decoder and up through the encoder.  That it is
    right is proven at export, by shifted windows (`wsiproc.training.export`).

    Parameters
    ----------
    poolings
        Of the network.
    after
        Radius of a filter behind it, px.
    """
    step = margin = 1 << poolings
    while True:
        leftmost = margin - after - 2
        for _ in range(poolings):
            leftmost = leftmost // 2 - 2
        for _ in range(poolings):
            leftmost = leftmost * 2 - 2
        if leftmost - 1 >= 0:  # the stem
            return margin
        margin += step


def parameters(net: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in net.parameters())


@torch.no_grad()
def predict(net: Callable[[Tensor], Tensor], image: Tensor, *, step: int, margin: int) -> Tensor:
    """What `net` says of one ``[h, w, 3]`` uint8 image of any size: ``[outputs, h, w]``.

    Past its edges it is white, as a slide is.

    Parameters
    ----------
    net
        ``[n, h, w, 3]`` uint8 -> ``[n, outputs, h, w]``.
    step, margin
        What its edges must be multiples of, and how much of them to leave out, px.
    """
    height, width = image.shape[:2]
    pad = (0, 0, margin, margin + -width % step, margin, margin + -height % step)
    around = functional.pad(image, pad, value=255)
    said: Tensor = net(around[None])[0]
    return said[:, margin : margin + height, margin : margin + width]
