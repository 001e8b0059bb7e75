"""What a correlation filter sees of an image: histograms of oriented gradients, and colour.

Everything is standardised by constants measured once over training images (`Statistics`), never by
statistics of the image at hand, so that a cell's features depend on its neighbourhood alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.errors import ConfigError
from wsiproc.training.augment import HED
from wsiproc_mcf.filter_config import FilterConfig

ORIENTATIONS = 9
"""Of unsigned gradients; twice as many signed ones (Felzenszwalb et al. 2010, sec. 6.2)."""
_CLIP = 0.2
"""No normalised entry of a histogram counts more (Dalal and Triggs 2005)."""
_LEVELS_OF_NAMES, _NAMES = 32, 10

Image = NDArray[np.uint8] | NDArray[np.float32]
"""``[h, w, 3]`` RGB in 0 to 255, brought to the training's stain."""


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Constants of the features over training images.

    Parameters
    ----------
    mean
        float32 ``[C]``, subtracted.
    scale
        float32 ``[C]``, multiplied; the same for all channels of a group.
    """

    mean: Tensor
    scale: Tensor

    @staticmethod
    def none(channels: int) -> Statistics:
        """Features as they are."""
        return Statistics(torch.zeros(channels), torch.ones(channels))


def cell_px(config: FilterConfig, mpp: float) -> int:
    """Edge of a cell in px, at least 1."""
    return max(1, round(config.cell_um / mpp))


def tensor_of(image: Image) -> Tensor:
    """``[h, w, 3]`` -> float32 ``[1, 3, h, w]``, still 0 to 255."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


