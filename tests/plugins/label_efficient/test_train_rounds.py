"""Crops and pseudo-labels: the unknown stays unknown, and no annotation is predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from wsiproc.datasets import read_dataset
from wsiproc.nuclei import Nuclei
from wsiproc.slide._drawn import draw_image
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.fields import Field, read_field
from wsiproc.training.labels import IGNORE
from wsiproc.training.settings import RIGHT_ANGLES, Schedule
from wsiproc_label_efficient.config import LabelEfficientConfig
from wsiproc_label_efficient.images import (
    UNKNOWN,
    Image,
    cells,
    draw_cuts,
    labelled,
    mixed,
    read_image,
)
from wsiproc_label_efficient.pseudo import Pool, certain, drawn_patches, pool_of
from wsiproc_label_efficient.rounds import shortened
from wsiproc_label_efficient.segmenter_config import RoundsConfig
from wsiproc_label_efficient.segmenting import Said


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> tuple[Field, ...]:
    folder = drawn_dataset(tmp_path_factory.mktemp("d") / "drawn", train=2, val=1, mpp=0.25)
    return tuple(read_field(s, 0.25, 0.5, True) for s in read_dataset(folder).split("train"))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(8, 200))
def test_cells_are_of_about_one_size_and_cover_an_image_once(
    height: int, width: int, edge: float
) -> None:
    seen = np.zeros((height, width), int)
    for cell in cells((height, width), edge):
        seen[cell] += 1
        for part, length in zip(seen[cell].shape, (height, width), strict=True):
            assert part >= min(length, edge / 1.5 - 1)
            assert part <= max(1.5 * edge, edge + 1) + 1
    assert (seen == 1).all()


def _said(scores: list[float], prob: np.ndarray) -> Said:
    """Squares of 6 px on the diagonal, 10 px apart."""
    rings, n = [], len(scores)
    for i in range(n):
        a, b = 10.0 * i + 2, 10.0 * i + 8
        rings.append([[a, a], [b, a], [b, b], [a, b], [a, a]])
    at = np.arange(n)
    return Said(
        Nuclei(
            ref_x=10 * at + 2,
            ref_y=10 * at + 2,
            x=10.0 * at + 5,
            y=10.0 * at + 5,
            class_id=np.zeros(n, np.int16),
            score=np.array(scores, np.float32),
            cut=np.zeros(n, bool),
            ring=np.array(rings).reshape(-1, 2),
            ring_start=np.arange(0, 5 * n + 1, 5),
        ),
        prob,
    )


def test_nuclei_of_low_scores_and_pixels_in_doubt_are_unknown(fields: tuple[Field, ...]) -> None:
    prob = np.full((40, 40), 0.1, np.float32)
    prob[2:8, 2:8] = 0.9
    prob[30:, :10] = 0.45
    pool = Pool(fields[0], np.zeros((40, 40), bool))
    labels = certain(_said([0.9, 0.6, 0.8], prob), pool, RoundsConfig())
    assert (labels[2:8, 2:8] == 1).all()
    assert (labels[12:18, 12:18] == UNKNOWN).all()
    assert (labels[22:28, 22:28] == 3).all()
    assert (labels[30:, :10] == UNKNOWN).all()
    assert (labels == 0).sum() == 40 * 40 - 3 * 36 - 100
    asked = RoundsConfig(keep_above=0.5, background_below=1.0)
    assert (certain(_said([0.9, 0.6, 0.8], prob), pool, asked) >= 0).all()


def test_what_is_annotated_is_never_pseudo_labelled(fields: tuple[Field, ...]) -> None:
    pool = pool_of(fields[0], [(slice(20, 60), slice(10, 71))])
    assert pool.annotated[10:30, 5:36].all()
    assert pool.annotated.sum() == 20 * 31
    shape = pool.annotated.shape
    labels = certain(_said([0.9, 0.9], np.zeros(shape, np.float32)), pool, RoundsConfig())
    assert (labels[pool.annotated] == UNKNOWN).all()
    assert (labels[~pool.annotated] != UNKNOWN).all()


def test_a_prediction_without_nuclei_or_probabilities_is_background(
    fields: tuple[Field, ...],
) -> None:
    pool = pool_of(fields[0], [])
    nothing = Said(Nuclei.none(polygons=True), None)
    assert (certain(nothing, pool, RoundsConfig()) == 0).all()


def test_patches_to_predict_are_mostly_unlabelled_and_drawn_by_seed(
    fields: tuple[Field, ...],
) -> None:
    pool = [pool_of(fields[0], [(slice(0, 128), slice(0, 128))]), pool_of(fields[1], [])]
    config = LabelEfficientConfig.model_validate(
        {"select": {"size_um": 32.0}, "rounds": {"patches": 100}}
    )
    drawn = drawn_patches(pool, config, np.random.default_rng(0))
    assert len(drawn) == 3 + 4
    assert all(home.annotated[patch].mean() <= 0.5 for home, patch in drawn)
    few = LabelEfficientConfig.model_validate(
        {"select": {"size_um": 32.0}, "rounds": {"patches": 3}}
    )
    picks = [
        [(pool.index(home), patch) for home, patch in drawn_patches(pool, few, rng)]
        for rng in map(np.random.default_rng, (1, 1, 2))
    ]
    assert len(picks[0]) == 3
    assert picks[0] == picks[1]
    assert picks[0] != picks[2]


def _filled(value: int, size: int = 24) -> Image:
    """A grey image that is one nucleus' inside."""
    pixels = np.full((size, size, 3), 10 * value, np.uint8)
    return labelled(pixels, np.full((size, size), value, np.int32))


