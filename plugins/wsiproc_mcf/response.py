"""What a filter bank says of an image: one map, high at the centres of nuclei (eq. 2 and 3).

Responses of the crops of a filter, of the scales of a template, and of the templates are fused in
turn by the sum of the highest few, each after a weighting that looks for peaks.  The fused map is
brought to 0 ... 1 by two constants of the bank, not by the image's own extremes: one fold of the
tissue would dim all of its nuclei, and what is said of a pixel would depend on far-off ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.errors import ConfigError
from wsiproc_mcf.features import Features, Image, tensor_of
from wsiproc_mcf.filter_config import FilterConfig
from wsiproc_mcf.filters import Bank, cropped

Way = Literal["direct", "fft"]

KNEE = 0.9
"""Up to here the response is linear; what is louder than all but one pixel in two hundred is
squeezed into the rest, so that two loud neighbours still have two peaks."""
_TAILS = (0.5, 99.5)
"""Percentiles of the training images' fused response that become 0 and `KNEE`."""
_FLAT = 1e-3
"""A bank whose answers differ by less hears rounding, not tissue."""
_BLOCK = 128
"""Cells along the edge of what is looked at in one go: always as many, so that the transforms of
kernels are made once."""


class Response(nn.Module):
    """``[n, 3, h, w]`` in 0 to 255, stain normalised -> S~ ``[n, 1, h, w]`` in [0, 1].

    Edges are multiples of a cell.  What it says of a pixel depends on `reach` px around it.

    Parameters
    ----------
    bank
        Calibrated, for S~ to have a meaning.
    path
        How filters are correlated: ``direct`` convolutions, which a graph can hold, or by ``fft``.
        They agree to rounding.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bank: Bank, path: Way = "direct") -> None:
        super().__init__()
        self.config = config = bank.config
        self.features = Features(config, bank.mpp, bank.statistics)
        self.filters = nn.ModuleList(Filters(kernel, config, path) for kernel in bank.kernels)
        low, high = bank.range
        self.register_buffer("low", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(high, dtype=torch.float32))

    @property
    def reach(self) -> int:
        """How far, in px, a pixel of the response may look."""
        cells = max(int(f.reach) for f in self.filters) + 3  # type: ignore[arg-type]
        return cells * self.features.cell + 1

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return squashed(self.loudness(image))

    def loudness(self, image: Tensor) -> Tensor:
        """S of eq. 3 with the bank's low as 0 and its high as `KNEE`; `squashed`, it is S~."""
        fused = self.enlarged(self.over_templates(self.by_template(image)))
        return KNEE * (fused - self.low) / (self.high - self.low)

    def by_template(self, image: Tensor) -> Tensor:
        """S^n of eq. 2 on cells, ``[n, N, h / cell, w / cell]``."""
        seen = self.features(image)
        return highest((f(seen) for f in self.filters), self.config.top_t, len(self.filters))

    def over_templates(self, maps: Tensor) -> Tensor:
        """S of eq. 3: of the templates that answer loudest, ``[n, 1, ...]``."""
        templates = maps.shape[1]
        if self.config.mean_fusion:
            return maps.mean(1, keepdim=True)
        each = (maps[:, n : n + 1] for n in range(templates))
        return highest(each, self.config.top_h, templates) / min(self.config.top_h, templates)

    def enlarged(self, cells: Tensor) -> Tensor:
        """From cells to pixels."""
        if self.features.cell == 1:
            return cells
        return functional.interpolate(
            cells, scale_factor=float(self.features.cell), mode="bilinear", align_corners=False
        )


