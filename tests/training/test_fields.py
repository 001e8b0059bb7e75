"""What a training from points is given to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiproc.errors import ConfigError
from wsiproc.evaluate import box_centres
from wsiproc.methods import TrainingInputs
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.fields import look, nested


def pointed(folder: Path, *, mpp: str = "mpp = 0.5") -> Path:
    """A set with points in two images of 80 x 60 px."""
    for name in ("images", "points"):
        (folder / name).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (80, 60), (200, 150, 190)).save(folder / "images" / f"{name}.png")
        (folder / "points" / f"{name}.csv").write_text("x,y,class\n9.5,19.5,1\n40,30,2\n")
    (folder / "dataset.toml").write_text(
        f'name = "pointed"\nlabels = "points"\nlicence = "CC0-1.0"\n{mpp}\n'
        '[splits]\ntrain = ["a"]\nval = ["b"]\n'
    )
    return folder


def test_points_of_all_classes_are_nuclei_at_the_networks_resolution(tmp_path: Path) -> None:
    inputs = TrainingInputs((pointed(tmp_path / "set"),), tmp_path)
    fields = look(inputs, to_mpp=1.0)
    assert fields.train[0].pixels.shape == (30, 40, 3)
    assert fields.train[0].points == pytest.approx(np.array([[5.0, 10.0], [20.25, 15.25]]))
    assert fields.check[0].truth() == pytest.approx(np.array([[10.0, 20.0], [40.5, 30.5]]))
    assert fields.chosen_on == "pointed val"


def test_outlined_nuclei_are_points_at_the_centres_of_their_boxes(tmp_path: Path) -> None:
    folder = drawn_dataset(tmp_path / "drawn", train=1, val=1, size=96)
    (field,) = look(TrainingInputs((folder,), tmp_path), to_mpp=0.5).train
    assert field.points == pytest.approx(box_centres(field.sample.instances()))


def test_of_unlabelled_sets_only_the_images_are_seen(tmp_path: Path) -> None:
    labelled = pointed(tmp_path / "set")
    more = drawn_dataset(tmp_path / "drawn", train=2, val=1, size=64)
    fields = look(TrainingInputs((labelled,), tmp_path, unlabelled=(more, labelled)), to_mpp=0.5)
    assert [field.points for field in fields.unlabelled] == [None, None]
    assert fields.seen == {"pointed": ("train", "val"), "drawn": ("train",)}


def test_a_set_without_mpp_is_learnt_from_but_does_not_choose(tmp_path: Path) -> None:
    silent = pointed(tmp_path / "silent", mpp="")
    with pytest.raises(ConfigError, match="known mpp to choose by"):
        look(TrainingInputs((silent,), tmp_path), to_mpp=0.5)
    toml = silent / "dataset.toml"
    toml.write_text(toml.read_text().replace('"pointed"', '"silent"'))
    both = TrainingInputs((pointed(tmp_path / "set"), silent), tmp_path)
    fields = look(both, to_mpp=0.5, unscaled_mpp=0.25)
    assert fields.assumed == {"silent": 0.25}
    assert [field.pixels.shape[:2] for field in fields.train] == [(60, 80), (30, 40)]
    assert len(fields.check) == 1


def test_small_draws_lie_inside_large_ones() -> None:
    ids = [f"img{i}" for i in range(40)]
    draws = [set(nested(ids, n, 3)) for n in (5, 10, 20, 40)]
    assert [len(draw) for draw in draws] == [5, 10, 20, 40]
    assert draws[0] < draws[1] < draws[2] < draws[3] == set(ids)
    assert set(nested(ids, 5, 4)) != draws[0]
    assert nested(ids, 5, 3) == nested(ids, 5, 3)


def test_more_labels_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="5 labelled ones are asked for; there are 2"):
        nested(["a", "b"], 5, 0)
