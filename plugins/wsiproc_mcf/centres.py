"""Centres of nuclei by the directions in which the response falls (Feng et al., eq. 4).

For each of eight directions, d is the sum over p = 1 ... P and q = p + 1 ... Q of the response p
pixels away less that q pixels away: one linear filter along a ray.  Where it falls in all
directions lies a centre, and the sum of all d is how steep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.decode.points import disc
from wsiproc_mcf.filter_config import FilterConfig
from wsiproc_mcf.response import squashed, unsquashed

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""(dy, dx) of r = 1 ... 8; diagonal steps are longer by the root of 2, as printed."""
_CERTAIN = 0.02
"""Fall in the least of the directions from which on a centre is one: below, it fades, so that
arithmetic's last bits decide nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Centres:
    """Nuclei of one image.

    Parameters
    ----------
    xy
        float64 ``[k, 2]``, px, pixel centres at +.5; in raster order.
    response
        float32 ``[k]``: the response there.
    gradient
        float32 ``[k]``: how steeply it falls around (`gradient_map`); 0 where it was not asked.
    """

    xy: NDArray[np.float64]
    response: NDArray[np.float32]
    gradient: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xy)


def ray_weights(centre_px: int, area_px: int) -> NDArray[np.float64]:
    """Weights of the pixels at distance 1 ... Q of a ray; they sum to 0.

    For P = 3 and Q = 10: 9, 7, 5 and then seven times -3.
    """
    weights = np.zeros(area_px + 1)
    for p in range(1, centre_px + 1):
        weights[p] += area_px - p
        weights[p + 1 :] -= 1
    return weights[1:]


class GradientDirections(nn.Module):
    """``[n, 1, h, w]`` response -> ``[n, 1, h, w]``: D of eq. 4, on a scale of the response.

    The printed condition is ambiguous; here d must be positive in `min_directions` of the eight
    directions (the text: "in all").  d is scaled to the mean response of the centre's pixels less
    that of the area around, D to the mean over directions, so that neither depends on P and Q.
    """

    rays: Tensor

    def __init__(self, config: FilterConfig, mpp: float) -> None:
        super().__init__()
        self.wanted = config.min_directions
        inner = max(1, round(config.centre_um / mpp))
        self.reach = max(inner + 1, round(config.area_um / mpp))
        weights = ray_weights(inner, self.reach)
        weights = weights / weights[weights > 0].sum()
        rays = torch.zeros(8, 1, 2 * self.reach + 1, 2 * self.reach + 1)
        for ray, (dy, dx) in zip(rays, DIRECTIONS, strict=True):
            for away, weight in enumerate(weights, 1):
                ray[0, self.reach + away * dy, self.reach + away * dx] = weight
        self.register_buffer("rays", rays)

    def forward(self, response: Tensor) -> Tensor:
        """See the class."""
        around = functional.pad(response, (self.reach,) * 4, mode="replicate")
        falls = functional.conv2d(around, self.rays)
        gate = (self.least(falls) / _CERTAIN).clamp(0, 1)
        return functional.relu(falls.mean(1, keepdim=True)) * gate

    def least(self, falls: Tensor) -> Tensor:
        """The least of the `min_directions` steepest falls ``[n, 8, h, w]`` -> ``[n, 1, h, w]``."""
        if self.wanted == len(DIRECTIONS):
            return falls.amin(1, keepdim=True)
        steepest: Tensor = falls.topk(self.wanted, 1).values
        return steepest[:, -1:]


class Certain(nn.Module):
    """Loudness ``[n, 1, h, w]`` -> S~ where it falls on all sides, 0 elsewhere.

    Peaks of the result are centres.  The fall is that of the loudness: where S~ has been squashed
    it hardly falls.  Eq. 4 by itself ranks centres by how steeply the response falls, which says
    little of whether there is a nucleus; here it only decides where one may lie, and the response
    says how surely.
    """

    def __init__(self, config: FilterConfig, mpp: float) -> None:
        super().__init__()
        self.least = config.least_gradient
        self.directions = GradientDirections(config, mpp) if config.gradient_directions else None

    @property
    def reach(self) -> int:
        """How far it looks, px."""
        return self.directions.reach if self.directions is not None else 0

    def forward(self, loudness: Tensor) -> Tensor:
        """See the class."""
        response = squashed(loudness)
        if self.directions is None:
            return response
        surely: Tensor = (self.directions(loudness) / self.least).clamp(max=1)
        return response * surely


def gradient_map(
    response: NDArray[np.float32], config: FilterConfig, mpp: float
) -> NDArray[np.float32]:
    """D of eq. 4 for one ``[h, w]`` response."""
    return _of_one(GradientDirections(config, mpp), response)


def find_centres(response: NDArray[np.float32], config: FilterConfig, mpp: float) -> Centres:
    """Peaks of the response where it falls on all sides, and exceeds the background's t1.

    Parameters
    ----------
    response
        ``[h, w]`` float32, 0 to 1.
    """
    certain = _of_one(Certain(config, mpp), response)
    certain = np.where(response > config.background_below, certain, 0)
    gradient = np.zeros_like(response)
    if config.gradient_directions:
        gradient = gradient_map(response, config, mpp)
    y, x = np.nonzero(_peaks(certain, config.peak_radius_um / mpp))
    return Centres(np.stack([x, y], 1).astype(np.float64) + 0.5, response[y, x], gradient[y, x])


def _of_one(module: nn.Module, response: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        said: NDArray[np.float32] = module(unsquashed(torch.from_numpy(response)[None, None]))[
            0, 0
        ].numpy()
    return said


def _peaks(value: NDArray[np.float32], radius: float) -> NDArray[np.bool_]:
    """The largest within `radius` px, the first in raster order of equal ones; as decoders do."""
    height, width = value.shape
    offsets = disc(radius)
    reach = int(np.abs(offsets).max())
    around = np.pad(value, reach, constant_values=-1)
    peak = value > 0
    for dy, dx in offsets:
        other = around[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
        earlier = (dy, dx) < (0, 0)
        peak &= (value > other) if earlier else (value >= other)
    return peak
