"""What is drawn around points, and which images have some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsiproc.errors import ConfigError
from wsiproc.methods import TrainingInputs
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.labels import odd_px
from wsiproc_lair.config import PRESETS, LAIRConfig
from wsiproc_lair.images import Images, believed, certain, see, squares, without_points

CONFIG = PRESETS["smoke"]
SEEN = np.ones((20, 30), bool)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", train=6, val=1, size=96)


def saw(data: Path, *, seed: int = 0, **changes: object) -> Images:
    config = LAIRConfig.model_validate({**CONFIG.model_dump(), **changes})
    return see(config, TrainingInputs((data,), data, seed=seed))


def test_a_point_becomes_a_square_around_its_pixel() -> None:
    drawn = squares(np.array([[10.9, 7.1]]), SEEN, 5)
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 9, 8, 12)
    assert drawn.sum() == 25


def test_squares_are_cut_at_edges_and_joined_where_they_overlap() -> None:
    drawn = squares(np.array([[0.5, 0.5], [2.5, 0.5], [-1.5, 10.5], [-9.0, -9.0]]), SEEN, 5)
    assert drawn[:3, :5].all()
    assert drawn[8:13, 0].all()
    assert drawn.sum() == 15 + 5


def test_where_nothing_is_seen_nothing_is_known() -> None:
    seen = SEEN.copy()
    seen[:, 15:] = False
    drawn = squares(np.array([[15.5, 10.5]]), seen, 5)
    assert (drawn[:, 15:] == -1).all()
    assert drawn[:, :15].sum() == 10


@pytest.mark.parametrize(
    ("length", "mpp", "px"), [(2.75, 0.55, 5), (2.75, 0.25, 11), (2.75, 1.0, 3), (0.1, 1.0, 1)]
)
def test_lengths_become_odd_numbers_of_pixels(length: float, mpp: float, px: int) -> None:
    assert odd_px(length, mpp) == px


def test_fewer_labelled_images_are_some_of_more(data: Path) -> None:
    ids = [{f.sample.id for f in saw(data, labelled=n).labelled} for n in (2, 4)]
    assert ids[0] < ids[1]
    other = {f.sample.id for seed in range(1, 4) for f in saw(data, labelled=2, seed=seed).labelled}
    assert other != ids[0]


def test_what_is_not_labelled_gives_its_pixels(data: Path) -> None:
    images = saw(data, labelled=2)
    assert len(images.unlabelled) == 4
    assert not {f.sample.id for f in images.labelled} & {f.sample.id for f in images.unlabelled}
    every = saw(data, labelled=None)
    assert len(every.labelled) == 6
    assert every.unlabelled == every.labelled, "there are no others"
    with pytest.raises(ConfigError, match="7 labelled ones"):
        saw(data, labelled=7)


def test_the_certain_is_believed_and_the_rest_unknown() -> None:
    prob = np.array([[0.95, 0.85, 0.5, 0.05]], np.float32)
    assert certain(prob, 0.9).tolist() == [[2, 0, 0, 1]]
    assert certain(prob, 0.8).tolist() == [[2, 2, 0, 1]]


def test_beliefs_are_turned_with_their_images(data: Path) -> None:
    images = saw(data, labelled=2)
    beliefs = [
        np.where((f.pixels.astype(int).sum(-1) < 400), 2, 1).astype(np.uint8)
        for f in images.unlabelled
    ]
    plain = CONFIG.augmentation.model_copy(
        update=dict.fromkeys(("stain_gain", "stain_turn", "stain_shift", "light", "blur_px"), 0.0)
        | {"noise": 0.0, "jpeg": False, "turned": 0.0, "beyond": 0.0}
    )
    config = CONFIG.model_copy(update={"augmentation": plain})
    rng = np.random.default_rng(0)
    drawn = believed(images.unlabelled, beliefs, rng, config.joint, config)
    dark = drawn["unlabelled"].astype(int).sum(-1) < 400
    assert dark.any()
    assert (drawn["believed"][dark] == 1).mean() > 0.98
    assert (drawn["believed"][~dark] == 0).mean() > 0.98


def test_what_is_to_be_painted_keeps_the_stain_it_had(data: Path) -> None:
    images = saw(data, labelled=2)
    strong = CONFIG.augmentation.model_copy(
        update={"turned": 0.0, "beyond": 0.0, "stain_gain": 0.9}
    )
    config = CONFIG.model_copy(update={"augmentation": strong})
    rng = np.random.default_rng(0)
    drawn = without_points(images.unlabelled, rng, config.joint, config, ("unlabelled", "again"))
    there = {tuple(p) for f in images.unlabelled for p in f.pixels.reshape(-1, 3)[::1] // 4}
    kept = np.mean([tuple(p) in there for p in drawn["plain"].reshape(-1, 3) // 4])
    assert kept > 0.9
    apart = np.abs(drawn["plain"].astype(int) - drawn["unlabelled"]).mean()
    again = np.abs(drawn["unlabelled"].astype(int) - drawn["again"]).mean()
    assert min(apart, again) > 5