class Filters(nn.Module):
    """One scale: features ``[n, C, h, w]`` -> G of CFF's sum ``[n, N, h, w]`` (eq. 2)."""

    def __init__(self, kernel: Tensor, config: FilterConfig, path: Way) -> None:
        super().__init__()
        self.path, self.top = path, config.top_t
        parts = config.crops if config.cropped_fusion else (1.0,)
        kernels = [cropped(kernel, part) for part in parts]
        whole = peak_weight(kernel.shape[-1], config)
        weights = [cropped(whole, part) for part in parts]
        linear = self.top >= len(parts)
        if linear and not config.weighting_of_crops:
            # All crops are added up whatever they say: then one filter says it all.
            kernels = [torch.stack([_as_large(k, kernel) for k in kernels]).sum(0)]
        self.kernels = nn.ParameterList(nn.Parameter(k, requires_grad=False) for k in kernels)
        self.weights = nn.ParameterList(
            nn.Parameter(w, requires_grad=False)
            for w in (weights if config.weighting_of_crops else [])
        )
        self.weight = nn.Parameter(whole, requires_grad=False) if config.weighting else None
        self.spectra: dict[tuple[int, int, int], Tensor] = {}
        """By crop and size of the transform: made once, they leave of the cost of a filter little
        more than a product."""

    @property
    def reach(self) -> int:
        """In cells."""
        size = int(self.kernels[0].shape[-1]) // 2 + 1
        return size * (1 + bool(len(self.weights)) + (self.weight is not None))

    def forward(self, seen: Tensor) -> Tensor:
        """See the class."""
        crops = range(len(self.kernels))
        fused = highest((self._crop(seen, i) for i in crops), self.top, len(crops))
        return fused if self.weight is None else _each(fused, self.weight)

    def _crop(self, seen: Tensor, crop: int) -> Tensor:
        kernels = self.kernels[crop]
        if self.path == "direct":
            return self._weighted(correlated(seen, kernels), crop)
        around = _bordered(seen, kernels.shape[-1])
        rows, columns = around.shape[-2:]
        if (crop, rows, columns) not in self.spectra:
            self.spectra[crop, rows, columns] = spectrum(kernels, (rows, columns))
        maps = correlated_by_fft(around, self.spectra[crop, rows, columns])
        return self._weighted(maps[..., : seen.shape[-2], : seen.shape[-1]], crop)

    def _weighted(self, maps: Tensor, crop: int) -> Tensor:
        return _each(maps, self.weights[crop]) if len(self.weights) else maps


def squashed(loudness: Tensor) -> Tensor:
    """To 0 ... 1: linear up to `KNEE`, from where it approaches 1 without ever standing still."""
    rest = 1 - KNEE
    tail = 1 - rest**2 / (loudness.clamp(min=KNEE) - KNEE + rest)
    return torch.where(loudness > KNEE, tail, loudness.clamp(min=0))


def unsquashed(response: Tensor) -> Tensor:
    """The loudness that `squashed` made a response of; negative ones are lost."""
    rest = 1 - KNEE
    loud = rest**2 / (1 - response).clamp(min=1e-6) + KNEE - rest
    return torch.where(response > KNEE, loud, response)


def peak_weight(size: int, config: FilterConfig) -> Tensor:
    """G of eq. 2, ``[size, size]``: a Gaussian less its mean, of length 1.

    Summing to 0, as the paper has it, it answers to peaks and not to plateaus; its length is not
    stated, and without one the larger scale would always win.
    """
    away = torch.arange(size) - size // 2
    g = torch.exp(-(away[:, None] ** 2 + away**2) / (2 * (config.weight_sigma * size) ** 2))
    if config.weight_sum == "zero":
        g = g - g.mean()
        g /= g.norm()
    else:
        g /= g.sum()
    return g


def highest(maps: Iterable[Tensor], top: int, of: int) -> Tensor:
    """Sum of the `top` highest of `of` maps, pixel by pixel, holding no more than `top` of them.

    Each map is let into a sorted row of the highest so far: two elementwise operations a place,
    instead of a stack of all maps and a sort.
    """
    kept: list[Tensor] = []
    total: Tensor | None = None
    for each in maps:
        if top >= of:
            total = each if total is None else total + each
            continue
        rest = each
        for place, held in enumerate(kept):
            kept[place], rest = torch.maximum(held, rest), torch.minimum(held, rest)
        if len(kept) < top:
            kept.append(rest)
    return total if total is not None else torch.stack(kept).sum(0)


def correlated(seen: Tensor, kernels: Tensor) -> Tensor:
    """``[n, C, h, w]`` with ``[N, C, s, s]`` -> ``[n, N, h, w]``; outside there is nothing."""
    size = kernels.shape[-1]
    return functional.conv2d(_bordered(seen, size), kernels)