def test_each_group_has_its_share_of_the_crops() -> None:
    learnt = mixed([_filled(1)], [_filled(2)], [_filled(3)], synthetic_share=0.25, pseudo_share=0.5)
    rng = np.random.default_rng(0)
    cuts = draw_cuts(learnt, rng, count=600, size=4, augmentation=RIGHT_ANGLES)
    count = np.bincount([cut.instances[0, 0] for cut in cuts], minlength=4)[1:] / 600
    np.testing.assert_allclose(count, [0.375, 0.125, 0.5], atol=0.06)


def test_a_group_without_images_leaves_its_share() -> None:
    learnt = mixed([_filled(1)], [], [], synthetic_share=0.5, pseudo_share=0.5)
    assert [share for share, _ in learnt.groups] == [1.0]


def test_outside_of_an_image_nothing_is_known_unless_there_is_glass() -> None:
    learnt = mixed([_filled(1, 16)], [], [], synthetic_share=0, pseudo_share=0)
    rng = np.random.default_rng(0)
    (cut,) = draw_cuts(learnt, rng, count=1, size=32, augmentation=RIGHT_ANGLES)
    assert (cut.instances == 1).sum() == (cut.inside == 1).sum() == 16 * 16
    assert (cut.instances == UNKNOWN).sum() == (cut.inside == IGNORE).sum() == 32 * 32 - 16 * 16
    glass = RIGHT_ANGLES.model_copy(update={"beyond": 1.0})
    (cut,) = draw_cuts(learnt, rng, count=1, size=32, augmentation=glass)
    assert set(np.unique(cut.instances)) == {0, 1}
    assert (cut.pixels[cut.instances == 0] == 255).all()


@pytest.mark.parametrize("turned", [0.0, 1.0])
def test_labels_and_foreground_lie_where_the_pixels_do(turned: float) -> None:
    _, labels = draw_image(96, 96, seed=2, mpp=0.5)
    painted = np.repeat(((labels > 0) * 200).astype(np.uint8)[..., None], 3, 2)
    learnt = mixed([labelled(painted, labels)], [], [], synthetic_share=0, pseudo_share=0)
    moved = RIGHT_ANGLES.model_copy(update={"turned": turned})
    for cut in draw_cuts(learnt, np.random.default_rng(3), count=8, size=48, augmentation=moved):
        known = cut.instances != UNKNOWN
        bright = cut.pixels[..., 0] > 100
        assert (bright == (cut.instances > 0))[known].mean() > 0.97
        assert ((cut.inside > 0.5) == (cut.instances > 0))[known].all()


def test_a_finer_image_keeps_the_share_of_nucleus_in_each_pixel(tmp_path: Path) -> None:
    folder = drawn_dataset(tmp_path / "d", train=1, val=1, size=128, mpp=0.25)
    sample = read_dataset(folder).split("train")[0]
    image = read_image(sample, 0.25, 0.5)
    truth = (sample.instances() > 0).reshape(64, 2, 64, 2).mean((1, 3))
    np.testing.assert_allclose(image.inside, truth, atol=1e-6)
    assert image.instances.shape == (64, 64)
    assert ((image.instances > 0) <= (truth > 0)).all()


def test_a_round_is_shorter_and_slower() -> None:
    schedule = Schedule(steps=1000, lr=2e-3, check_every=600)
    shorter = shortened(schedule, RoundsConfig(part=0.5, rate=0.25))
    assert (shorter.steps, shorter.check_every, shorter.lr) == (500, 500, 5e-4)
