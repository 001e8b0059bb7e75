"""OME-Zarr (OME-NGFF 0.5 on Zarr 3, sharded): how many nuclei are where, and which pixel is whose.

::

    X.ome.zarr/0, 1, ...                 [class, y, x] float32, nuclei per mm²; the first is of all
    X.ome.zarr/labels/nuclei/0, 1, ...   [y, x] uint32: 1 + the row of nuclei.parquet; 0 elsewhere
    X.ome.zarr/labels/classes/0, 1, ...  [y, x] uint8: 1 + class_id

Labels are written shard by shard, and where there is no nucleus, nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsiproc.errors import ConfigError
from wsiproc.export._raster import Floats, Ints, paint, runs_of
from wsiproc.export._shapes import rings, shapes_px
from wsiproc.export._target import MARK, facts, one_folder
from wsiproc.results.stored import RowGroup, StoredResult, opened, row_groups, tables

SHARD: Final = 4096
CHUNK: Final = 512
SMALLEST: Final = 512
"""A pyramid of labels ends with the first level that is not larger than this."""

CELL: Final = 32
"""Label px on the edge of a cell in which nuclei are counted, doubled until these are few."""
_MOST_CELLS: Final = 2048
_HELD: Final = 8
"""Row groups that are kept: neighbours in the file are neighbours on the slide."""

_LABELS: Final[dict[str, np.dtype[Any]]] = {
    "nuclei": np.dtype(np.uint32),
    "classes": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True)
class _Grid:
    """Pixels of the labels: so many level-0 px on their edge, from the slide's corner."""

    result: StoredResult
    step: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = self.result.size_px
        return max(1, -(-width // self.step)), max(1, -(-height // self.step))

    @property
    def um_per_px(self) -> tuple[float, float]:
        x, y = self.result.mpp
        return x * self.step, y * self.step

    @property
    def levels(self) -> int:
        """Levels of all pyramids: NGFF wants labels to have as many as their image."""
        return 1 + max(0, math.ceil(math.log2(max(self.size) / SMALLEST)))

    @property
    def cell(self) -> int:
        """Label px on the edge of a cell of the density."""
        cell = CELL
        while max(self.size) > cell * _MOST_CELLS:
            cell *= 2
        return cell


def write_ome_zarr(
    result: StoredResult, out: Path, *, downsample: int | None = None, replace: bool = False
) -> int:
    """Write density and labels as pyramids; gives the nuclei.

    Of a result without outlines there is the density alone.

    Parameters
    ----------
    downsample
        Level-0 px on the edge of a label px; None takes what is nearest to the model's px.

    Raises
    ------
    ConfigError
        If `downsample` is not 1 to 64.
    AlreadyThereError, StoreError
        See `one_folder`.
    """
    if downsample is None:
        wanted = float(result.model.card.get("mpp", 0.5)) / result.mpp[0]
        downsample = min(64, max(1, round(wanted)))
    if not 1 <= downsample <= 64:
        raise ConfigError(f"--downsample {downsample}: 1 to 64 level-0 px make a label px")
    grid = _Grid(result, downsample)
    with one_folder(out, replace=replace) as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=3)
        _write_density(root, grid)
        if result.outlined:
            _write_labels(root.create_group("labels"), grid)
        says = {
            "label_value": "1 + the row of nuclei.parquet",
            "level0_px_per_label_px": downsample,
        }
        root.attrs[MARK] = facts(result, "ome-zarr", says)
    return result.nuclei


def _write_density(root: zarr.Group, grid: _Grid) -> None:
    """Nuclei per mm², in whole cells."""
    result, cell = grid.result, grid.cell
    across, down = (um * cell for um in grid.um_per_px)
    columns, rows = (-(-edge // cell) for edge in grid.size)
    kinds = len(result.classes)
    counts = np.zeros((kinds, rows, columns), np.int32)
    for table in tables(result.table, columns=["x_um", "y_um", "class_id"]):
        row = np.clip(table["y_um"].to_numpy() // down, 0, rows - 1).astype(np.intp)
        column = np.clip(table["x_um"].to_numpy() // across, 0, columns - 1).astype(np.intp)
        np.add.at(counts, (table["class_id"].to_numpy(), row, column), 1)
    both = np.concatenate([counts.sum(axis=0, keepdims=True), counts])
    density = (both * (1e6 / (across * down))).astype(np.float32)
    tops = [float(np.percentile(one[one > 0], 99)) if one.any() else 1.0 for one in density]
    for level in range(grid.levels):
        edge = min(SHARD, CHUNK * -(-max(density.shape[1:]) // CHUNK))
        _array(root, level, density.shape, density.dtype, edge)[:] = density
        density = _halved(density)
    names = ["all", *(c.name for c in result.classes)]
    colours = [(255, 255, 255), *(c.color for c in result.classes)]
    root.attrs["ome"] = {
        **_multiscales("density", "cyx", (across, down), grid.levels, "mean"),
        "omero": {
            "name": result.slide_id,
            "channels": [
                {
                    "label": f"{name}, nuclei per mm²",
                    "color": "{:02X}{:02X}{:02X}".format(*colour),
                    "active": name == "all",
                    "window": {"min": 0.0, "start": 0.0, "end": top, "max": top},
                }
                for name, colour, top in zip(names, colours, tops, strict=True)
            ],
        },
    }


def _halved(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[c, h, w]`` to ``[c, ceil(h / 2), ceil(w / 2)]``; beyond the slide there are no nuclei."""
    channels, height, width = density.shape
    whole = np.pad(density, [(0, 0), (0, height % 2), (0, width % 2)])
    fours = whole.reshape(channels, whole.shape[1] // 2, 2, whole.shape[2] // 2, 2)
    mean: NDArray[np.float32] = fours.mean(axis=(2, 4), dtype=np.float32)
    return mean


def _write_labels(group: zarr.Group, grid: _Grid) -> None:
    pyramids = {name: _pyramid(group, name, grid) for name in _LABELS}
    group.attrs["ome"] = {"version": "0.5", "labels": list(_LABELS)}
    for (x, y), labels in _painted(grid):
        for name, painted in labels.items():
            h, w = painted.shape
            pyramids[name][0][y : y + h, x : x + w] = painted
    for arrays in pyramids.values():
        for finer, coarser in pairwise(arrays):
            _halve(finer, coarser)


def _pyramid(group: zarr.Group, name: str, grid: _Grid) -> list[Any]:
    """Empty arrays of one label, finest first."""
    width, height = grid.size
    label = group.create_group(name)
    about: dict[str, Any] = {"source": {"image": "../../"}}
    if name == "classes":
        classes = grid.result.classes
        about["colors"] = [
            {"label-value": i, "rgba": [*c.color, 255]} for i, c in enumerate(classes, start=1)
        ]
        about["properties"] = [
            {"label-value": i, "class": c.name} for i, c in enumerate(classes, start=1)
        ]
    label.attrs["ome"] = {
        **_multiscales(name, "yx", grid.um_per_px, grid.levels, "nearest"),
        "image-label": about,
    }
    arrays = []
    for level in range(grid.levels):
        shape = -(-height // 2**level), -(-width // 2**level)
        edge = min(SHARD, CHUNK * -(-max(shape) // CHUNK))
        arrays.append(_array(label, level, shape, _LABELS[name], edge))
    return arrays


def _array(
    group: zarr.Group, level: int, shape: tuple[int, ...], dtype: np.dtype[Any], edge: int
) -> Any:
    flat = (1,) * (len(shape) - 2)
    return group.create_array(
        str(level),
        shape=shape,
        chunks=(*flat, CHUNK, CHUNK),
        shards=(*flat, edge, edge),
        dtype=dtype,
        compressors=ZstdCodec(level=3),
        fill_value=0,
        dimension_names=("c", "y", "x")[-len(shape) :],
    )


def _painted(grid: _Grid) -> Iterator[tuple[tuple[int, int], dict[str, NDArray[Any]]]]:
    """Corner (x, y) and labels of each shard that has nuclei, along the file."""
    result, (width, height) = grid.result, grid.size
    across, down = grid.um_per_px
    groups = row_groups(result.table)

    @lru_cache(maxsize=_HELD)
    def loaded(number: int) -> tuple[Floats, Ints, NDArray[np.int16]]:
        return _rings(grid, number)

    touched: list[tuple[list[RowGroup], int, int]] = []
    for y in range(0, height, SHARD):
        for x in range(0, width, SHARD):
            box = (x * across, y * down, (x + SHARD) * across, (y + SHARD) * down)
            if some := [group for group in groups if group.touches(box)]:
                touched.append((some, x, y))
    for some, x, y in sorted(touched, key=lambda each: (each[0][0].number, each[2], each[1])):
        shape = min(SHARD, height - y), min(SHARD, width - x)
        labels = {name: np.zeros(shape, dtype) for name, dtype in _LABELS.items()}
        for group in some:
            xy, start, class_id = loaded(group.number)
            inside = _within(xy, start, (x, y, x + shape[1], y + shape[0]))
            runs = runs_of(*_taken(xy, start, inside))
            ids = (group.first + 1 + inside).astype(np.uint32)
            paint(runs, ids, labels["nuclei"], (x, y))
            paint(runs, (class_id[inside] + 1).astype(np.uint8), labels["classes"], (x, y))
        if labels["nuclei"].any():
            yield (x, y), labels


def _rings(grid: _Grid, number: int) -> tuple[Floats, Ints, NDArray[np.int16]]:
    """Outlines of a row group in label px, and their classes."""
    with opened(grid.result.table) as parquet:
        rows = parquet.read_row_group(number, columns=["class_id", "geometry"])
    xy, start = rings(shapes_px(rows, grid.result))
    return xy / grid.step, start, rows["class_id"].to_numpy()


def _within(xy: Floats, start: Ints, box: tuple[int, int, int, int]) -> Ints:
    """Which rings reach into a box."""
    if len(start) == 1:
        return np.empty(0, np.int64)
    low = np.minimum.reduceat(xy, start[:-1])
    high = np.maximum.reduceat(xy, start[:-1])
    meets = (low < box[2:]).all(axis=1) & (high > box[:2]).all(axis=1)
    return np.flatnonzero(meets)


def _taken(xy: Floats, start: Ints, index: Ints) -> tuple[Floats, Ints]:
    """Some of the rings."""
    count = np.diff(start)[index]
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
    vertex = np.arange(begin[-1]) + np.repeat(start[index] - begin[:-1], count)
    return xy[vertex], begin


def _halve(finer: Any, coarser: Any) -> None:
    """Every second px of every second row, a shard at a time."""
    height, width = coarser.shape
    edge = coarser.shards[0]
    for y in range(0, height, edge):
        for x in range(0, width, edge):
            part = finer[2 * y : 2 * (y + edge) : 2, 2 * x : 2 * (x + edge) : 2]
            if part.any():
                coarser[y : y + part.shape[0], x : x + part.shape[1]] = part


def _multiscales(
    name: str, axes: str, um_per_px: tuple[float, float], levels: int, by: str
) -> dict[str, Any]:
    kinds = {
        "c": {"name": "c", "type": "channel"},
        "y": {"name": "y", "type": "space", "unit": "micrometer"},
        "x": {"name": "x", "type": "space", "unit": "micrometer"},
    }
    datasets = []
    for level in range(levels):
        x, y = (um * 2**level for um in um_per_px)
        flat = len(axes) - 2
        # NGFF places the centre of px (0, 0); ours is the corner of the slide.
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0] * flat + [y, x]},
                    {"type": "translation", "translation": [0.0] * flat + [y / 2, x / 2]},
                ],
            }
        )
    listed = {"name": name, "axes": [kinds[a] for a in axes], "datasets": datasets, "type": by}
    return {"version": "0.5", "multiscales": [listed]}
