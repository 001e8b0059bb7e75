"""What windows look like: each place of an image is described once, windows by means over boxes.

A window's description is the mean of the described places inside it, which integral images give
for all windows at once; that is what global average pooling does, but for what a network sees
beyond a window's edge.  ``dense = false`` of a backbone passes every window by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsiproc.datasets import Sample
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingEvent, TrainingNote
from wsiproc.model import load_model
from wsiproc.model.inner import inner_features
from wsiproc.training.descent import device
from wsiproc.training.labels import resample_pixels, resampled_size
from wsiproc_label_efficient.backbone import load_backbone, normalised
from wsiproc_label_efficient.config import FeatureConfig, SelectConfig
from wsiproc_label_efficient.consistency import Looked, Pool
from wsiproc_label_efficient.pool_network import STEP, learn_pool

Features = NDArray[np.float32]
_STRIDE_OF_BACKBONES = 32
_AT_ONCE = 64


def make_pool(config: SelectConfig, samples: Sequence[Sample]) -> Pool:
    """Every window that lies inside an image.

    Raises
    ------
    ConfigError
        If an image does not say its mpp, or all are smaller than a patch.
    """
    edge = round(config.size_um / config.stride_um)
    parts = []
    for i, sample in enumerate(samples):
        rows, columns = (
            max(0, n - edge + 1) for n in _lattice(sample, sample.pixels().shape, config)
        )
        row, column = np.divmod(np.arange(rows * columns), max(columns, 1))
        parts.append(np.stack([np.full(rows * columns, i), row, column]))
    image, row, column = np.concatenate(parts, axis=1).astype(np.int64)
    if not len(image):
        raise ConfigError(f"no image is as large as a patch of {config.size_um:g} µm")
    return Pool(image, row, column, edge)


def look(
    config: SelectConfig,
    samples: Sequence[Sample],
    pool: Pool,
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Looked:
    """Describe all windows of `pool`, and their quarters.

    Parameters
    ----------
    folder
        For the checkpoint of a network that learns from the pool.
    """
    describe = _describer(config, samples, folder=folder, seed=seed, listener=listener)
    half = pool.edge // 2 if pool.edge % 2 == 0 else 0
    assert half, "half a window is a whole number of strides"
    windows, quarters, parts = [], [], []
    begin = 0
    for i, sample in enumerate(samples):
        mine = pool.image == i
        if not mine.any():
            continue
        row, column = pool.row[mine], pool.column[mine]
        # Windows reach as far as the lattice does, so quarters' places are known from them.
        rows, columns = row.max() + half + 1, column.max() + half + 1
        of_row, of_column = np.divmod(np.arange(rows * columns), columns)
        said = describe(
            sample,
            [(row, column, pool.edge), (of_row.astype(np.int64), of_column.astype(np.int64), half)],
        )
        windows.append(said[0])
        quarters.append(said[1])
        corner = begin + row * columns + column
        parts.append(corner[:, None] + np.array([0, half, half * columns, half * (columns + 1)]))
        begin += rows * columns
    return Looked(np.concatenate(windows), np.concatenate(quarters), np.concatenate(parts))


Boxes = tuple[NDArray[np.int64], NDArray[np.int64], int]
"""Rows and columns on the lattice, and the edge of all, in strides."""
Describe = Callable[[Sample, Sequence[Boxes]], list[Features]]


def _describer(
    config: SelectConfig,
    samples: Sequence[Sample],
    *,
    folder: Path,
    seed: int,
    listener: Callable[[TrainingEvent], None],
) -> Describe:
    features, stride = config.features, config.stride_um
    match features.source:
        case "self":
            images = [at_mpp(sample, features.mpp) for sample in samples]
            net = learn_pool(images, features, folder=folder, seed=seed, listener=listener)
            net.to(device())
            return _dense(lambda image: _mapped(net, image), features.mpp, STEP, stride)
        case "model":
            model = load_model(features.model)
            seen = ", ".join(f"{d.name} {d.split}" for d in model.card.data)
            listener(TrainingNote("features", f"{model.name} has learnt from {seen}"))
            inner = inner_features(model, features.node, threads=torch.get_num_threads())
            return _dense(inner, model.card.mpp, model.card.step, stride)
        case "backbone":
            net_of = load_backbone(features).to(device())
            if not features.dense:
                return _one_by_one(net_of, features, stride)
            return _dense(
                lambda image: _mapped(net_of, normalised(image, features.normalise)),
                features.mpp,
                _STRIDE_OF_BACKBONES,
                stride,
            )


def _dense(
    inner: Callable[[NDArray[np.uint8]], Features], mpp: float, step: int, stride_um: float
) -> Describe:
    """Means over boxes of one map ``[c, h', w']`` an image."""

    def describe(sample: Sample, boxes: Sequence[Boxes]) -> list[Features]:
        image = at_mpp(sample, mpp)
        more = [-n % step for n in image.shape[:2]]
        padded = np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="symmetric")
        said = inner(padded)
        cells = stride_um / mpp / (padded.shape[0] / said.shape[1])
        total = integral(said)
        return [
            box_means(total, row * cells, col * cells, edge * cells) for row, col, edge in boxes
        ]

    return describe


def _one_by_one(net: nn.Module, config: FeatureConfig, stride_um: float) -> Describe:
    """Every window through the network, as the paper has it; quarters at their own size."""

    def describe(sample: Sample, boxes: Sequence[Boxes]) -> list[Features]:
        image = at_mpp(sample, config.mpp)
        px = stride_um / config.mpp
        said = []
        for row, column, edge in boxes:
            size = round(edge * px)
            y, x = (
                np.minimum(np.round(place * px).astype(np.int64), length - size)
                for place, length in ((row, image.shape[0]), (column, image.shape[1]))
            )
            parts = []
            for i in range(0, len(y), _AT_ONCE):
                crops = [
                    image[top : top + size, left : left + size]
                    for top, left in zip(y[i : i + _AT_ONCE], x[i : i + _AT_ONCE], strict=True)
                ]
                with torch.inference_mode():
                    maps = net(normalised(np.stack(crops), config.normalise).to(device()))
                parts.append(maps.mean((2, 3)).float().cpu().numpy())
            said.append(np.concatenate(parts))
        return said

    return describe


def integral(values: Features) -> NDArray[np.float64]:
    """``[c, h, w]`` -> ``[h + 1, w + 1, c]``: sums of all that lies above and to the left."""
    total = np.zeros((values.shape[1] + 1, values.shape[2] + 1, values.shape[0]))
    total[1:, 1:] = values.transpose(1, 2, 0).cumsum(0, dtype=np.float64).cumsum(1)
    return total


def box_means(
    total: NDArray[np.float64], top: NDArray[np.float64], left: NDArray[np.float64], edge: float
) -> Features:
    """Means over squares whose edges may lie inside cells, of which they then have a part.

    Parameters
    ----------
    total
        Of `integral`.
    top, left
        ``[n]``, in cells.
    edge
        Of all squares, in cells.
    """
    height, width = total.shape[0] - 1, total.shape[1] - 1
    bottom, right = np.minimum(top + edge, height), np.minimum(left + edge, width)
    area = (bottom - top) * (right - left)
    inside = _at(total, bottom, right) - _at(total, top, right)
    inside += _at(total, top, left) - _at(total, bottom, left)
    means: Features = (inside / area[:, None]).astype(np.float32)
    return means


def _at(
    total: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The integral between whole cells, which is bilinear as values are level in each."""
    row, column = (
        np.minimum(np.floor(v).astype(np.int64), n - 2)
        for v, n in ((y, total.shape[0]), (x, total.shape[1]))
    )
    down, along = (y - row)[:, None], (x - column)[:, None]
    upper = total[row, column] * (1 - along) + total[row, column + 1] * along
    lower = total[row + 1, column] * (1 - along) + total[row + 1, column + 1] * along
    value: NDArray[np.float64] = upper * (1 - down) + lower * down
    return value


