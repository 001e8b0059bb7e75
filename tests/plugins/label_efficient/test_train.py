"""The method keeps the contract, learns from what was annotated alone, and goes on when killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

import wsiproc_label_efficient  # noqa: E402
from wsiproc.datasets import read_dataset  # noqa: E402
from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc.evaluate import evaluate  # noqa: E402
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
from wsiproc_label_efficient.config import LabelEfficientConfig  # noqa: E402

Trained = tuple[tuple[Path, ...], list[TrainingEvent], TrainingInputs]


class StoppedError(Exception):
    """Stands for the kill."""


class TestLabelEfficient(MethodContract):
    method = wsiproc_label_efficient.METHOD

    @pytest.mark.slow
    def test_it_gives_one_local_model_of_the_kind_hover(self, trained: Trained) -> None:
        (card,) = (load_model(str(file)).card for file in trained[0])
        assert (card.name, card.kind, card.local) == ("label_efficient", "hover", True)

    @pytest.mark.slow
    def test_from_four_patches_it_outlines_nuclei_on_unseen_drawings(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        unseen = drawn_dataset(tmp_path / "unseen", train=1, val=3, seed=99)
        scores = evaluate(str(trained[0][0]), unseen, "val", device="cpu")
        assert scores["detection"]["f1"] >= 0.8
        assert scores["instances"]["aji"] >= 0.65

    @pytest.mark.slow
    def test_the_card_says_how_little_was_annotated_and_what_each_round_reached(
        self, trained: Trained
    ) -> None:
        card = load_model(str(trained[0][0])).card
        assert "4 patches of 48 µm, 7.0% of the train split's pixels" in card.note
        assert "chosen by cps" in card.note
        assert "16 pairs were made from them by csingan" in card.note
        assert "of 1 rounds of pseudo-labels" in card.note
        assert {f"drawn/val/round-{i}/aji" for i in (0, 1)} <= set(card.metrics)
        best = max(card.metrics[f"drawn/val/round-{i}/aji"] for i in (0, 1))
        assert card.metrics["drawn/val/aji"] == pytest.approx(best, abs=0.05)

    @pytest.mark.slow
    def test_what_each_stage_made_is_there_to_look_at(self, trained: Trained) -> None:
        out = trained[2].out
        for name in (
            "patches.png",
            "round-0/curves.png",
            "round-0/predictions.png",
            "round-1/pseudo.png",
            "round-1/curves.png",
            "round-1/predictions.png",
        ):
            with Image.open(out / name) as picture:
                assert picture.width > 64


def _tiny(**changes: object) -> LabelEfficientConfig:
    smoke = wsiproc_label_efficient.METHOD.presets["smoke"].model_dump()
    steps = Schedule(steps=4, batch=2, crop_px=32, ema=0.5, check_every=4).model_dump()
    smoke["hover"] |= {"schedule": steps, "width": 4, "poolings": 1, "windows": (64,)}
    smoke["select"] |= {"k": 2, "method": "random"}
    smoke["synthesis"] |= {"steps": 2, "per_patch": 2, "scales": 1}
    for key, value in changes.items():
        smoke[key] = {**smoke[key], **value} if isinstance(value, dict) else value
    return LabelEfficientConfig.model_validate(smoke)


def _train(
    config: LabelEfficientConfig, data: Path, out: Path, *unlabelled: Path
) -> tuple[Path, list[TrainingEvent]]:
    events: list[TrainingEvent] = []
    inputs = TrainingInputs((data,), out, unlabelled, threads=1, listener=events.append)
    (file,) = wsiproc_label_efficient.METHOD.train(config, inputs)
    return file, events


def _stages(events: list[TrainingEvent]) -> set[str]:
    return {event.stage for event in events if isinstance(event, TrainingStep)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_dataset(tmp_path_factory.mktemp("small") / "drawn", train=2, val=1, size=160)


@pytest.mark.slow
def test_killed_in_any_stage_it_ends_in_the_same_file(small: Path, tmp_path: Path) -> None:
    config = _tiny(rounds={"rounds": 2, "part": 1.0})
    wanted = _train(config, small, tmp_path / "whole")[0].read_bytes()
    stopped: list[str] = []

    def stop(event: TrainingEvent) -> None:
        if isinstance(event, TrainingChecked | TrainingNote):
            name = f"{type(event).__name__} {event.stage}"
            if name not in stopped:
                stopped.append(name)
                raise StoppedError

    inputs = TrainingInputs((small,), tmp_path / "out", threads=1, listener=stop)
    for _ in range(20):
        try:
            (file,) = wsiproc_label_efficient.METHOD.train(config, inputs)
            break
        except StoppedError:
            continue
    for stage in ("select", "synthesis", "data", "round-0", "round-1", "round-2"):
        assert any(name.endswith(stage) for name in stopped), stopped
    assert file.read_bytes() == wanted


@pytest.mark.slow
def test_no_outline_outside_of_the_chosen_patches_is_learnt_from(
    small: Path, tmp_path: Path
) -> None:
    config = _tiny(synthesis={"how": "naive"})
    wanted = _train(config, small, tmp_path / "one")[0].read_bytes()
    rows = (tmp_path / "one/select/patches.csv").read_text().splitlines()[1:]
    other = tmp_path / "drawn"
    drawn_dataset(other, train=2, val=1, size=160)
    for sample in read_dataset(other).split("train"):
        labels = sample.instances()
        kept = np.zeros_like(labels)
        for row in rows:
            image, x, y, size = row.split(",")
            if image == sample.id:
                inside = slice(int(y), int(y) + int(size)), slice(int(x), int(x) + int(size))
                kept[inside] = labels[inside]
        assert (kept != labels).any()
        Image.fromarray(kept.astype(np.uint16)).save(other / "instances" / f"{sample.id}.png")
    assert _train(config, other, tmp_path / "two")[0].read_bytes() == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "rounds"),
    [
        ({"annotated": "all"}, 0),
        pytest.param(
            {"synthesis": {"how": "naive"}, "rounds": {"rounds": 0}}, 0, marks=pytest.mark.variants
        ),
        ({"synthesis": {"how": "naive"}, "rounds": {"rounds": 3, "export": "last"}}, 3),
        pytest.param(
            {"select": {"method": "centre"}, "synthesis": {"how": "naive"}},
            1,
            marks=pytest.mark.variants,
        ),
    ],
    ids=str,
)
def test_what_the_papers_tables_compare_are_switches(
    small: Path, tmp_path: Path, switch: dict[str, object], rounds: int
) -> None:
    file, events = _train(_tiny(**switch), small, tmp_path / "out")
    assert _stages(events) == {f"round-{i}" for i in range(rounds + 1)}
    note = load_model(str(file)).card.note
    whole = switch.get("annotated") == "all"
    assert ("all outlines of 2 images" if whole else "2 patches of 48 µm") in note
    if rounds == 3:
        assert "of 3 rounds of pseudo-labels this is number 3" in note


@pytest.mark.slow
def test_full_supervision_takes_its_rounds_from_unlabelled_images(
    small: Path, tmp_path: Path
) -> None:
    more = drawn_dataset(tmp_path / "more", train=2, val=1, size=128, seed=5)
    toml = more / "dataset.toml"
    toml.write_text(toml.read_text().replace('"drawn"', '"more"').replace("instances", "none"))
    file, events = _train(_tiny(annotated="all"), small, tmp_path / "out", more)
    assert _stages(events) == {"round-0", "round-1"}
    assert {entry.name for entry in load_model(str(file)).card.data} == {"drawn", "more"}


def test_points_are_no_outlines(tmp_path: Path) -> None:
    data = drawn_dataset(tmp_path / "drawn", train=1, val=1, size=64)
    (data / "points").mkdir()
    for sample in read_dataset(data).samples:
        (data / "points" / f"{sample.id}.csv").write_text("x,y,class\n10,10,1\n")
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace('"instances"', '"points"'))
    with pytest.raises(ConfigError, match="instances are needed"):
        _train(_tiny(), data, tmp_path / "out")
