"""ResUNet34 (sec. III-A): ResNet-34 for an encoder, and a decoder that climbs back to the pixels.

Parameters of the encoder have torchvision's names, so that a file of weights learnt on ImageNet
fits.  What the paper's code mirrors at borders is never needed here: edges of windows are
multiples of the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.errors import ConfigError


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, fig. 5 left)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, channels, h, w]`` -> ``[n, out, h / stride, w / stride]``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(y + shortcut)


class Up(nn.Module):
    """One step of the decoder: twice as fine, beside what the encoder saw there, two convolutions.

    Rectification comes before normalisation, and whole channels are dropped, as in the paper's
    code.
    """

    def __init__(self, channels: int, skip: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, 2, 2)
        self.convs = nn.Sequential(
            *(
                layer
                for before in (channels // 2 + skip, skip)
                for layer in (
                    nn.Conv2d(before, skip, 3, padding=1),
                    nn.ReLU(),
                    nn.BatchNorm2d(skip),
                    nn.Dropout2d(dropout),
                )
            )
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``[n, c, h, w]`` and ``[n, skip, 2 h, 2 w]`` -> ``[n, skip, 2 h, 2 w]``."""
        y: Tensor = self.convs(torch.cat([self.up(x), skip], 1))
        return y


class ResUNet(nn.Module):
    """The network of both stages, of any width and depth.

    Parameters
    ----------
    channels, blocks
        Of each layer of the encoder; (64, 128, 256, 512) and (3, 4, 6, 3) make ResNet-34.
    stem_stride
        2 in ResNet.  1 keeps full resolution in the first layer, as much as 2 does at half the
        µm per px.
    outputs
        Channels of the result (logits).
    dropout
        Part of the decoder's channels that a step of training leaves out.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        *,
        stem_stride: int,
        outputs: int,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.blocks, self.stem_stride = tuple(blocks), stem_stride
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("std", torch.ones(3, 1, 1))
        self.mean: Tensor
        self.std: Tensor
        self.encoder = nn.Module()
        self.encoder.conv1 = nn.Conv2d(3, channels[0], 7, stem_stride, padding=3, bias=False)
        self.encoder.bn1 = nn.BatchNorm2d(channels[0])
        before = channels[0]
        for number, (out, depth) in enumerate(zip(channels, blocks, strict=True), start=1):
            first = BasicBlock(before, out, 1 if number == 1 else 2)
            rest = (BasicBlock(out, out, 1) for _ in range(depth - 1))
            self.encoder.add_module(f"layer{number}", nn.Sequential(first, *rest))
            before = out
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        skips = [channels[0], *channels[:-1]]
        self.ups = nn.ModuleList(
            Up(deep, skip, dropout) for deep, skip in zip(channels, skips, strict=True)
        )
        self.head: nn.Module = (
            nn.Conv2d(channels[0], outputs, 1)
            if stem_stride == 1
            else nn.ConvTranspose2d(channels[0], outputs, 2, 2)
        )

    @property
    def step(self) -> int:
        """What edges and origins of windows must be multiples of, in px."""
        return self.stem_stride << len(self.blocks)

    @property
    def margin(self) -> int:
        """See `exact_margin`."""
        return exact_margin(self.blocks, self.stem_stride)

    def normalise(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take on the training images' mean and deviation a channel, in [-1, 1]."""
        self.mean.copy_(torch.tensor(mean).reshape(3, 1, 1))
        self.std.copy_(torch.tensor(std).reshape(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in [-1, 1] -> ``[n, outputs, h, w]`` logits."""
        x = (x - self.mean) / self.std
        x = functional.relu(self.encoder.bn1(self.encoder.conv1(x)))  # type: ignore[operator]
        seen = [x]
        x = functional.max_pool2d(x, 3, 2, padding=1)
        for number in range(1, len(self.blocks) + 1):
            x = self.encoder.get_submodule(f"layer{number}")(x)
            seen.append(x)
        seen.pop()
        for up, skip in zip(reversed(self.ups), reversed(seen), strict=True):
            x = up(x, skip)
        logits: Tensor = self.head(x)
        return logits


def exact_margin(blocks: Sequence[int], stem_stride: int, after: int = 0) -> int:
    """How far from an aligned window's edge a `ResUNet` has seen all that it looks at.

    In px, the smallest multiple of the step at which neither the leftmost pixel that an output
    depends on lies before a window that begins at 0, nor the rightmost one behind a window that
    ends there.  That it is right is proven at export, by shifted windows.

    Parameters
    ----------
    blocks, stem_stride
        Of the network.
    after
        Radius of a filter behind it, px.
    """
    step = margin = stem_stride << len(blocks)
    while _furthest(margin - after, -1, blocks, stem_stride) < 0 or (
        _furthest(after - margin - 1, 1, blocks, stem_stride) >= 0
    ):
        margin += step
    return margin


def _furthest(at: int, side: int, blocks: Sequence[int], stem_stride: int) -> int:
    """The pixel furthest to one side (-1 left, 1 right) that the output `at` depends on.

    Down through the decoder to the coarsest layer, and up through the encoder from there: no
    shorter way through a skip leads as far.
    """
    at //= stem_stride
    for _ in blocks:
        at = (at + 2 * side) // 2
    for number in reversed(range(len(blocks))):
        at += side * (2 * blocks[number] - 1)
        at = at * (2 if number else 1) + side  # the first convolution of a layer, strided
    at = at * 2 + side  # the pooling
    return at * stem_stride + 3 * side


def load_encoder(net: ResUNet, path: Path) -> None:
    """Give the encoder the weights of a ResNet, with torchvision's names; ``fc`` is left out.

    Raises
    ------
    ConfigError
        If the file cannot be read, or its weights don't fit.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        weights = {name: value for name, value in found.items() if not name.startswith("fc.")}
    except Exception:  # noqa: BLE001  torch raises whatever the damage leads it to
        raise ConfigError(f"encoder_weights: {path.name} is no file of weights") from None
    try:
        net.encoder.load_state_dict(weights)
    except RuntimeError:
        raise ConfigError(
            f"encoder_weights: {path.name} does not fit an encoder of these channels and blocks; "
            "ResNet-34 has 64, 128, 256, 512 and 3, 4, 6, 3"
        ) from None


def pixel_statistics(
    images: Sequence[Tensor],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation a channel over all pixels of uint8 ``[h, w, 3]``, in [-1, 1]."""
    total, square, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3).double(), 0
    for image in images:
        values = image.reshape(-1, 3).double() / 127.5 - 1
        total, square, count = (
            total + values.sum(0),
            square + (values**2).sum(0),
            count + len(values),
        )
    mean = total / count
    std = (square / count - mean**2).clamp(min=1e-4).sqrt()
    m, s = (tuple(float(v) for v in t) for t in (mean, std))
    assert math.isfinite(sum(m) + sum(s))
    return (m[0], m[1], m[2]), (s[0], s[1], s[2])
