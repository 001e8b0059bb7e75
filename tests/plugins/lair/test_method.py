"""The method keeps the contract, and shows what it detects and paints."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

import wsiproc_lair  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import TrainingEvent, TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class TestLAIR(MethodContract):
    method = wsiproc_lair.METHOD

    @pytest.fixture(scope="class")
    @classmethod
    def unlabelled(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
        folder = drawn_dataset(tmp_path_factory.mktemp("more") / "more", train=2, val=1, seed=5)
        toml = folder / "dataset.toml"
        toml.write_text(
            toml.read_text().replace('"drawn"', '"more"').replace('"instances"', '"none"')
        )
        return (folder,)

    @pytest.mark.slow
    def test_from_four_images_it_finds_nuclei_on_unseen_drawings(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        scores = evaluate(str(trained[0][0]), unseen, "val", device="cpu")
        assert scores["detection"]["f1"] >= 0.85

    @pytest.mark.slow
    def test_its_card_says_how_many_images_had_points(self, trained: Trained) -> None:
        card = load_model(str(trained[0][0])).card
        assert card.kind == "points"
        assert card.local
        notes = {(d.name, d.split): d.note for d in card.data}
        assert "points of 4 images" in notes["drawn", "train"]
        assert "points of 0 images" in notes["more", "train"]
        assert "4 of 8 images" in card.note

    @pytest.mark.slow
    def test_it_draws_curves_maps_and_reconstructions(self, trained: Trained) -> None:
        for name in ("pretrain.png", "curves.png", "painted.png"):
            with Image.open(trained[2].out / name) as picture:
                assert picture.width > 300
        with Image.open(trained[2].out / "painted.png") as picture:
            assert picture.height > 4 * 200


def test_the_papers_networks_are_those_of_the_preset_paper() -> None:
    paper = wsiproc_lair.METHOD.presets["paper"]
    assert isinstance(paper, wsiproc_lair.LAIRConfig)
    assert (paper.width, paper.reconstruction_width, paper.critic_width) == (64, 64, 64)
    assert (paper.reconstruction_weight, paper.adversarial_weight) == (0.1, 0.005)
    assert paper.augmentation.stain_gain == 0
