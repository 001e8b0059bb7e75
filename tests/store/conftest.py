"""Nuclei, a card and a slide to store."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pytest

from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.geometry import Frame
from wsiproc.nuclei import Nuclei
from wsiproc.store.schema import Provenance

CLASSES = (
    NucleusClass(name="tumour", color=(200, 0, 0)),
    NucleusClass(name="Lympho", color=(0, 0, 200)),
)


@dataclass(frozen=True)
class Kept:
    """A part that is in memory."""

    nuclei: Nuclei

    def load(self) -> Nuclei:
        return self.nuclei


def squares(n: int, seed: int = 0, *, polygons: bool = True) -> Nuclei:
    """Nuclei of a few px: half of them tilted, all of them apart, one in four places taken."""
    rng = np.random.default_rng(seed)
    side = 2 * math.isqrt(n) + 2
    place = rng.choice(side * side, n, replace=False)
    x, y = place % side * 20 + 9, place // side * 20 + 9
    size = rng.integers(2, 8, n)[:, None]
    tilted = rng.integers(0, 2, n).astype(bool)[:, None]
    ring_x = x[:, None] + np.where(tilted, size * [0, 1, 0, -1], size * [-1, 1, 1, -1])
    ring_y = y[:, None] + np.where(tilted, size * [-1, 0, 1, 0], size * [-1, -1, 1, 1])
    return Nuclei(
        ref_x=x,
        ref_y=y,
        x=x + 0.3,
        y=y + 0.1,
        class_id=rng.integers(0, 2, n).astype(np.int16),
        score=rng.uniform(0, 1, n).astype(np.float32),
        cut=np.zeros(n, np.bool_),
        ring=np.column_stack([ring_x.ravel(), ring_y.ravel()]).astype(np.float64)
        if polygons
        else None,
        ring_start=4 * np.arange(n + 1) if polygons else None,
    )


class Draw(Protocol):
    def __call__(self, n: int, seed: int = 0, *, polygons: bool = True) -> Nuclei: ...


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Draws `n` nuclei."""
    return squares


@pytest.fixture(scope="session")
def kept() -> Callable[[Nuclei], Kept]:
    """Makes a part of nuclei."""
    return Kept


@pytest.fixture(scope="session")
def frame() -> Frame:
    return Frame.covering((40_000, 40_000), (0.2527, 0.2526), (1.0, 1.0))


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    return Provenance("S-1", "0" * 64, (40_000, 40_000), "file", (12, 0), "1" * 64, "2" * 64)


@pytest.fixture(scope="session")
def card() -> Card:
    return Card(
        name="test",
        method="unet",
        kind="mask",
        mpp=0.25,
        step=16,
        windows=(256,),
        margin=48,
        largest_nucleus_um=30,
        classes=CLASSES,
        post=MaskPost(threshold=0.5, chosen_on="nothing"),
        local=True,
    )


@pytest.fixture(scope="session")
def point_card(card: Card) -> Card:
    post = PointsPost(threshold=0.5, radius_um=4, chosen_on="nothing")
    return card.model_copy(update={"kind": "points", "post": post})