def spectrum(kernels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Of ``[N, C, s, s]`` kernels, for transforms of `shape`: ``[rows, columns, C, N]``."""
    transformed: Tensor = torch.fft.rfft2(kernels, s=shape).conj()
    return transformed.permute(2, 3, 1, 0).contiguous()


def correlated_by_fft(seen: Tensor, of_kernels: Tensor) -> Tensor:
    """The same by Fourier transforms: every plane is transformed once for all filters.

    What is right begins at the first pixel, as nothing is added to the borders here, and ends an
    edge of the kernels before the last: the rest has wrapped around.
    """
    planes = torch.fft.rfft2(seen).permute(2, 3, 0, 1).contiguous()
    product = torch.matmul(planes, of_kernels).permute(2, 3, 0, 1).contiguous()
    maps: Tensor = torch.fft.irfft2(product, s=seen.shape[-2:])
    return maps


def _bordered(maps: Tensor, size: int) -> Tensor:
    return functional.pad(maps, (size // 2, (size - 1) // 2, size // 2, (size - 1) // 2))


def _each(maps: Tensor, weight: Tensor) -> Tensor:
    """Every map with the same weight."""
    n, count, height, width = maps.shape
    flat = maps.reshape(n * count, 1, height, width)
    size = weight.shape[-1]
    return functional.conv2d(_bordered(flat, size), weight[None, None]).reshape(maps.shape)


def _as_large(kernel: Tensor, as_: Tensor) -> Tensor:
    missing = (as_.shape[-1] - kernel.shape[-1]) // 2
    return functional.pad(kernel, (missing,) * 4)


def calibrate(bank: Bank, images: Sequence[Image]) -> Bank:
    """The bank with the constants that bring its fused responses to 0 ... 1.

    Parameters
    ----------
    images
        Of training, stain normalised, at the bank's mpp.

    Raises
    ------
    ConfigError
        If there are none, or nothing differs in them.
    """
    if not images:
        raise ConfigError("a filter bank is calibrated on at least one image")
    net = Response(bank, "fft")
    seen = np.concatenate([_whole(net, image, net.loudness).ravel()[::4] for image in images])
    # What it was brought to before, undone: the percentiles are those of the fused response.
    begin, end = bank.range
    low, high = (float(v) * (end - begin) / KNEE + begin for v in np.percentile(seen, _TAILS))
    if not high - low > _FLAT:
        raise ConfigError("filters answer the same everywhere: are the images blank?")
    return replace(bank, range=(low, high))


def respond(of: Bank | Response, image: Image) -> NDArray[np.float32]:
    """S~ of one stain-normalised image of any size: ``[h, w]`` float32, 0 to 1.

    For many images, give ``Response(bank, "fft")``, which keeps what it has worked out.
    """
    net = of if isinstance(of, Response) else Response(of)
    return np.asarray(_whole(net, image, net)[0])


def template_responses(of: Bank | Response, image: Image) -> NDArray[np.float32]:
    """What each template alone says, on the scale of `respond`: ``[N, h, w]`` float32."""
    net = of if isinstance(of, Response) else Response(of)

    def said(pixels: Tensor) -> Tensor:
        loud = KNEE * (net.by_template(pixels) - net.low) / (net.high - net.low)
        return squashed(net.enlarged(loud))

    return _whole(net, image, said)


@torch.no_grad()
def _whole(net: Response, image: Image, said: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
    """``[c, h, w]`` of an image of any size, which goes on in white, as a slide does."""
    height, width = image.shape[:2]
    edge = _BLOCK * net.features.cell
    margin = -(-net.reach // net.features.cell) * net.features.cell
    below, beside = -height % edge, -width % edge
    around = functional.pad(
        tensor_of(image), (margin, margin + beside, margin, margin + below), value=255.0
    )
    rows = []
    for y in range(0, height, edge):
        row = []
        for x in range(0, width, edge):
            block = around[:, :, y : y + edge + 2 * margin, x : x + edge + 2 * margin]
            row.append(said(block)[0, :, margin : margin + edge, margin : margin + edge])
        rows.append(torch.cat(row, 2))
    whole = torch.cat(rows, 1)[:, :height, :width]
    return np.asarray(whole.numpy(), np.float32)
