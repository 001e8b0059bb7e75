"""What a segmenter has to do for the rounds, whichever network it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from wsiproc.card import Card
from wsiproc.evaluate import rasterised
from wsiproc.methods import TrainingInputs
from wsiproc.nuclei import Nuclei
from wsiproc.training.choose import polygons
from wsiproc.training.fields import Field
from wsiproc.training.loop import Stage
from wsiproc.training.settings import Schedule
from wsiproc_label_efficient.images import Bytes, Labels, Learnt

BY = ("aji", "f1")
"""The scores whose mean chooses constants and rounds on the val split."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a segmenter says of an image.

    Parameters
    ----------
    nuclei
        With outlines, px of the image.
    prob
        ``[h, w]`` float32, that a pixel is nuclear; None from a network that does not say.
    """

    nuclei: Nuclei
    prob: NDArray[np.float32] | None

    def labels(self, shape: tuple[int, int]) -> Labels:
        """``[h, w]``: nucleus i of `nuclei` is i + 1."""
        if not len(self.nuclei):
            return np.zeros(shape, np.int32)
        return rasterised(polygons(self.nuclei, 1.0), self.nuclei.score, shape)


class Segmenter(Protocol):
    """A network that outlines nuclei: how it begins, learns, is asked, and becomes a file."""

    @property
    def schedule(self) -> Schedule:
        """Of the first training."""

    @property
    def synthetic_share(self) -> float:
        """Part of the crops that are from synthetic pairs."""

    def network(self) -> nn.Module:
        """One that has learnt nothing."""

    def about(self, net: nn.Module, chosen_on: str) -> dict[str, Any]:
        """What its card says of the network: kind, mpp, windows, post-processing to begin with."""

    def stage(self, name: str, learnt: Learnt, seen: Sequence[Field], card: Card) -> Stage:
        """What it learns, and how it is measured on `seen` meanwhile."""

    def chosen(
        self, net: nn.Module, card: Card, check: Sequence[Field]
    ) -> tuple[Card, dict[str, float]]:
        """The card with the constants that are best on val, and its scores."""

    def said(self, net: nn.Module, card: Card, pixels: Bytes) -> Said:
        """What it says of an image ``[h, w, 3]``, past whose edges it sees the mirror image."""

    def deliver(
        self, net: nn.Module, card: Card, check: Sequence[Field], inputs: TrainingInputs
    ) -> Path:
        """Write and prove the file, with the constants that `card` has."""
