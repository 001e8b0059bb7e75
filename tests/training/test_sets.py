"""Data sets as a training sees them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingEvent, TrainingInputs, TrainingNote
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.labels import foreground
from wsiproc.training.sets import assumed_mpp, licence_of_weights, load, median_width, on_card


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("a") / "known", train=3, val=2, size=192, mpp=0.5)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tissue at .4 µm, which the set does not say."""
    folder = drawn_dataset(
        tmp_path_factory.mktemp("b") / "silent", train=4, val=1, size=240, mpp=0.4, seed=5
    )
    toml = folder / "dataset.toml"
    text = toml.read_text().replace("mpp = 0.4\n", "").replace('"drawn"', '"silent"')
    toml.write_text(text)
    return folder


def test_an_unknown_mpp_is_assumed_by_the_width_of_nuclei(known: Path, silent: Path) -> None:
    sets = (read_dataset(known), read_dataset(silent))
    assert sets[1].mpp is None
    assumed = assumed_mpp(sets)
    assert list(assumed) == ["silent"]
    assert assumed["silent"] == pytest.approx(0.4, rel=0.1)
    assert assumed["silent"] * median_width(sets[1]) == pytest.approx(
        0.5 * median_width(sets[0]), rel=1e-2
    )


def test_nothing_is_assumed_where_nothing_is_known(silent: Path) -> None:
    with pytest.raises(ConfigError, match="none of the data sets says its mpp"):
        assumed_mpp([read_dataset(silent)])


def test_the_card_says_what_was_assumed_and_what_val_was_for(known: Path, silent: Path) -> None:
    sets = [read_dataset(known), read_dataset(silent)]
    listed = {(s.name, s.split): s for s in on_card(sets, ("train", "val"), {"silent": 0.4})}
    assert listed["silent", "train"].images == 4
    assert "mpp 0.4 assumed" in listed["silent", "train"].note
    assert "only to choose" in listed["drawn", "val"].note
    assert listed["drawn", "val"].licence == "CC0-1.0"


def test_weights_are_under_every_licence_that_asks_for_something(known: Path) -> None:
    free = read_dataset(known)
    asking = replace(free, licence="CC-BY-4.0")
    shared = replace(free, licence="CC-BY-NC-SA-4.0")
    assert licence_of_weights([free]) == "CC0-1.0"
    assert licence_of_weights([free, asking]) == "CC-BY-4.0"
    assert licence_of_weights([shared, asking]) == "CC-BY-4.0 AND CC-BY-NC-SA-4.0"


def load_it(folders: tuple[Path, ...], listener=lambda event: None):
    return load(
        TrainingInputs(folders, Path("unused"), listener=listener),
        "instances",
        lambda sample, mpp: foreground(sample.instances())[..., None],
        to_mpp=1.0,
        scales=(1.0, 1.25),
        unscaled_share=0.3,
    )


def test_all_is_brought_to_one_mpp(known: Path, silent: Path) -> None:
    said: list[TrainingEvent] = []
    data = load_it((known, silent), said.append)
    assert [share for share, _ in data.learn] == [0.7, 0.3]
    first = data.learn[0][1][0]
    assert [image.shape for image in first.pixels] == [(96, 96, 3), (120, 120, 3)]
    assert [raster.shape for raster in first.targets] == [(96, 96, 1), (120, 120, 1)]
    sides = {image.pixels[0].shape[0] for image in data.learn[1][1]}
    assert sides <= set(range(86, 107)), "240 px of about .4 µm are about 96 of 1 µm"
    assert any(isinstance(e, TrainingNote) and "assumed" in e.message for e in said)


def test_only_images_of_known_mpp_choose(known: Path, silent: Path) -> None:
    data = load_it((known, silent))
    assert len(data.check) == 2
    assert data.chosen_on == "drawn val"
    sample, image = data.check[0]
    assert sample.split == "val"
    assert len(image.pixels) == 1
    true = np.mean(sample.instances() > 0)
    assert np.mean(image.targets[0].astype(float)) == pytest.approx(true, abs=0.01)


def test_the_wrong_labels_are_refused(known: Path, tmp_path: Path) -> None:
    toml = known / "dataset.toml"
    other = tmp_path / "points"
    (other / "points").mkdir(parents=True)
    (other / "images").symlink_to(known / "images")
    for i in range(5):
        (other / "points" / f"drawn_{i:03d}.csv").write_text("x,y,class\n1,1,0\n")
    (other / "dataset.toml").write_text(toml.read_text().replace("instances", "points"))
    with pytest.raises(ConfigError, match="instances are needed; drawn has points"):
        load_it((other,))
