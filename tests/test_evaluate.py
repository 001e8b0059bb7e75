"""What evaluation reports is what metrics say of outlines laid on the data set's pixels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from wsiproc.errors import ConfigError
from wsiproc.evaluate import box_centres, evaluate, rasterised
from wsiproc.slide._drawn_dataset import drawn_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "drawn"
    drawn_dataset(folder, train=1, val=3, size=256, seed=3, mpp=0.5)
    return folder


def test_a_square_of_whole_pixels_covers_exactly_these_pixels() -> None:
    labels = rasterised(np.array([shapely.box(2, 3, 5, 4)]), np.ones(1, np.float32), (6, 8))
    assert np.argwhere(labels).tolist() == [[3, 2], [3, 3], [3, 4]]


def test_the_higher_score_lies_on_top_and_outlines_may_leave_the_image() -> None:
    shapes = np.array([shapely.box(-3, -3, 4, 4), shapely.box(2, 2, 20, 20)])
    labels = rasterised(shapes, np.array([0.9, 0.4], np.float32), (8, 8))
    assert labels[3, 3] == 1
    assert labels[7, 7] == 2


def test_box_centres_of_instances_that_are_not_numbered_through() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[1:3, 1:5] = 7
    labels[5, 5] = 2
    assert sorted(map(tuple, box_centres(labels).tolist())) == [(3.0, 2.0), (5.5, 5.5)]


@pytest.mark.parametrize("kind", ["hover", "instances"])
def test_models_of_every_kind_that_outlines_find_most_of_what_was_drawn(
    dataset: Path, models: dict[str, Path], kind: str
) -> None:
    """Images of 256 px, and windows of 256 and 512 px of which the margins see past them."""
    scored = evaluate(str(models[kind]), dataset, "val")
    assert scored["detection"]["f1"] > 0.8
    assert scored["instances"]["aji"] > 0.5
    assert scored["pixels"]["dice"] > 0.7


def test_the_object_has_the_documented_shape_and_good_scores_on_drawn_images(
    dataset: Path, mask_model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "images.csv"
    scored = evaluate(str(mask_model), dataset, "val", per_image=table)
    assert list(scored) == [
        "model", "dataset", "split", "images", "detection", "instances", "pixels"
    ]  # fmt: skip
    assert set(scored["detection"]) == {
        "radius_um", "precision", "recall", "f1", "mu_px", "sigma_px"
    }  # fmt: skip
    assert set(scored["instances"]) == {
        "aji", "aji_plus", "object_dice", "pq", "dq", "sq", "map_dsb", "ncs"
    }  # fmt: skip
    assert set(scored["pixels"]) == {"pa", "mpa", "iou", "fwiou", "dice"}
    assert scored["detection"]["f1"] > 0.8
    assert scored["pixels"]["dice"] > 0.7
    assert json.loads(json.dumps(scored)) == scored
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == scored["images"]
    assert np.isclose(np.mean([float(row["aji"]) for row in rows]), scored["instances"]["aji"])


def test_a_model_that_points_has_no_instances_and_no_pixels(
    dataset: Path, point_model: Path
) -> None:
    scored = evaluate(str(point_model), dataset, "val")
    assert scored["detection"]["f1"] > 0.8
    assert set(scored["instances"].values()) == set(scored["pixels"].values()) == {None}


def test_an_unknown_split_is_refused_with_the_names_of_those_there_are(
    dataset: Path, mask_model: Path
) -> None:
    with pytest.raises(ConfigError, match="train"):
        evaluate(str(mask_model), dataset, "nope")
