"""The method keeps the contract, and shows what each round did."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

import wsiproc_mcf  # noqa: E402
from wsiproc.datasets import read_dataset  # noqa: E402
from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
from wsiproc.methods import MethodConfig, TrainingEvent, TrainingInputs, TrainingNote  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402
from wsiproc_mcf.templates import read_templates  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class TestMCF(MethodContract):
    method = wsiproc_mcf.METHOD

    @pytest.fixture(scope="class")
    @classmethod
    def unlabelled(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
        folder = drawn_dataset(tmp_path_factory.mktemp("more") / "more", train=2, val=1, seed=5)
        green = next(iter(read_dataset(folder).split("train"))).image
        with Image.open(green) as purple:
            Image.merge("RGB", purple.convert("RGB").split()[1::-1] + purple.split()[2:]).save(
                green
            )
        toml = folder / "dataset.toml"
        toml.write_text(
            toml.read_text().replace('"drawn"', '"more"').replace('"instances"', '"none"')
        )
        return (folder,)

    @pytest.mark.slow
    def test_it_gives_a_segmenter_and_a_detector(self, trained: Trained) -> None:
        kinds = [load_model(str(file)).card.kind for file in trained[0]]
        assert kinds == ["mask", "points"]
        for file in trained[0]:
            card = load_model(str(file)).card
            assert card.local
            assert card.stain_target is not None
            assert {(d.name, d.split) for d in card.data} >= {("drawn", "train"), ("more", "train")}

    @pytest.mark.slow
    def test_its_card_counts_images_of_another_stain_as_left_out(self, trained: Trained) -> None:
        data = load_model(str(trained[0][0])).card.data
        (more,) = (d for d in data if d.name == "more")
        assert more.images == 1
        assert "1 more left out" in more.note

    @pytest.mark.slow
    def test_from_four_boxes_both_find_nuclei_on_unseen_drawings(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        segmenter, detector = (
            evaluate(str(file), unseen, "val", device="cpu") for file in trained[0]
        )
        assert segmenter["pixels"]["dice"] >= 0.7
        assert segmenter["detection"]["f1"] >= 0.7
        assert detector["detection"]["f1"] >= 0.6

    @pytest.mark.slow
    def test_each_round_leaves_its_bank_and_its_masks_to_look_at(self, trained: Trained) -> None:
        out = trained[2].out
        for folder in (out / "round-1", out / "round-2"):
            if not folder.is_dir():
                continue
            for name in ("bank.png", "pseudo_masks.png", "segmented.png", "curves.png"):
                with Image.open(folder / name) as picture:
                    assert picture.width > 64
        assert (out / "round-1").is_dir()
        said = [e.message for e in trained[1] if isinstance(e, TrainingNote)]
        assert any("templates find" in message for message in said)

    @pytest.mark.slow
    def test_the_boxes_that_it_chose_are_written_as_they_can_be_given(
        self, trained: Trained, smoke: MethodConfig
    ) -> None:
        boxes = read_templates(trained[2].out / "templates.csv")
        assert isinstance(smoke, wsiproc_mcf.MCFConfig)
        assert len(boxes) == smoke.templates


def test_boxes_on_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    data = drawn_dataset(tmp_path / "drawn", train=2, val=1, size=256)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\nelsewhere,1,2,30,40\n")
    inputs = TrainingInputs((data,), tmp_path / "out", templates=boxes, threads=1)
    method = wsiproc_mcf.METHOD
    with pytest.raises(ConfigError, match="no such image"):
        method.train(method.presets["smoke"], inputs)


def test_other_methods_refuse_boxes(tmp_path: Path) -> None:
    import wsiproc_unet

    data = drawn_dataset(tmp_path / "drawn", train=1, val=1, size=256)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,x0,y0,x1,y1\n")
    inputs = TrainingInputs((data,), tmp_path / "out", templates=boxes)
    method = wsiproc_unet.METHOD
    with pytest.raises(ConfigError, match="learns from no templates"):
        method.train(method.presets["smoke"], inputs)


@pytest.mark.parametrize("row", ["default", "paper", "smoke"])
def test_every_part_of_table_3_can_be_left_out_of_every_preset(row: str) -> None:
    preset = wsiproc_mcf.METHOD.presets[row]
    filters = preset.model_dump()["filters"]
    switches = [
        {"segmentation": False},
        {"self_finetuning": False},
        {"synthesis": {**preset.model_dump()["synthesis"], "share": 0.0}},
        {"loss": "cross_entropy"},
        {"loss": "weighted"},
        {"filters": {**filters, "cropped_fusion": False}},
        {"filters": {**filters, "scale_fusion": False}},
        {"filters": {**filters, "top_h": 1}},
        {"filters": {**filters, "mean_fusion": True}},
        {"filters": {**filters, "gradient_directions": False}},
    ]
    for switch in switches:
        changed = wsiproc_mcf.MCFConfig.model_validate({**preset.model_dump(), **switch})
        assert changed != preset
