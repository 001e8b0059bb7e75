"""exemplar keeps the contract, learns from partial outlines, and is exported as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import wsiproc_exemplar  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import TrainingEvent, TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.propose import pictures_of, propose  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402
from wsiproc.testing.models import haematoxylin_model  # noqa: E402
from wsiproc_exemplar.config import PRESETS  # noqa: E402

SHORT = {"steps": 12, "batch": 1, "check_every": 6}
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


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_corrected_proposals_are_learnt_from_without_a_val_split(
    tmp_path: Path, optimiser: str
) -> None:
    """Draw some, propose the rest, and learn from what comes back."""
    folder = drawn_dataset(tmp_path / "mine", train=2, val=1, size=160)
    toml = folder / "dataset.toml"
    said = toml.read_text().replace("[splits]", "complete = false\n[splits]")
    toml.write_text(said)
    path = tmp_path / "drawn.onnx"
    path.write_bytes(haematoxylin_model())
    pictures = pictures_of([folder], None)
    assert len(list(propose(pictures, str(path), folder / "geojson", device="cpu"))) == 3
    toml.write_text(said.replace('labels = "instances"', 'labels = "geojson"'))
    smoke = PRESETS["smoke"]
    schedule = smoke.schedule.model_copy(update=SHORT)
    config = smoke.model_copy(
        update={"schedule": schedule, "centre_only": 4, "optimiser": optimiser, "fraction": 0.5}
    )
    inputs = TrainingInputs((folder,), tmp_path / "out", threads=1)
    (file,) = wsiproc_exemplar.METHOD.train(config, inputs)
    card = load_model(str(file)).card
    assert card.post.chosen_on == "nothing"
    assert [entry.split for entry in card.data] == ["train"]
    assert card.metrics == {}
