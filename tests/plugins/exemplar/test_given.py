"""Partial labels: some nuclei or some area of each image, the less inside the more."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from wsiproc.methods import TrainingInputs  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.training.outlines import Outlined, read_outlines  # noqa: E402
from wsiproc_exemplar.config import PRESETS  # noqa: E402
from wsiproc_exemplar.given import given, sizes  # noqa: E402
from wsiproc_exemplar.stage import crop_with_outlines  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outlined, ...]:
    folder = drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=3, val=1, size=160)
    return read_outlines(TrainingInputs((folder,), Path()), to_mpp=0.5).train


def nuclei(image: Outlined) -> set[int]:
    return set(np.unique(image.labels[image.labels > 0]).tolist())


def test_a_quarter_of_the_nuclei_lies_inside_half_of_them(images: tuple[Outlined, ...]) -> None:
    drawn = {}
    for fraction in (0.25, 0.5, 1.0):
        config = PRESETS["smoke"].model_copy(update={"fraction": fraction})
        drawn[fraction] = given(images, config, seed=4)
    for quarter, half, whole in zip(*drawn.values(), strict=True):
        assert nuclei(quarter) < nuclei(half) < nuclei(whole)
        assert len(nuclei(quarter)) == math.ceil(0.25 * len(nuclei(whole)))
        assert (whole.complete, half.complete) == (True, False)
        kept = half.labels > 0
        assert (half.labels[kept] == whole.labels[kept]).all(), "whole nuclei, as they were drawn"
    assert nuclei(given(images, config, 5)[0]) == nuclei(images[0]), "all of them"


def test_other_seeds_keep_other_nuclei(images: tuple[Outlined, ...]) -> None:
    config = PRESETS["smoke"].model_copy(update={"fraction": 0.25})
    assert nuclei(given(images, config, 1)[0]) != nuclei(given(images, config, 2)[0])


def test_a_quarter_of_the_area_is_a_complete_rectangle_inside_that_of_a_half(
    images: tuple[Outlined, ...],
) -> None:
    parts = {}
    for fraction in (0.25, 0.5):
        change = {"fraction": fraction, "keep": "crop"}
        parts[fraction] = given(images, PRESETS["smoke"].model_copy(update=change), seed=4)[0]
    small, large, whole = parts[0.25], parts[0.5], images[0]
    assert small.complete
    assert small.labels.shape == (80, 80)
    assert small.pixels.shape == (80, 80, 3)

    def place(part: Outlined, of: Outlined) -> tuple[int, int]:
        h, w = part.labels.shape
        for y in range(of.labels.shape[0] - h + 1):
            for x in range(of.labels.shape[1] - w + 1):
                if (of.pixels[y : y + h, x : x + w] == part.pixels).all():
                    assert (of.labels[y : y + h, x : x + w] == part.labels).all()
                    return y, x
        raise AssertionError("it is no part of the image")

    place(large, whole)
    place(small, large)


def test_crops_of_partial_images_show_an_outline(images: tuple[Outlined, ...]) -> None:
    config = PRESETS["smoke"].model_copy(update={"fraction": 0.05})
    (image, *_) = given(images, config, seed=0)
    rng = np.random.default_rng(0)
    shown = [(crop_with_outlines(image, rng, config).rasters[0] > 0).any() for _ in range(10)]
    assert all(shown)


def test_sizes_are_those_of_the_boxes(images: tuple[Outlined, ...]) -> None:
    found = sizes(images)
    assert len(found) == sum(len(nuclei(image)) for image in images)
    rows, columns = np.nonzero(images[0].labels == min(nuclei(images[0])))
    assert found[0].tolist() == [np.ptp(columns) + 1, np.ptp(rows) + 1]
