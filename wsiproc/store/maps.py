"""The network's maps as multiscale OME-Zarr (OME-NGFF 0.5 on Zarr 3, sharded).

::

    MAPS.zarr/NAME/0    [C, H, W] uint8, a shard a tile core
    MAPS.zarr/NAME/1    half of it, and so on

A tile writes its own core and nothing else, and a core is one shard: tiles can be written in any
order and at once, and none ever writes another's file.  Values are quantised to 256 steps between
the layer's `low` and `high`: ``value = low + (high - low) * stored / 255``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsiproc.store.disk import storing

LARGEST_CHUNK: Final = 512
SMALLEST_LEVEL: Final = 256
"""The pyramid ends with the first level that is not larger than this."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One map of the network.

    Parameters
    ----------
    channels
        What each channel is, e.g. the classes' names.
    low, high
        The values that are stored as 0 and 255; what lies outside is cut.
    """

    channels: tuple[str, ...]
    low: float = 0.0
    high: float = 1.0


def create_maps(
    path: Path,
    layers: Mapping[str, Layer],
    *,
    size: tuple[int, int],
    um_per_px: tuple[float, float],
    core: int,
) -> None:
    """Make an empty store, all background (0); one that is there already stays as it is.

    Parameters
    ----------
    size
        (width, height) of the slide in map px.
    um_per_px
        µm per map px, along x and y.
    core
        Edge of a tile's core in map px.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written.
    """
    chunk = _chunk(core)
    with storing("the network's maps"):
        root = zarr.open_group(path, mode="a", zarr_format=3)
        for name, layer in layers.items():
            if name in root and "ome" in root[name].attrs:
                continue
            group = root.require_group(name)
            width, height = size
            levels = 1 + max(0, math.ceil(math.log2(max(width, height) / SMALLEST_LEVEL)))
            for level in range(levels):
                group.require_array(
                    str(level),
                    shape=(len(layer.channels), max(1, height), max(1, width)),
                    chunks=(1, chunk, chunk),
                    shards=(len(layer.channels), core, core),
                    dtype="uint8",
                    compressors=ZstdCodec(level=3),
                    fill_value=int(quantised(np.zeros(1, np.float32), layer)[0]),
                    dimension_names=("c", "y", "x"),
                )
                width, height = -(-width // 2), -(-height // 2)
            # Last: a group that has these is whole.
            group.attrs.update(_attributes(name, layer, levels, um_per_px))


def write_core(
    path: Path, layers: Mapping[str, Layer], row: int, column: int, maps: Mapping[str, Any]
) -> None:
    """Store the maps of one tile's core.

    Parameters
    ----------
    row, column
        Of the tile.
    maps
        For each layer ``[C, h, w]`` float32 over the core, cut to the slide.

    Raises
    ------
    DiskFullError, StoreError
        If they cannot be written.
    """
    with storing("the network's maps"):
        for name, layer in layers.items():
            array = zarr.open_array(path / name / "0", mode="r+")
            core = _shard(array)
            values = quantised(maps[name], layer)
            y, x = row * core, column * core
            array[:, y : y + values.shape[1], x : x + values.shape[2]] = values


def finish_maps(path: Path, layers: Iterable[str]) -> None:
    """Build the coarser levels, a shard at a time, each px the mean of four.

    Raises
    ------
    DiskFullError, StoreError
        If they cannot be written.
    """
    with storing("the network's maps"):
        for name in layers:
            group = zarr.open_group(path / name, mode="r+")
            levels = sorted(int(level) for level in group.array_keys())
            for finer, coarser in pairwise(levels):
                _halve(group[str(finer)], group[str(coarser)])


def quantised(values: NDArray[np.float32], layer: Layer) -> NDArray[np.uint8]:
    """Values as they are stored, to the nearest step."""
    share = (np.asarray(values, np.float32) - layer.low) / (layer.high - layer.low)
    stored: NDArray[np.uint8] = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return stored


def _halve(finer: Any, coarser: Any) -> None:
    channels, height, width = coarser.shape
    edge = _shard(coarser)
    for y in range(0, height, edge):
        for x in range(0, width, edge):
            window = np.s_[2 * y : 2 * (y + edge), 2 * x : 2 * (x + edge)]
            means = np.stack([_mean(finer[(channel, *window)]) for channel in range(channels)])
            if means.any():
                coarser[:, y : y + means.shape[1], x : x + means.shape[2]] = means


def _mean(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``[h, w]`` to ``[ceil(h / 2), ceil(w / 2)]``, halves rounded up."""
    odd = [(0, n % 2) for n in part.shape]
    whole = np.pad(part, odd, mode="edge").astype(np.uint16)
    four = whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]
    mean: NDArray[np.uint8] = ((four + 2) // 4).astype(np.uint8)
    return mean


def _shard(array: Any) -> int:
    edge: int = array.shards[1]
    return edge


def _chunk(core: int) -> int:
    """The largest edge that cuts a core into equal chunks of a size that viewers like."""
    fitting = [n for n in range(64, LARGEST_CHUNK + 1) if core % n == 0]
    return max(fitting, default=core)


def _attributes(
    name: str, layer: Layer, levels: int, um_per_px: tuple[float, float]
) -> dict[str, Any]:
    datasets = []
    for level in range(levels):
        x, y = (um * 2**level for um in um_per_px)
        # NGFF places the centre of px (0, 0); ours is the corner of the slide.
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, y, x]},
                    {"type": "translation", "translation": [0.0, y / 2, x / 2]},
                ],
            }
        )
    space = {"type": "space", "unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, {"name": "y", **space}, {"name": "x", **space}]
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [{"name": name, "axes": axes, "datasets": datasets, "type": "mean"}],
        },
        "wsiproc": {"channels": list(layer.channels), "low": layer.low, "high": layer.high},
    }
