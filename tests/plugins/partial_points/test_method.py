"""The method keeps the contract, and shows what each stage was taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

import wsiproc_partial_points  # noqa: E402
from wsiproc.datasets import read_dataset  # noqa: E402
from wsiproc.evaluate import box_centres, evaluate  # noqa: E402
from wsiproc.methods import (  # noqa: E402
    TrainingChecked,
    TrainingEvent,
    TrainingInputs,
    TrainingNote,
    TrainingStep,
)
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.testing.methods import MethodContract  # noqa: E402
from wsiproc.training.settings import Schedule  # noqa: E402
from wsiproc_partial_points.config import PartialPointsConfig  # noqa: E402
from wsiproc_partial_points.train import THRESHOLD  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class StoppedError(Exception):
    """Stands for the kill."""


class TestPartialPoints(MethodContract):
    method = wsiproc_partial_points.METHOD

    @pytest.mark.slow
    def test_it_gives_a_segmenter_and_a_detector(self, trained: Trained) -> None:
        cards = [load_model(str(file)).card for file in trained[0]]
        assert [card.kind for card in cards] == ["mask", "points"]
        assert [card.name for card in cards] == ["partial_points", "partial_points_detector"]
        assert all(card.local for card in cards)

    @pytest.mark.slow
    def test_from_half_of_the_points_both_find_nuclei_on_unseen_drawings(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        segmenter, detector = (
            evaluate(str(file), unseen, "val", device="cpu") for file in trained[0]
        )
        assert detector["detection"]["f1"] >= 0.8
        assert segmenter["detection"]["f1"] >= 0.8
        assert segmenter["pixels"]["dice"] >= 0.75

    @pytest.mark.slow
    def test_what_each_stage_was_taught_is_there_to_look_at(self, trained: Trained) -> None:
        out = trained[2].out
        for name in (
            "detect-0/curves.png",
            "detect-1/background.png",
            "detect-1/curves.png",
            "segment/labels.png",
            "segment/segmented.png",
            "segment/curves.png",
        ):
            with Image.open(out / name) as picture:
                assert picture.width > 64

    @pytest.mark.slow
    def test_half_of_the_points_were_given_and_the_card_says_so(self, trained: Trained) -> None:
        images = read_dataset(trained[2].data[0]).split("train")
        counts = [len(box_centres(sample.instances())) for sample in images]
        given = sum(-(-count // 2) for count in counts)
        assert f"{given} points of {sum(counts)} nuclei" in load_model(str(trained[0][0])).card.note

    @pytest.mark.slow
    def test_the_ways_to_separate_nuclei_are_compared_on_val(self, trained: Trained) -> None:
        said = [e.message for e in trained[1] if isinstance(e, TrainingNote)]
        for way in ("head", "mean", "none"):
            assert any(f"separated by {way}: aji" in message for message in said)


def _tiny(**changes: object) -> PartialPointsConfig:
    steps = Schedule(steps=4, batch=2, crop_px=32, ema=0.5, check_every=4)
    smoke = wsiproc_partial_points.METHOD.presets["smoke"]
    short = {
        "detect": steps,
        "segment": steps,
        "refine": steps,
        "channels": (4, 6),
        "blocks": (1, 1),
    }
    return PartialPointsConfig.model_validate({**smoke.model_dump(), **short, **changes})


def _points_only(folder: Path, val: int = 1) -> Path:
    """The same drawings with points for labels."""
    data = drawn_dataset(folder, train=2, val=val, size=128)
    (data / "points").mkdir()
    for sample in read_dataset(data).samples:
        rows = "".join(f"{x - 0.5},{y - 0.5},1\n" for x, y in box_centres(sample.instances()))
        (data / "points" / f"{sample.id}.csv").write_text("x,y,class\n" + rows)
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace('"instances"', '"points"'))
    return data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "again"),
    [
        pytest.param({"detection": "extended"}, False, marks=pytest.mark.variants),
        pytest.param({"detection": "gaussian"}, False, marks=pytest.mark.variants),
        ({"detection": "positives"}, True),
        pytest.param({"detection": "full"}, False, marks=pytest.mark.variants),
        pytest.param({"fraction": 1.0}, False, marks=pytest.mark.variants),
        ({"alpha": 0.0, "crf": {"on": False}, "centre": "none", "rounds": 0}, False),
        ({"alpha": 1.0, "centre": "mean", "restart": True, "detected_by": "components"}, True),
    ],
    ids=str,
)
def test_every_row_of_tables_1_and_3_and_of_figure_6_can_be_trained(
    tmp_path: Path, switch: dict[str, object], again: bool
) -> None:
    data = drawn_dataset(tmp_path / "drawn", train=2, val=1, size=128)
    events: list[TrainingEvent] = []
    inputs = TrainingInputs((data,), tmp_path / "out", threads=1, listener=events.append)
    config = _tiny(**switch)
    files = wsiproc_partial_points.METHOD.train(config, inputs)
    assert all(file.is_file() for file in files)
    stages = {event.stage for event in events if isinstance(event, TrainingStep)}
    detector = {"detect-0", "detect-1"} if again else {"detect-0"}
    assert stages == detector | {"segment"} | ({"refine"} if config.crf.on else set())


@pytest.mark.slow
def test_of_data_with_points_alone_detection_chooses_and_thresholds_stay(tmp_path: Path) -> None:
    data = _points_only(tmp_path / "drawn")
    inputs = TrainingInputs((data,), tmp_path / "out", threads=1)
    segmenter, _ = wsiproc_partial_points.METHOD.train(_tiny(), inputs)
    card = load_model(str(segmenter)).card
    assert set(card.metrics) == {f"drawn/val/{name}" for name in ("f1", "precision", "recall")}
    assert card.post.threshold == THRESHOLD


@pytest.mark.slow
def test_killed_in_any_stage_it_ends_in_the_same_files(tmp_path: Path) -> None:
    data = drawn_dataset(tmp_path / "drawn", train=2, val=1, size=128)
    method, config = wsiproc_partial_points.METHOD, _tiny(fraction=0.3)
    whole = TrainingInputs((data,), tmp_path / "whole", threads=1)
    wanted = [file.read_bytes() for file in method.train(config, whole)]
    stopped: list[str] = []

    def stop(event: TrainingEvent) -> None:
        if isinstance(event, TrainingChecked | TrainingNote):
            name = f"{type(event).__name__} {event.stage} {len(event.stage)}"
            if name not in stopped and event.stage != "data":
                stopped.append(name)
                raise StoppedError

    inputs = TrainingInputs((data,), tmp_path / "out", threads=1, listener=stop)
    for _ in range(12):
        try:
            files = method.train(config, inputs)
            break
        except StoppedError:
            continue
    assert len(stopped) >= 6, stopped
    assert [file.read_bytes() for file in files] == wanted


def test_smaller_fractions_lie_inside_larger_ones(tmp_path: Path) -> None:
    from wsiproc.training.fields import look
    from wsiproc_partial_points.images import given

    data = drawn_dataset(tmp_path / "drawn", train=3, val=1, size=192)
    fields = look(TrainingInputs((data,), tmp_path / "out"), to_mpp=0.5)
    before: list[set[tuple[float, float]]] = [set()] * 3
    for fraction in (0.05, 0.1, 0.25, 0.5, 1.0):
        drawn = [set(map(tuple, points)) for points in given(fields, fraction, seed=7).given]
        for few, more, field in zip(before, drawn, fields.train, strict=True):
            assert field.points is not None
            assert few <= more
            assert len(more) == int(np.ceil(round(fraction * len(field.points), 6)))
        before = drawn
    other = given(fields, 0.25, seed=8).given
    assert not all(map(np.array_equal, other, given(fields, 0.25, seed=7).given))


def test_each_data_set_gives_as_many_crops(tmp_path: Path) -> None:
    from wsiproc.training.fields import look
    from wsiproc_partial_points.images import given

    small = drawn_dataset(tmp_path / "small", train=1, val=1, size=96)
    toml = small / "dataset.toml"
    toml.write_text(toml.read_text().replace('"drawn"', '"small"'))
    large = drawn_dataset(tmp_path / "large", train=3, val=1, size=192)
    fields = look(TrainingInputs((small, large), tmp_path / "out"), to_mpp=0.5)
    share = given(fields, 1.0, seed=0).share
    np.testing.assert_allclose(share, [1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_of_outlined_and_dotted_val_images_both_are_looked_at(tmp_path: Path) -> None:
    from wsiproc.training.fields import look
    from wsiproc_partial_points.images import looked_at

    outlined = drawn_dataset(tmp_path / "outlined", train=1, val=1, size=96)
    toml = outlined / "dataset.toml"
    toml.write_text(toml.read_text().replace('"drawn"', '"outlined"'))
    dotted = _points_only(tmp_path / "dotted", val=9)
    check = look(TrainingInputs((dotted, outlined), tmp_path / "out"), to_mpp=0.5).check
    for count in (1, 2, 4, 20):
        kinds = [field.sample.label_kind for field in looked_at(check, count)]
        assert len(kinds) == min(count, 10)
        assert kinds.count("instances") == 1


def test_only_detections_away_from_given_points_are_added() -> None:
    from wsiproc_partial_points.images import joined

    given = np.array([[10.0, 10.0], [30.0, 10.0]])
    detected = np.array([[12.0, 10.0], [20.0, 10.0], [30.0, 16.0]])
    assert joined(given, detected, 5.0).tolist() == [[10, 10], [30, 10], [20, 10], [30, 16]]
    assert joined(np.empty((0, 2)), detected, 5.0).tolist() == detected.tolist()


def test_components_of_the_right_size_are_detections_at_their_middle() -> None:
    from wsiproc_partial_points.detection import detected

    config = PartialPointsConfig(detected_by="components", detected_um2=(1.0, 10.0))
    prob = np.zeros((40, 40), np.float32)
    prob[4:8, 10:16] = 0.9  # 6 µm²
    prob[30, 30] = 0.9  # a speck
    prob[15:30, 2:20] = 0.9  # no nucleus
    assert detected(prob, None, config).tolist() == [[13.0, 6.0]]


def test_all_points_given_of_complete_data_leave_nothing_to_propagate() -> None:
    assert PartialPointsConfig(fraction=1.0).strategy == "full"
    assert PartialPointsConfig(fraction=1.0, complete=False).strategy == "self_training"
    assert PartialPointsConfig(fraction=0.5).strategy == "self_training"