class Features(nn.Module):
    """``[n, 3, h, w]`` in 0 to 255 -> ``[n, C, h / cell, w / cell]``, edges multiples of a cell.

    Parameters
    ----------
    config, mpp
        Which features, and the resolution of the images.
    statistics
        What to standardise by; None leaves features as they are.

    Raises
    ------
    ConfigError
        If there is nothing to see, or no table of colour names where they are asked for.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, config: FilterConfig, mpp: float, statistics: Statistics | None = None
    ) -> None:
        super().__init__()
        self.cell = cell_px(config, mpp)
        groups: list[nn.Module] = [Gradients(self.cell, config.hog_floor)] if config.hog else []
        groups += [_colour(name, config) for name in config.colour]
        if not groups:
            raise ConfigError("filters have to see gradients or colour: both are switched off")
        self.groups = nn.ModuleList(groups)
        self.channels = [int(group.channels) for group in groups]  # type: ignore[arg-type]
        statistics = statistics or Statistics.none(sum(self.channels))
        self.register_buffer("mean", statistics.mean[None, :, None, None])
        self.register_buffer("scale", statistics.scale[None, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        parts = []
        for group in self.groups:
            said = group(image)
            parts.append(said if isinstance(group, Gradients) else _pooled(said, self.cell))
        return (torch.cat(parts, 1) - self.mean) * self.scale


def measure_statistics(images: Iterable[Image], config: FilterConfig, mpp: float) -> Statistics:
    """Mean of each channel over all cells, and the scale that gives each group its variance.

    The gradients' 31 channels vary by 1 altogether, and those of all colours by
    ``colour_weight ** 2``, so that neither drowns the other.

    Parameters
    ----------
    images
        Of any sizes; what is left over of the last cell is not seen.
    """
    plain = Features(config, mpp)
    count, total, square = 0, torch.zeros(sum(plain.channels)), torch.zeros(sum(plain.channels))
    with torch.no_grad():
        for image in images:
            height, width = (n // plain.cell * plain.cell for n in image.shape[:2])
            cells = plain(tensor_of(image[:height, :width]))[0].flatten(1).double()
            count += cells.shape[1]
            total = total + cells.sum(1)
            square = square + (cells**2).sum(1)
    if not count:
        raise ConfigError("features need at least one image to be measured on")
    mean = total / count
    variance = (square / count - mean**2).clamp(min=1e-12)
    scale = torch.empty_like(mean)
    gradients = plain.channels[0] if config.hog else 0
    scale[:gradients] = 1 / variance[:gradients].sum().sqrt() if gradients else 1.0
    colours = len(plain.channels) - bool(gradients)
    start = gradients
    for channels in plain.channels[bool(gradients) :]:
        part = slice(start, start + channels)
        scale[part] = config.colour_weight / (colours * variance[part].sum()).sqrt()
        start += channels
    return Statistics(mean.float(), scale.float())


class Gradients(nn.Module):
    """Histograms of oriented gradients, 31 channels (Felzenszwalb et al. 2010, sec. 6.2).

    18 signed and 9 unsigned orientations and 4 of texture, of the haematoxylin's gradient; a
    pixel's gradient is shared between the two nearest orientations.  Cells are not interpolated in
    space.  `floor` is the norm below which a block of cells fades instead of being amplified:
    glass has no texture.
    """

    channels = 3 * ORIENTATIONS + 4
    before: Tensor
    after: Tensor

    def __init__(self, cell: int, floor: float) -> None:
        super().__init__()
        self.cell, self.floor = cell, floor
        self.colour = Stains()
        apart = math.pi / ORIENTATIONS
        angle = torch.arange(2 * ORIENTATIONS, dtype=torch.float64) * apart
        # A gradient between directions u and v is a u + b v; a is its cross product with v, over
        # sin(apart).  So its share of a direction is the lesser of two linear functions of it,
        # where both are positive: no angle is ever computed.
        left, right = angle - apart, angle + apart
        before = torch.stack([-torch.sin(left), torch.cos(left)], 1) / math.sin(apart)
        after = torch.stack([torch.sin(right), -torch.cos(right)], 1) / math.sin(apart)
        self.register_buffer("before", before.float()[:, :, None, None])
        self.register_buffer("after", after.float()[:, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in 0 to 255 -> ``[n, 31, h / cell, w / cell]``."""
        return self.normalised(self.histograms(self.colour(image)[:, :1]))

    def histograms(self, plane: Tensor) -> Tensor:
        """``[n, 1, h, w]`` -> the mean gradient in 18 directions, ``[n, 18, h / cell, ...]``."""
        around = functional.pad(plane, (1, 1, 1, 1), mode="replicate")
        dx = around[:, :, 1:-1, 2:] - around[:, :, 1:-1, :-2]
        dy = around[:, :, 2:, 1:-1] - around[:, :, :-2, 1:-1]
        both = torch.cat([dx, dy], 1)
        share = torch.minimum(
            functional.conv2d(both, self.before), functional.conv2d(both, self.after)
        )
        return _pooled(functional.relu(share), self.cell)

    def normalised(self, signed: Tensor) -> Tensor:
        """Four times over, by each block of 2 x 2 cells that a cell is in."""
        unsigned = signed[:, :ORIENTATIONS] + signed[:, ORIENTATIONS:]
        energy = functional.pad((unsigned**2).sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        block = 4 * functional.avg_pool2d(energy, 2, 1)
        height, width = signed.shape[2:]
        both = torch.cat([signed, unsigned], 1)
        summed, texture = torch.zeros_like(both), []
        for dy in (0, 1):
            for dx in (0, 1):
                energy = block[:, :, dy : dy + height, dx : dx + width]
                capped = (both * torch.rsqrt(energy + self.floor**2)).clamp(max=_CLIP)
                summed = summed + capped
                texture.append(capped[:, : 2 * ORIENTATIONS].sum(1, keepdim=True))
        return torch.cat([0.5 * summed, *(0.2357 * part for part in texture)], 1)


class Stains(nn.Module):
    """Haematoxylin and eosin of Ruifrok and Johnston 2001, in optical density."""

    channels = 2
    apart: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("apart", _mixing(np.linalg.inv(HED).T[:2]))

    def forward(self, image: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in 0 to 255 -> ``[n, 2, h, w]``."""
        return functional.conv2d(-torch.log((image + 1) / 256), self.apart)


class Lab(nn.Module):
    """a and b of CIE Lab under D65, over 100."""

    channels = 2
    to_xyz: Tensor

    def __init__(self) -> None:
        super().__init__()
        srgb = np.array(
            [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
        )
        self.register_buffer("to_xyz", _mixing(srgb / srgb.sum(1, keepdims=True)))

    def forward(self, image: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in 0 to 255 -> ``[n, 2, h, w]``."""
        value = image / 255
        bent = ((value + 0.055) / 1.055).clamp(min=1e-3) ** 2.4
        xyz = functional.conv2d(torch.where(value > 0.04045, bent, value / 12.92), self.to_xyz)
        root = xyz.clamp(min=1e-4) ** (1 / 3)
        f = torch.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
        return torch.cat([5 * (f[:, :1] - f[:, 1:2]), 2 * (f[:, 1:2] - f[:, 2:])], 1)


class ColourNames(nn.Module):
    """Names of colours (van de Weijer et al. 2009), looked up at 32 levels of each primary."""

    channels = _NAMES
    table: Tensor

    def __init__(self, table: NDArray[np.float32]) -> None:
        super().__init__()
        if table.shape != (_LEVELS_OF_NAMES**3, _NAMES):
            raise ConfigError(
                f"a table of colour names is {_LEVELS_OF_NAMES**3} x {_NAMES}, not "
                f"{' x '.join(map(str, table.shape))}"
            )
        self.register_buffer("table", torch.from_numpy(np.ascontiguousarray(table)))

    def forward(self, image: Tensor) -> Tensor:
        """``[n, 3, h, w]`` in 0 to 255 -> ``[n, 10, h, w]``."""
        step = 256 // _LEVELS_OF_NAMES
        level = (image / step).floor().clamp(0, _LEVELS_OF_NAMES - 1).long()
        red, green, blue = level.unbind(1)
        index = red + _LEVELS_OF_NAMES * (green + _LEVELS_OF_NAMES * blue)
        return self.table[index].permute(0, 3, 1, 2)


def _colour(name: str, config: FilterConfig) -> nn.Module:
    if name == "hed":
        return Stains()
    if name == "lab":
        return Lab()
    if not config.colour_names:
        raise ConfigError(
            "colour names need `colour_names`, the .npy file of their 32768 x 10 table; none ships"
        )
    try:
        return ColourNames(np.load(config.colour_names).astype(np.float32))
    except (OSError, ValueError):
        raise ConfigError("the table of colour names is no .npy file that can be read") from None


def _mixing(matrix: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(matrix.astype(np.float32))[:, :, None, None]


def _pooled(maps: Tensor, cell: int) -> Tensor:
    return functional.avg_pool2d(maps, cell) if cell > 1 else maps
