"""The numbers of a result: of all nuclei, and of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsiproc.card import NucleusClass
from wsiproc.density import DensityGrid
from wsiproc.results.stored import StoredResult, tables

Floats = NDArray[np.float32]

SHAPES: Final = ("area_um2", "major_um", "solidity", "eccentricity")
"""Columns that outlines have beside the score."""


@dataclass(frozen=True, slots=True, eq=False)
class Nuclei:
    """A result's nuclei as columns, without their outlines: some 40 bytes each.

    Parameters
    ----------
    x, y
        ``[n]`` float32, µm.
    class_id
        ``[n]`` int16.
    columns
        ``[n]`` float32 of each measure, by name.
    nearest
        ``[n]`` float32, from each centroid to the next one, µm; inf of a nucleus alone.
    density
        All of them on a grid.
    """

    x: Floats
    y: Floats
    class_id: NDArray[np.int16]
    columns: dict[str, Floats]
    nearest: Floats
    density: DensityGrid

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Quartiles:
    """A quarter of the values lies below `low`, half below `middle`, a quarter above `high`."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Quartiles | None:
        """Of the finite ones; None where there are none."""
        there = values[np.isfinite(values)]
        if not len(there):
            return None
        low, middle, high = (float(v) for v in np.percentile(there, (25, 50, 75)))
        return cls(low, middle, high)


@dataclass(frozen=True, slots=True)
class ClassNumbers:
    """One class in numbers.

    Parameters
    ----------
    about
        Name and colour.
    class_id
        As in the files.
    nuclei
        How many.
    share
        Of all nuclei, 0 to 1.
    per_mm2
        Of the tissue that was searched; None where that is nothing.
    area, long_axis, score
        µm², µm, and 0 to 1; None without outlines, or without nuclei.
    """

    about: NucleusClass
    class_id: int
    nuclei: int
    share: float
    per_mm2: float | None
    area: Quartiles | None
    long_axis: Quartiles | None
    score: Quartiles | None


def read_nuclei(result: StoredResult) -> Nuclei:
    """Columns of all nuclei, read a row group at a time.

    Raises
    ------
    StoreError
        If the file cannot be read.
    """
    names = ("score", *(SHAPES if result.outlined else ()))
    n = result.nuclei
    x, y = np.empty(n, np.float32), np.empty(n, np.float32)
    class_id = np.empty(n, np.int16)
    columns = {name: np.empty(n, np.float32) for name in names}
    density = DensityGrid.over(*result.size_um)
    first = 0
    for table in tables(result.table, columns=["x_um", "y_um", "class_id", *names]):
        rows = slice(first, first + len(table))
        at = [table[name].to_numpy() for name in ("x_um", "y_um")]
        x[rows], y[rows] = at
        class_id[rows] = table["class_id"].to_numpy()
        for name in names:
            columns[name][rows] = table[name].to_numpy()
        density.add(at[0], at[1])
        first += len(table)
    return Nuclei(x, y, class_id, columns, _nearest(x, y), density)


def by_class(
    nuclei: Nuclei, classes: Sequence[NucleusClass], mm2: float
) -> tuple[ClassNumbers, ...]:
    """Each class in numbers, those without nuclei too.

    Parameters
    ----------
    mm2
        Tissue that was searched.
    """
    found = []
    for class_id, about in enumerate(classes):
        mine = nuclei.class_id == class_id
        count = int(mine.sum())
        quartiles = {
            name: Quartiles.of(nuclei.columns[name][mine]) if name in nuclei.columns else None
            for name in ("area_um2", "major_um", "score")
        }
        found.append(
            ClassNumbers(
                about,
                class_id,
                count,
                count / len(nuclei) if len(nuclei) else 0.0,
                count / mm2 if mm2 > 0 else None,
                quartiles["area_um2"],
                quartiles["major_um"],
                quartiles["score"],
            )
        )
    return tuple(found)


def _nearest(x: Floats, y: Floats) -> Floats:
    points = np.column_stack([x, y])
    if len(points) < 2:
        return np.full(len(points), np.inf, np.float32)
    return np.asarray(cKDTree(points).query(points, k=2)[0][:, 1], np.float32)
