"""exemplar keeps the contract, learns from partial outlines, and is exported as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import wsiproc_exemplar  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import TrainingEvent, TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class TestExemplar(MethodContract):
    method = wsiproc_exemplar.METHOD

    @pytest.mark.slow
    def test_on_unseen_drawings_it_finds_most_nuclei(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=2, seed=99)
        scores = evaluate(str(trained[0][0]), unseen, "val", device="cpu")
        assert scores["detection"]["f1"] >= 0.7
        assert scores["instances"]["aji"] >= 0.5

    @pytest.mark.slow
    def test_it_draws_what_it_was_taught_and_what_it_says(self, trained: Trained) -> None:
        for name in ("curves", "targets", "predictions"):
            picture = trained[2].out / f"{name}.png"
            assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"

    @pytest.mark.slow
    def test_its_card_says_that_it_looks_at_whole_windows(self, trained: Trained) -> None:
        card = load_model(str(trained[0][0])).card
        assert card.kind == "instances"
        assert not card.local
        assert len(card.windows) == 1
