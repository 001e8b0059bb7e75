"""Annotated images: what is read is what was annotated, and what is wrong is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError

SHARED = Path(__file__).parents[2] / "shared" / "data"


def write_set(folder: Path, *, labels: str = "instances", mpp: str = "mpp = 0.5") -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / labels).mkdir()
    for i, name in enumerate(("a", "b")):
        pixels = np.full((6, 8, 3), 10 * i + 200, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        if labels == "instances":
            drawn = np.zeros((6, 8), np.uint16)
            drawn[1:3, 2:5], drawn[4, 6] = 700, 2
            Image.fromarray(drawn).save(folder / labels / f"{name}.png")
        else:
            (folder / labels / f"{name}.csv").write_text("x,y,class\n0,0,1\n3.5,2,2\n")
    (folder / "dataset.toml").write_text(
        f'name = "tiny"\ntitle = "t"\nlabels = "{labels}"\nlicence = "CC0-1.0"\n{mpp}\n'
        '[splits]\ntrain = ["a"]\nval = ["b"]\n'
    )
    return folder


def test_instances_are_given_as_they_were_drawn(tmp_path: Path) -> None:
    dataset = read_dataset(write_set(tmp_path / "s"))
    assert (dataset.name, dataset.mpp, dataset.splits) == ("tiny", 0.5, ("train", "val"))
    (sample,) = dataset.split("val")
    assert sample.pixels().shape == (6, 8, 3)
    assert (sample.pixels() == 210).all()
    labels = sample.instances()
    assert labels.dtype == np.int32
    assert (labels == 700).sum() == 6
    assert labels[4, 6] == 2


def test_points_move_from_pixel_centres_to_pixel_corners(tmp_path: Path) -> None:
    """The files' (0, 0) is the centre of the first pixel; wsiproc's is its corner."""
    points = read_dataset(write_set(tmp_path / "s", labels="points")).samples[0].points()
    assert points.xy.tolist() == [[0.5, 0.5], [4.0, 2.5]]
    assert points.class_id.tolist() == [1, 2]


def test_an_image_without_points_has_an_empty_table(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s", labels="points")
    (folder / "points" / "a.csv").write_text("x,y,class\n")
    assert read_dataset(folder).samples[0].points().xy.shape == (0, 2)


def test_an_unknown_resolution_stays_unknown(tmp_path: Path) -> None:
    dataset = read_dataset(write_set(tmp_path / "s", mpp=""))
    assert dataset.mpp is None
    assert dataset.samples[0].mpp is None


def test_nothing_is_opened_before_it_is_asked_for(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s")
    (folder / "images" / "a.png").write_bytes(b"no picture")
    sample = read_dataset(folder).samples[0]
    with pytest.raises(ConfigError, match="image a cannot be read"):
        sample.pixels()


@pytest.mark.parametrize(
    ("said", "instead", "message"),
    [
        ('labels = "instances"', 'labels = "boxes"', "labels"),
        ("mpp = 0.5", "mpp = 50.0", "mpp"),
        ('licence = "CC0-1.0"', "", "licence"),
        ('val = ["b"]', 'val = ["a"]', "is in 'train' and again in 'val'"),
        ('val = ["b"]', 'val = ["b", "c"]', "2 files are missing: images/c.png"),
        ('val = ["b"]', 'val = ["../b"]', "no id of an image"),
        ("[splits]", "[splits", "not TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, said: str, instead: str, message: str) -> None:
    folder = write_set(tmp_path / "s")
    toml = folder / "dataset.toml"
    text = toml.read_text()
    assert said in text
    toml.write_text(text.replace(said, instead))
    with pytest.raises(ConfigError, match=message) as caught:
        read_dataset(folder)
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.toml cannot be read"):
        read_dataset(tmp_path)


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train, val"):
        read_dataset(write_set(tmp_path / "s")).split("test")


def test_labels_of_another_size_or_kind_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "s")
    Image.fromarray(np.zeros((6, 7), np.uint16)).save(folder / "instances" / "a.png")
    sample, other = read_dataset(folder).samples
    with pytest.raises(ConfigError, match=r"7 x 6 px, its image is 8 x 6"):
        sample.instances()
    with pytest.raises(ConfigError, match="has instances for labels, not points"):
        other.points()


@pytest.mark.parametrize("line", ["1,2", "1,2,three", "1,2,3,4", "1,nan,1"])
def test_a_table_of_points_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    folder = write_set(tmp_path / "s", labels="points")
    (folder / "points" / "a.csv").write_text(f"x,y,class\n{line}\n")
    with pytest.raises(ConfigError, match="points of a"):
        read_dataset(folder).samples[0].points()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the annotated data sets are not here")
@pytest.mark.parametrize(
    ("name", "train", "val", "mpp"),
    [("tnbc", 30, 7, 0.25), ("dsb_stained", 107, 0, None), ("brca_m2c", 80, 10, 0.5)],
)
def test_the_real_sets_are_read(name: str, train: int, val: int, mpp: float | None) -> None:
    dataset = read_dataset(SHARED / name)
    assert dataset.mpp == mpp
    counted = [sum(s.split == split for s in dataset.samples) for split in ("train", "val")]
    assert counted == [train, val]
    sample = dataset.split("train")[0]
    height, width = sample.pixels().shape[:2]
    if dataset.label_kind == "points":
        xy = sample.points().xy
        assert len(xy) > 0
        assert (xy >= 0).all()
        assert (xy <= [width, height]).all()
    else:
        assert sample.instances().shape == (height, width)
        assert sample.instances().max() > 1
