"""The rows of RESULTS.md: which there are, and in which order they are worth running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from row import Row, Run
from rows_outlines import EXEMPLAR, LABEL_EFFICIENT
from rows_points import LABELLED, LAIR, MCF, POINTS

__all__ = ["ROWS", "SAME_PATIENTS", "SHARED", "UNLABELLED", "Row", "Run", "plan", "run_named"]

ROWS: Mapping[str, Row] = {
    **MCF,
    **LAIR,
    **POINTS,
    **EXEMPLAR,
    **LABEL_EFFICIENT,
    "unet": Row("`unet`, all masks", "unet", model={"tnbc": "unet"}),
    "unet-shipped": Row("`unet` as it ships, of other data", "unet", model={"kumar": "unet"}),
}
"""All of them; `unet` is the supervised line above the others, on `tnbc` the one that ships."""

_DETECTED = ("detect-*/*.pt", "detect-*/*.npz", "points.npz")
SHARED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{f"lair-{n}": (f"supervised-{n}", ("pretrain.pt",)) for n in LABELLED},
    **{
        row: ("supervised-5", ("pretrain.pt",))
        for row in LAIR
        if row.startswith(("lair-5-", "self-training-5", "mean-teacher-5"))
    },
    **{f"points-10-{label}": ("points-10", _DETECTED) for label in ("voronoi", "cluster")},
    "points-10-no-crf": ("points-10", (*_DETECTED, "segment/segment.pt")),
    "pairs": ("patches", ("select/**/*",)),
    "pairs-singan": ("patches", ("select/**/*",)),
    "rounds": ("pairs", ("select/**/*", "synthesis/**/*", "round-0/*")),
}
"""Rows that begin with the stages of another one, on the same data with the same seed: which, and
the files that these leave.  Where they are they are taken over instead of made again, bit for bit
the same; the seconds they took count."""

UNLABELLED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("tnbc", "mcf"): ("brca_m2c", "dsb_stained"),
}
"""By data set and method, the sets that ``make accuracy`` adds without their labels."""

SAME_PATIENTS: Mapping[str, str] = {"kumar": "brca_m2c", "brca_m2c": "kumar"}
"""Two patients are in both: who saw one set is not scored on the other."""


_FIRST_OF_PATCHES = ("patches-random", "patches", "pairs", "rounds", "all-outlines")


def plan() -> Iterator[Run]:
    """All runs of ``make accuracy``; what the table is there for comes first."""
    for seed in range(3):
        yield Run("crchisto", "supervised-5", seed)
        yield Run("crchisto", "lair-5", seed)
        yield Run("kumar", "points-10", seed)
        yield Run("kumar", "points-10-extended", seed)
        yield Run("tnbc", "mcf", seed)
        yield Run("kumar", "mcf", seed)
    for dataset in ("tnbc", "kumar"):
        yield Run(dataset, "unet")
    yield Run("kumar", "unet-shipped")
    for name in ("no-crf", "voronoi", "cluster", "gaussian", "positives", "full"):
        yield Run("kumar", f"points-10-{name}")
    for number in LABELLED[1:]:
        yield Run("crchisto", f"supervised-{number}")
        yield Run("crchisto", f"lair-{number}")
    for fraction in (5, 25, 50, 100):
        yield Run("kumar", f"points-{fraction}")
    done = {
        "lair-5",
        "supervised-5",
        *(f"{way}-{n}" for way in ("lair", "supervised") for n in LABELLED),
    }
    yield from _outlined()
    yield from (Run("crchisto", row) for row in LAIR if row not in done)
    for seed in range(3):
        yield from (Run(dataset, "no-seg", seed) for dataset in ("tnbc", "kumar"))
    for dataset in ("tnbc", "kumar"):
        yield from (Run(dataset, row) for row in MCF if row not in ("mcf", "no-seg"))


def _outlined() -> Iterator[Run]:
    """Those that learn from outlines."""
    for dataset in ("tnbc", "kumar"):
        yield from (Run(dataset, row) for row in EXEMPLAR)
        yield from (Run(dataset, row) for row in _FIRST_OF_PATCHES)
    yield from (Run("dsb_dapi", row) for row in EXEMPLAR)
    for dataset in ("tnbc", "kumar"):
        yield from (Run(dataset, row) for row in LABEL_EFFICIENT if row not in _FIRST_OF_PATCHES)
    for seed in (1, 2):
        for dataset in ("tnbc", "kumar"):
            yield from (Run(dataset, row, seed) for row in ("exemplar-25-base", "exemplar-25"))
            yield from (Run(dataset, row, seed) for row in ("patches-random", "patches"))


def run_named(name: str) -> Run:
    """The run that `Run.name` names.

    Raises
    ------
    ValueError
        If it is none, or there is no such row.
    """
    dataset, _, rest = name.partition("-")
    row, _, seed = rest.rpartition("-")
    if row not in ROWS or not seed.isdecimal():
        raise ValueError(f"{name!r} is no DATASET-ROW-SEED; rows: {', '.join(ROWS)}")
    return Run(dataset, row, int(seed))
