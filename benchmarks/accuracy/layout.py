"""What a table of RESULTS.md, a method's section and a gain are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Column = tuple[str, str, str]
"""Head, part of the JSON's scores, and key in it."""

PIXELS: tuple[Column, ...] = (
    ("PA", "pixels", "pa"),
    ("MPA", "pixels", "mpa"),
    ("IoU", "pixels", "iou"),
    ("FWIoU", "pixels", "fwiou"),
    ("Dice", "pixels", "dice"),
    ("AJI", "instances", "aji"),
    ("F1", "detection", "f1"),
)
POINTS_3UM: tuple[Column, ...] = (
    ("P", "detection", "precision"),
    ("R", "detection", "recall"),
    ("F", "detection", "f1"),
)
POINTS_AS_PRINTED: tuple[Column, ...] = (
    ("P", "detection_as_printed", "precision"),
    ("R", "detection_as_printed", "recall"),
    ("F", "detection_as_printed", "f1"),
    ("F at 3 µm", "detection", "f1"),
)
OUTLINES: tuple[Column, ...] = (
    ("PA", "pixels", "pa"),
    ("Dice", "pixels", "dice"),
    ("object Dice", "instances", "object_dice"),
    ("AJI", "instances", "aji"),
    ("F1 at 3 µm", "detection", "f1"),
)


@dataclass(frozen=True)
class Table:
    """A table of a method's section.

    Parameters
    ----------
    dataset
        Whose val split its numbers are of.
    title
        What stands above it.
    kind
        Of the model that is scored: ``mask`` or ``points``; a run's only model stands for both.
    rows
        Its lines, in order; those without a JSON are left out.
    columns
        What is shown.
    paper
        By row, what the paper says of the first columns; None where it says nothing.
    titles
        By row, where it is called otherwise than in `rows.ROWS`.
    """

    dataset: str
    title: str
    kind: str
    rows: Sequence[str]
    columns: Sequence[Column]
    paper: Mapping[str, Sequence[float | None]]
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A method: its paper, what differs from it here, and its tables."""

    method: str
    paper: str
    differs: str
    tables: Sequence[Table]


@dataclass(frozen=True)
class Gain:
    """What a row is better by than its baseline, in the model of that kind."""

    title: str
    dataset: str
    row: str
    baseline: str
    kind: str
    column: Column
    paper: float | None = None
