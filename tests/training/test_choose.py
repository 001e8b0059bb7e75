"""Constants are chosen by the decoder and the scores that will be used."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from wsiproc.card import Card, MaskPost, NucleusClass, PointsPost
from wsiproc.slide._drawn import draw_image
from wsiproc.training.choose import Judged, choose, measure
from wsiproc.training.labels import centre_map, foreground


def card(post: MaskPost | PointsPost) -> Card:
    return Card(
        name="x",
        method="x",
        kind=post.kind,
        mpp=0.5,
        step=8,
        windows=(256,),
        margin=8,
        largest_nucleus_um=25,
        classes=(NucleusClass(name="nucleus", color=(0, 0, 0)),),
        post=post,
        local=True,
    )


@pytest.fixture(scope="module")
def ideal() -> list[Judged]:
    """What a perfect network would say, made less bold: 0.1 outside, 0.7 inside."""
    _, labels = draw_image(192, 192, seed=3, mpp=0.5)
    maps = {
        "prob": (0.1 + 0.6 * foreground(labels))[None].astype(np.float32),
        "centre": centre_map(labels)[None],
    }
    return [Judged(maps, 0.5, labels)]


POST = MaskPost(threshold=0.4, seed_threshold=0.5, levels=(0.6, 0.3), chosen_on="x val")


def test_perfect_maps_score_nearly_one(ideal: list[Judged]) -> None:
    scores = measure(card(POST), ideal)
    assert scores["f1"] > 0.97
    assert scores["aji"] > 0.9
    assert scores["dice"] > 0.97


def test_a_finer_annotation_is_scored_on_its_own_pixels(ideal: list[Judged]) -> None:
    (image,) = ideal
    finer = Judged(image.maps, 0.25, np.kron(image.true, np.ones((2, 2), np.int32)))
    assert measure(card(POST), [finer])["aji"] > 0.9


def test_a_threshold_that_finds_nothing_is_left(ideal: list[Judged]) -> None:
    wrong = card(POST.model_copy(update={"threshold": 0.9}))
    assert measure(wrong, ideal)["f1"] == 0
    best, scores = choose(wrong, ideal, {"threshold": (0.8, 0.5, 0.3)}, by=("aji", "f1"))
    assert isinstance(best.post, MaskPost)
    assert best.post.threshold in (0.3, 0.5)
    assert scores["f1"] > 0.97
    assert best.post.chosen_on == "x val"


def test_what_is_already_best_stays(ideal: list[Judged]) -> None:
    given = card(POST)
    best, scores = choose(given, ideal, {"threshold": (0.4, 0.95)}, by=("aji",))
    assert best == given
    assert scores == measure(given, ideal)


def test_points_are_judged_by_detection_alone(ideal: list[Judged]) -> None:
    labels = ideal[0].true
    xy = np.array(ndimage.center_of_mass(labels > 0, labels, np.unique(labels)[1:]))[:, ::-1] + 0.5
    peaks = Judged({"prob": ideal[0].maps["centre"]}, 0.5, xy)
    scores = measure(card(PointsPost(threshold=0.5, radius_um=2.0, chosen_on="x")), [peaks])
    assert set(scores) == {"f1", "precision", "recall"}
    assert scores["f1"] > 0.95
