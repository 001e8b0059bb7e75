"""The worked example keeps the contract, and the model that ships is the one that was trained."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import wsiproc_unet  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import TrainingEvent, TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class TestUNet(MethodContract):
    method = wsiproc_unet.METHOD

    @pytest.mark.slow
    def test_on_unseen_drawings_it_finds_nine_nuclei_in_ten(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        scores = evaluate(str(trained[0][0]), unseen, "val", device="cpu")
        assert scores["instances"]["dq"] >= 0.9, "F1 at IoU .5"
        assert scores["detection"]["f1"] >= 0.9

    @pytest.mark.slow
    def test_it_draws_its_curves(self, trained: Trained) -> None:
        picture = trained[2].out / "curves.png"
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("model", wsiproc_unet.MODELS, ids=lambda model: model.name)
def test_shipped_models_are_what_was_recorded(model) -> None:
    data = files(model.package).joinpath(model.resource).read_bytes()
    assert hashlib.sha256(data).hexdigest() == model.sha256
    assert len(data) < 10_000_000
    card = load_model(model.name).card
    assert card.name == model.name
    assert card.local
    assert card.licence == "CC-BY-4.0"
    assert b"/home/" not in data
    assert b"site-packages" not in data
    assert card.data
    assert "val" in card.post.chosen_on
