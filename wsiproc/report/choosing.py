"""Which nuclei a report shows: some at random, and those at the ends of each scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.card import NucleusClass
from wsiproc.report.measures import Nuclei
from wsiproc.results.stored import StoredResult, opened, row_groups

EACH: Final = 10
"""Nuclei of a gallery: a row of a page."""
MOST_CLASSES: Final = 8
_SEED: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One nucleus to show.

    Parameters
    ----------
    nucleus_id
        As in the files.
    x, y
        Centroid, µm.
    outline
        In µm; None of points.
    color
        Of its class.
    said
        What stands below it.
    """

    nucleus_id: int
    x: float
    y: float
    outline: shapely.Polygon | None
    color: tuple[int, int, int]
    said: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Nuclei that are shown together.

    Parameters
    ----------
    title
        What they have in common.
    says
        How they were chosen.
    nuclei
        In the order in which they are shown.
    """

    title: str
    says: str
    nuclei: tuple[Shown, ...]

    @property
    def field_um(self) -> float:
        """Edge of the square around each: 24 µm, or what the largest needs; a multiple of 8."""
        edges = [max(_edges(each.outline)) for each in self.nuclei if each.outline is not None]
        return float(np.clip(8 * np.ceil(1.5 * max(edges, default=0) / 8), 24, 240))


def choose(result: StoredResult, nuclei: Nuclei) -> tuple[Gallery, ...]:
    """The galleries of a result; the same ones each time it is asked.

    At random: of each class, drawn with a fixed seed.  Largest, smallest, least certain: of all
    nuclei.  Outlines are read from the row groups that they lie in.

    Raises
    ------
    StoreError
        If the file cannot be read.
    """
    if not len(nuclei):
        return ()
    wanted = [*_at_random(nuclei, result.classes), *_extremes(nuclei)]
    rows = np.unique(np.concatenate([rows for _, _, rows, _ in wanted]))
    found = _read(result, nuclei, rows)
    galleries = []
    for title, says, chosen, what in wanted:
        shown = (replace(found[row], said=_value(nuclei, row, what)) for row in chosen.tolist())
        galleries.append(Gallery(title, says, tuple(shown)))
    return tuple(galleries)


_Wanted = tuple[str, str, NDArray[np.int64], str]
"""Title, how it was chosen, rows, and the column that is told."""


def _at_random(nuclei: Nuclei, classes: Sequence[NucleusClass]) -> list[_Wanted]:
    what = "area_um2" if "area_um2" in nuclei.columns else "score"
    counts = np.bincount(nuclei.class_id, minlength=len(classes))
    found: list[_Wanted] = []
    for class_id in np.sort(np.argsort(-counts, kind="stable")[:MOST_CLASSES]):
        rows = np.flatnonzero(nuclei.class_id == class_id)
        if not len(rows):
            continue
        # Two rows where there is but one class to fill them.
        many = min(len(rows), EACH if (counts > 0).sum() > 1 else 2 * EACH)
        some = np.random.default_rng((_SEED, int(class_id))).choice(rows, many, replace=False)
        title = f"{classes[class_id].name}, at random"
        found.append((title, f"{many} of {len(rows):,}", some, what))
    return found


def _extremes(nuclei: Nuclei) -> list[_Wanted]:
    found: list[_Wanted] = []
    if "area_um2" in nuclei.columns:
        area = nuclei.columns["area_um2"]
        found.append(("Largest", "by area, of all", _first(-area), "area_um2"))
        found.append(("Smallest", "by area, of all", _first(area), "area_um2"))
    score = nuclei.columns["score"]
    found.append(("Least certain", "lowest scores, of all", _first(score), "score"))
    return found


def _first(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows of the smallest values, rising; of equal ones the earlier rows."""
    return np.argsort(values, kind="stable")[:EACH].astype(np.int64)


def _value(nuclei: Nuclei, row: int, what: str) -> str:
    value = float(nuclei.columns[what][row])
    return f"{value:.0f} µm²" if what == "area_um2" else f"{value:.2f}"


def _read(result: StoredResult, nuclei: Nuclei, rows: NDArray[np.int64]) -> dict[int, Shown]:
    """The nuclei at `rows` (rising)."""
    found: dict[int, Shown] = {}
    columns = ["nucleus_id", "x_um", "y_um", *(["geometry"] if result.outlined else [])]
    colors = [about.color for about in result.classes]
    with opened(result.table) as file:
        for group in row_groups(result.table):
            mine = rows[(rows >= group.first) & (rows < group.first + group.rows)]
            if not len(mine):
                continue
            table = file.read_row_group(group.number, columns=columns).take(mine - group.first)
            for row, facts in zip(mine.tolist(), table.to_pylist(), strict=True):
                wkb = facts.get("geometry")
                outline = None if wkb is None else shapely.from_wkb(wkb)
                color = colors[int(nuclei.class_id[row])]
                found[row] = Shown(
                    facts["nucleus_id"], facts["x_um"], facts["y_um"], outline, color, ""
                )
    return found


def _edges(outline: shapely.Polygon) -> tuple[float, float]:
    left, top, right, below = outline.bounds
    return right - left, below - top
