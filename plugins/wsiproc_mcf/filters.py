"""Correlation filters: from nuclei cut out of images to a bank of kernels (Feng et al., eq. 1).

A filter is the kernel whose correlation with its own template is a sharp peak at the template's
centre.  Printed for one channel, for C of them it is the ridge regression of Henriques et al. 2014:

    w_c = conj(X_c) Y / (sum over c of |X_c|^2 + lambda)

with X the Fourier transform of the template's features, Y that of the wanted peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsiproc.errors import ConfigError
from wsiproc_mcf.features import Features, Image, Statistics, cell_px, tensor_of
from wsiproc_mcf.filter_config import FilterConfig

_LEAST_CELLS = 5
"""A filter with fewer cells along an edge has no shape."""
_PATCH_CELLS = 4
"""Pixels of a cut-out patch for each cell of the largest filter, so that resizing loses nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Filters of N templates at K scales.

    Parameters
    ----------
    config, mpp
        What they were made with.
    statistics
        What features are standardised by.
    patches
        float32 ``[N, side, side, 3]``, 0 to 255: the nuclei, as `cut_patch` gives them.
    kernels
        One tensor a scale, float32 ``[N, C, s, s]`` over cells: correlated with features, template
        n answers at its own centre with about 1.  The centre of an even edge s is cell s / 2.
    range
        Fused responses that become 0 and `response.KNEE`, see `response.calibrate`.
    """

    config: FilterConfig
    mpp: float
    statistics: Statistics
    patches: NDArray[np.float32]
    kernels: tuple[Tensor, ...]
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def templates(self) -> int:
        """N."""
        return len(self.patches)

    def joined(self, other: Bank) -> Bank:
        """The templates of both, to be calibrated anew.

        Raises
        ------
        ConfigError
            If they were made with different settings.
        """
        if (self.config, self.mpp) != (other.config, other.mpp):
            raise ConfigError("filter banks of different settings cannot be joined")
        pairs = zip(self.kernels, other.kernels, strict=True)
        return replace(
            self,
            patches=np.concatenate([self.patches, other.patches]),
            kernels=tuple(torch.cat(pair) for pair in pairs),
        )

    def state(self) -> dict[str, Tensor]:
        """All but the settings, for a checkpoint."""
        kernels = {f"kernels.{k}": kernel for k, kernel in enumerate(self.kernels)}
        return {
            "mean": self.statistics.mean,
            "scale": self.statistics.scale,
            "patches": torch.from_numpy(self.patches),
            "range": torch.tensor(self.range, dtype=torch.float64),
            **kernels,
        }

    @staticmethod
    def from_state(state: Mapping[str, Tensor], config: FilterConfig, mpp: float) -> Bank:
        """What `state` gave."""
        scales = sum(name.startswith("kernels.") for name in state)
        low, high = state["range"].tolist()
        return Bank(
            config=config,
            mpp=mpp,
            statistics=Statistics(state["mean"], state["scale"]),
            patches=state["patches"].numpy(),
            kernels=tuple(state[f"kernels.{k}"] for k in range(scales)),
            range=(low, high),
        )


def patch_side(config: FilterConfig, mpp: float) -> int:
    """Edge, in px, of what `cut_patch` gives."""
    return _PATCH_CELLS * max(_edges(config))


def cut_patch(
    image: Image, box: Sequence[float], config: FilterConfig, mpp: float
) -> NDArray[np.float32]:
    """A nucleus and its surroundings: the square about its box's centre, `context` times the box.

    Nuclei of all sizes are brought to one; how large they are in other images is for the scales.

    Parameters
    ----------
    image
        ``[h, w, 3]``, 0 to 255; past its edge it is continued in its mirror image.
    box
        ``(x0, y0, x1, y1)`` in px of `image`, pixel (0, 0) covering [0, 1) x [0, 1).

    Returns
    -------
    float32 ``[side, side, 3]``, `patch_side` px wide.

    Raises
    ------
    ConfigError
        If the box is empty or its centre outside the image.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    height, width = image.shape[:2]
    x, y, edge = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)
    if not (x1 > x0 and y1 > y0 and 0 <= x <= width and 0 <= y <= height):
        raise ConfigError(f"a template's box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is not in its image")
    side = patch_side(config, mpp)
    along = ((torch.arange(side, dtype=torch.float32) + 0.5) / side - 0.5) * edge * config.context
    down, right = torch.meshgrid(
        (along + y) * 2 / height - 1, (along + x) * 2 / width - 1, indexing="ij"
    )
    grid = torch.stack([right, down], -1)[None]
    patch = functional.grid_sample(
        tensor_of(image), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return patch[0].permute(1, 2, 0).contiguous().numpy()


def make_bank(
    patches: Sequence[NDArray[np.float32]],
    config: FilterConfig,
    mpp: float,
    statistics: Statistics,
) -> Bank:
    """Filters of `patches` (`cut_patch`) at every scale.

    Raises
    ------
    ConfigError
        If there is no patch.
    """
    if not len(patches):
        raise ConfigError("a filter bank needs at least one template")
    stacked = np.stack(patches).astype(np.float32)
    features = Features(config, mpp, statistics)
    images = torch.from_numpy(stacked).permute(0, 3, 1, 2)
    kernels = []
    with torch.no_grad():
        for edge in _edges(config):
            size = edge * cell_px(config, mpp)
            resized = functional.interpolate(
                images, (size, size), mode="bilinear", align_corners=False, antialias=True
            )
            kernels.append(_filters(features(resized), config))
    return Bank(config, mpp, statistics, stacked, tuple(kernels))


def cropped(kernel: Tensor, part: float) -> Tensor:
    """The central `part` of ``[..., s, s]`` with the same centre: its edge has s's parity."""
    size = kernel.shape[-1]
    cut = (size - max(3, round(size * part))) // 2
    return kernel[..., cut : size - cut, cut : size - cut] if cut > 0 else kernel


def _filters(features: Tensor, config: FilterConfig) -> Tensor:
    """Eq. 1 for ``[N, C, s, s]`` features: kernels of the same shape for a sliding correlation."""
    size = features.shape[-1]
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    x = torch.fft.fft2(features * window[:, None] * window)
    # The wanted peak lies at index 0 and wraps: then the inverse transform of conj(w) is the
    # kernel itself, aligned with the template, and no detection is off by half of it.
    away = torch.minimum(torch.arange(size), size - torch.arange(size)).float()
    peak = torch.exp(-(away[:, None] ** 2 + away**2) / (2 * (config.target_sigma * size) ** 2))
    power = (x.abs() ** 2).sum(1, keepdim=True)
    ridge = config.regularisation * power.mean((2, 3), keepdim=True)
    w = x.conj() * torch.fft.fft2(peak) / (power + ridge)
    kernels: Tensor = torch.fft.ifft2(w.conj()).real.contiguous()
    return kernels


def _edges(config: FilterConfig) -> list[int]:
    """Edge of the filters of each scale, in cells."""
    scales = config.scales if config.scale_fusion else (1.0,)
    cells = config.template_um * config.context / config.cell_um
    return [max(_LEAST_CELLS, round(cells * scale)) for scale in scales]
