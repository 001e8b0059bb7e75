"""The constants of post-processing, chosen on val by the decoder that will use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.decode import decode
from wsiproc.evaluate import box_centres, rasterised
from wsiproc.geometry import Box
from wsiproc.metrics import detection, instances, mean_over_images, pixels
from wsiproc.nuclei import Nuclei

RADIUS_UM = 3.0
"""Within this distance a nucleus counts as detected."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What a network said of one image, and what is true of it.

    Parameters
    ----------
    maps
        ``[C, h, w]`` float32 each, over the whole image at the card's mpp.
    mpp
        µm per px of the annotation.
    true
        ``[H, W]`` int32 label map, or ``[n, 2]`` float64 points, in px of the annotation.
    """

    maps: Mapping[str, NDArray[np.float32]]
    mpp: float
    true: NDArray[np.int32] | NDArray[np.float64]

    def nuclei(self, card: Card) -> Nuclei:
        """Decoded with the constants of `card`, in px of the image at its mpp."""
        height, width = next(iter(self.maps.values())).shape[1:]
        box = Box(0, 0, width * card.stride, height * card.stride)
        return decode(card, self.maps, box, box)


class Decodable(Protocol):
    """What `choose` has to know of an image; see `Judged`, which is one."""

    @property
    def mpp(self) -> float: ...
    @property
    def true(self) -> NDArray[np.int32] | NDArray[np.float64]: ...
    def nuclei(self, card: Card) -> Nuclei: ...


def measure(card: Card, images: Sequence[Decodable]) -> dict[str, float]:
    """Scores of `card`'s post-processing, as ``wsiproc evaluate`` defines them.

    Returns
    -------
    dict
        ``f1``, ``precision`` and ``recall`` of detection, pooled over images; for outlines also
        ``aji``, ``aji_plus``, ``pq``, ``object_dice`` (means of images) and ``dice`` (pooled).
    """
    points, outlines, masks = [], [], []
    for image in images:
        found = image.nuclei(card)
        scale = card.mpp / image.mpp
        xy = np.column_stack([found.x, found.y]) * scale
        is_map = image.true.dtype.kind in "iu"
        true_xy = box_centres(image.true.astype(np.int32)) if is_map else image.true
        points.append(detection(true_xy, xy, RADIUS_UM / image.mpp))
        if is_map and found.polygons:
            true = image.true.astype(np.int32)
            predicted = rasterised(polygons(found, scale), found.score, true.shape)
            outlines.append(instances(true, predicted).scores())
            masks.append(pixels(true, predicted))
    pooled = reduce(add, points)
    scores = {"f1": pooled.f1, "precision": pooled.precision, "recall": pooled.recall}
    if outlines:
        for name in ("aji", "aji_plus", "pq", "object_dice"):
            scores[name] = mean_over_images([each[name] for each in outlines])
        scores["dice"] = reduce(add, masks).dice
    return scores


def choose(
    card: Card,
    images: Sequence[Decodable],
    choices: Mapping[str, Sequence[Any]],
    *,
    by: Sequence[str],
    rounds: int = 2,
) -> tuple[Card, dict[str, float]]:
    """The card with the post-processing whose mean of the scores `by` is best.

    One constant after the other is tried at all its `choices` while the others stay, `rounds`
    times over; the scores are smooth enough for that, and a full grid would take a hundred times
    as long.

    Returns
    -------
    The card, and its scores.
    """
    best, scores = card, measure(card, images)
    for _ in range(rounds):
        before = best
        for name, values in choices.items():
            for value in values:
                if value == getattr(best.post, name):
                    continue
                candidate = with_post(best, {name: value})
                measured = measure(candidate, images)
                if _mean(measured, by) > _mean(scores, by):
                    best, scores = candidate, measured
        if best == before:
            break
    return best, scores


def with_post(card: Card, changes: Mapping[str, Any]) -> Card:
    """The card with some constants of its post-processing changed."""
    fields = card.model_dump()
    return Card.model_validate({**fields, "post": {**fields["post"], **changes}})


def _mean(scores: Mapping[str, float], by: Sequence[str]) -> float:
    return float(np.nan_to_num(np.mean([scores[name] for name in by]), nan=-1.0))


def polygons(found: Nuclei, scale: float) -> NDArray[np.object_]:
    """The outlines, enlarged by `scale`."""
    assert found.ring is not None
    assert found.ring_start is not None
    rings = [found.ring[a:b] * scale for a, b in pairwise(found.ring_start)]
    return np.array([shapely.Polygon(ring) for ring in rings], dtype=object)