def _mapped(net: nn.Module, image: NDArray[np.uint8] | torch.Tensor) -> Features:
    """One image ``[h, w, 3]`` uint8, or what is ready for a network, through it."""
    ready = torch.from_numpy(image)[None] if isinstance(image, np.ndarray) else image
    with torch.inference_mode():
        said: Features = net(ready.to(device()))[0].float().cpu().numpy()
    return said


def at_mpp(sample: Sample, mpp: float) -> NDArray[np.uint8]:
    """The image of a sample, resampled.

    Raises
    ------
    ConfigError
        If it does not say its mpp.
    """
    own = mpp_of(sample)
    pixels = sample.pixels()
    height, width = (resampled_size(n, own, mpp) for n in pixels.shape[:2])
    return resample_pixels(pixels, height, width)


def mpp_of(sample: Sample) -> float:
    """µm per px of an image.

    Raises
    ------
    ConfigError
        If it does not say.
    """
    if sample.mpp is None:
        raise ConfigError(
            f"image {sample.id} has no mpp, so that a patch has no size: put mpp into dataset.toml"
        )
    return sample.mpp


def _lattice(sample: Sample, shape: Sequence[int], config: SelectConfig) -> tuple[int, int]:
    """How many strides fit into an image, down and across."""
    mpp = mpp_of(sample)
    rows, columns = (math.floor(n * mpp / config.stride_um + 1e-6) for n in shape[:2])
    return rows, columns
