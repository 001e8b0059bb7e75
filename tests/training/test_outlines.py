"""Images with outlines, all or some: at the network's resolution, and only for whom they serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from wsiproc.errors import ConfigError
from wsiproc.evaluate import evaluate
from wsiproc.methods import TrainingInputs
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.fields import look
from wsiproc.training.outlines import read_outlines
from wsiproc.training.sets import load


def partial(folder: Path) -> Path:
    drawn_dataset(folder, train=1, val=1, size=96)
    toml = folder / "dataset.toml"
    toml.write_text(toml.read_text().replace("[splits]", "complete = false\n[splits]"))
    return folder


def test_a_pixel_belongs_to_the_nucleus_that_its_centre_lies_in(tmp_path: Path) -> None:
    folder = drawn_dataset(tmp_path / "whole", train=1, val=1, size=96)
    inputs = TrainingInputs((folder,), tmp_path)
    (exact,), (coarse,) = (read_outlines(inputs, to_mpp=mpp).train for mpp in (0.5, 1.5))
    assert (exact.labels == exact.sample.instances()).all()
    assert coarse.labels.shape == coarse.pixels.shape[:2] == (32, 32)
    assert (coarse.labels == exact.labels[1::3, 1::3]).all()


def test_partial_sets_are_learnt_from_and_choose_nothing(tmp_path: Path) -> None:
    whole = drawn_dataset(tmp_path / "whole", train=1, val=1, size=96)
    both = read_outlines(TrainingInputs((whole, partial(tmp_path / "part")), tmp_path), to_mpp=0.5)
    assert [image.complete for image in both.train] == [True, False]
    assert (both.train[0].labels >= 0).all()
    assert np.unique(both.train[1].labels)[0] == -1
    assert len(both.check) == 1
    alone = read_outlines(TrainingInputs((tmp_path / "part",), tmp_path), to_mpp=0.5)
    assert (alone.check, alone.chosen_on) == ((), "nothing")


def test_those_who_would_take_the_unknown_for_background_refuse_it(tmp_path: Path) -> None:
    folder = partial(tmp_path / "part")
    inputs = TrainingInputs((folder,), tmp_path)
    for refusing in (
        lambda: look(inputs, to_mpp=0.5),
        lambda: load(
            inputs,
            "instances",
            lambda sample, mpp: np.zeros((96, 96, 1), np.float32),
            to_mpp=0.5,
            scales=(1.0,),
            unscaled_share=0.3,
        ),
        lambda: evaluate("unet", folder, "val"),
    ):
        with pytest.raises(ConfigError, match="complete = false"):
            refusing()
