"""The picture of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")
pytest.importorskip("torch")

from wsiproc.training.curves import draw_curves


def test_a_history_becomes_a_picture(tmp_path: Path) -> None:
    history = [
        {"step": 10.0 * i, "loss": 1 / i, "val_loss": 1.1 / i, "dice": 1 - 0.5 / i}
        for i in range(1, 6)
    ]
    draw_curves(history, tmp_path / "curves.png", 50)
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert picture.shape == (400, 1000)
    assert (picture < 200).sum() > 500
    halves = picture[:, :500], picture[:, 500:]
    assert all((half < 200).any() for half in halves)


def test_the_same_history_is_the_same_picture(tmp_path: Path) -> None:
    history = [{"step": 1.0, "loss": 2.0, "f1": 0.5}, {"step": 2.0, "loss": 1.0, "f1": 0.6}]
    for name in ("a.png", "b.png"):
        draw_curves(history, tmp_path / name, 2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_no_history_is_no_error(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "curves.png", 0)
    assert (tmp_path / "curves.png").exists()
