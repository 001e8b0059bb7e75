"""A network that names nuclei, drawn: what it says of a nucleus depends on the window it is in."""

from __future__ import annotations

import numpy as np

from wsiproc.decode import views_of
from wsiproc.geometry import Box
from wsiproc.tiling import Window

CELLS = 12
"""Edge of its masks."""


def discs(edge: int, rng, n: int, largest: float) -> np.ndarray:
    """``[n, 4]``: x, y, radius and certainty of nuclei on a square of `edge` px; many overlap."""
    return np.column_stack(
        [
            rng.uniform(0, edge, n),
            rng.uniform(0, edge, n),
            rng.uniform(2, largest / 2, n),
            np.round(rng.uniform(0.4, 1, n), 1),
        ]
    )


def lattice(card, window: int, slide: Box) -> list[Window]:
    """All windows of the slide."""
    valid = window - 2 * card.margin
    boxes = [
        Box.of_size(x, y, valid, valid)
        for y in range(0, slide.y1, valid)
        for x in range(0, slide.x1, valid)
    ]
    return [Window(box.grown(card.margin), box) for box in boxes]


def said_of(card, window: Window, nuclei: np.ndarray):
    """Outputs for one window: each nucleus that it sees, moved, resized and doubted as a number
    made of window and nucleus has it; some twice, and some not at all."""
    read = window.read
    rng = np.random.default_rng([read.x0 + 10**6, read.y0 + 10**6])
    shape = (len(nuclei), 4)
    moved, chance = rng.normal(0, 0.6, shape), rng.random(len(nuclei))
    near = (
        (nuclei[:, 0] > read.x0)
        & (nuclei[:, 0] < read.x1)
        & (nuclei[:, 1] > read.y0)
        & (nuclei[:, 1] < read.y1)
        & (chance > 0.1)
    )
    twice = np.concatenate([np.flatnonzero(near), np.flatnonzero(near & (chance > 0.9))])
    x, y, radius, score = nuclei[twice].T
    centre = np.column_stack([x - read.x0, y - read.y0])
    boxes = np.concatenate([centre - radius[:, None], centre + radius[:, None]], axis=1)
    at = (np.arange(CELLS) + 0.5) / CELLS * 2 - 1
    mask = np.clip(1.5 - np.hypot(*np.meshgrid(at, at)), 0, 1).astype(np.float32)
    return {
        "boxes": (boxes + moved[twice]).astype(np.float32),
        "scores": (score - 0.2 * np.round(chance[twice], 1)).astype(np.float32),
        "labels": (twice % len(card.classes)).astype(np.float32),
        "tile": np.zeros(len(twice), np.float32),
        "masks": np.repeat(mask[None, None], len(twice), axis=0),
    }


def views_in(card, windows: list[Window], nuclei: np.ndarray):
    """The views of each window, window by window."""
    return [views_of(card, said_of(card, window, nuclei), [window]) for window in windows]
