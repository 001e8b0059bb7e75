"""The accuracy table: no number without a run, no run that cannot be done and checked again."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

import check
import run
import score
from paper import GAINS, SECTIONS
from rows import ROWS, SHARED, UNLABELLED, Row, Run, plan, run_named
from splits import scorable
from table import render

from wsiproc.cli.settings import configured
from wsiproc.datasets import read_dataset
from wsiproc.errors import ConfigError
from wsiproc.methods import find_method
from wsiproc.slide._drawn_dataset import drawn_dataset
from wsiproc.training.checkpoint import IDENTITY

JSONS = sorted(run.RESULTS.glob("*.json"))


def drawn(folder: Path, name: str) -> Path:
    """A drawn data set that calls itself by a real one's name."""
    data = drawn_dataset(folder / name, train=2, val=1, size=160)
    toml = data / "dataset.toml"
    toml.write_text(toml.read_text().replace('name = "drawn"', f'name = "{name}"'))
    return data


def asked(tmp_path: Path, row: str, data: Path, **more: object) -> argparse.Namespace:
    """What `run.py row` understands of a command line."""
    words = ["row", row, "--data", str(data), "--runs", str(tmp_path / "runs"), "--threads", "1"]
    given = run._parser().parse_args([*words, "--results", str(tmp_path / "results")])
    return argparse.Namespace(**{**vars(given), **more})


def again(tmp_path: Path, name: str) -> int:
    """What `run.py check` says, as an exit code; data sets lie in `tmp_path`."""
    words = ["check", name, "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    given = run._parser().parse_args([*words, "--results", str(tmp_path / "results")])
    return check.check(given)


def test_the_page_says_what_the_jsons_say() -> None:
    assert (run.HERE / "RESULTS.md").read_text() == render(run.RESULTS)


@pytest.mark.parametrize("path", JSONS, ids=lambda path: path.stem)
def test_a_json_says_how_its_numbers_came_about(path: Path) -> None:
    said = json.loads(path.read_text())
    mine = run_named(path.stem)
    assert (said["dataset"], said["row"], said["seed"]) == (mine.dataset, mine.row, mine.seed)
    assert f"row {mine.row} --data DATA/{mine.dataset}" in said["command"]
    assert said["split"] == "val"
    assert all(len(model["sha256"]) == 64 for model in said["models"].values())
    assert "/home/" not in path.read_text()
    row = ROWS[mine.row]
    if mine.dataset not in row.model:
        assert said["seconds"] > 0
        assert score.as_config(row.method, said["config"]).model_dump(mode="json")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_changes_settings_that_its_method_has(name: str) -> None:
    row = ROWS[name]
    method = find_method(row.method)
    for preset in method.presets:
        for dataset in ("crchisto", "dsb_dapi", "kumar", "tnbc"):
            changed = configured(method, preset, row.changes(dataset, preset))
            assert isinstance(changed, method.config)
    as_it_is = ("mcf", "exemplar-all", "unet", "unet-shipped")
    assert bool(row.settings) == (name not in as_it_is)


def test_the_plan_holds_every_row_once_a_seed_and_what_matters_thrice() -> None:
    runs = list(plan())
    assert len(set(runs)) == len(runs)
    assert {each.row for each in runs} == set(ROWS)
    for dataset, row in (
        ("crchisto", "lair-5"),
        ("crchisto", "supervised-5"),
        ("kumar", "points-10"),
        ("kumar", "mcf"),
        ("tnbc", "mcf"),
    ):
        assert {each.seed for each in runs if (each.dataset, each.row) == (dataset, row)} == {
            0,
            1,
            2,
        }
    assert all(run_named(each.name) == each for each in runs)


def test_every_planned_run_has_a_line_on_the_page() -> None:
    tables = [table for section in SECTIONS for table in section.tables]
    lines = {(table.dataset, row) for table in tables for row in table.rows}
    assert {(each.dataset, each.row) for each in plan()} <= lines
    for gain in GAINS:
        assert {(gain.dataset, gain.row), (gain.dataset, gain.baseline)} <= lines


def test_no_planned_run_learns_from_patients_that_it_is_scored_on() -> None:
    for each in plan():
        others = UNLABELLED.get((each.dataset, ROWS[each.row].method), ())
        score.refuse_known_patients(each.dataset, [each.dataset, *others])


def test_a_training_on_patients_that_it_would_be_scored_on_is_not_begun(tmp_path: Path) -> None:
    data, other = drawn(tmp_path, "kumar"), drawn(tmp_path, "brca_m2c")
    with pytest.raises(ConfigError, match="patients of kumar are in brca_m2c"):
        score.score_row(asked(tmp_path, "mcf", data, unlabelled=[other]))
    assert not (tmp_path / "runs").exists()


def test_a_model_that_knows_the_patients_is_not_scored_on_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patients of kumar are in brca_m2c"):
        score.scored(["mcf"], ROWS["mcf"], drawn(tmp_path, "kumar"), "val")


def test_what_was_scored_is_checked_and_a_number_that_moved_is_found(
    tmp_path: Path,
    mask_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = Row("a model that is there", model={"tnbc": str(mask_model)}, radius_um=4.0)
    monkeypatch.setitem(ROWS, "there", row)
    path = score.score_row(asked(tmp_path, "there", drawn(tmp_path, "tnbc")))
    assert path.name == "tnbc-there-0.json"
    said = json.loads(path.read_text())
    (model,) = said["models"].values()
    assert model["detection"]["f1"] > 0.5
    assert model["detection_as_printed"]["radius_um"] == 4.0
    assert again(tmp_path, "tnbc-there-0") == 0
    assert "the models of the JSON, by their digests" in capsys.readouterr().out
    model["instances"]["aji"] += 0.01
    path.write_text(json.dumps(said))
    assert again(tmp_path, "tnbc-there-0") == 1
    assert "instances aji" in next(
        line for line in capsys.readouterr().out.splitlines() if line.endswith("apart")
    )


@pytest.mark.slow
def test_a_run_whose_model_is_gone_is_trained_again_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"schedule.steps": "40", "schedule.check_every": "20", "windows": "[256]"}
    monkeypatch.setitem(ROWS, "short", Row("a short training", "unet", settings=short))
    data = drawn(tmp_path, "kumar")
    path = score.score_row(asked(tmp_path, "short", data, preset="smoke", seed=3))
    said = json.loads(path.read_text())
    assert said["config"]["schedule"]["steps"] == 40
    assert said["train"] == (
        "wsiproc train unet --data DATA/kumar --preset smoke --set schedule.steps=40 "
        "--set schedule.check_every=20 --set 'windows=[256]' --seed 3 --out OUT"
    )
    assert str(tmp_path) not in path.read_text()
    assert again(tmp_path, "kumar-short-3") == 0
    assert "trained again" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "runs")
    assert again(tmp_path, "kumar-short-3") == 0
    assert "RUNS holds no models of kumar-short-3: trained again" in capsys.readouterr().out


def test_all_runs_what_has_no_json_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn(tmp_path, "tnbc")
    results = tmp_path / "results"
    results.mkdir()
    done = results / "tnbc-mcf-0.json"
    shutil.copy(run.RESULTS / done.name, done)
    before = done.stat().st_mtime_ns
    monkeypatch.setattr(run, "plan", lambda: iter([Run("tnbc", "mcf"), Run("tnbc", "unet")]))
    words = ["all", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--threads", "1"]
    given = run._parser().parse_args([*words, "--results", str(results)])
    assert run.run_all(given) == 0
    assert done.stat().st_mtime_ns == before
    assert json.loads((results / "tnbc-unet-0.json").read_text())["models"]["unet"]["sha256"]
    assert (results / "RESULTS.md").read_text() == render(results)
    assert capsys.readouterr().out.count("== ") == 1
    assert run.run_all(given) == 0
    assert "== " not in capsys.readouterr().out


def test_a_run_that_another_process_is_at_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "plan", lambda: iter([Run("tnbc", "unet")]))
    words = ["all", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    given = run._parser().parse_args([*words, "--results", str(tmp_path / "results")])
    with run._mine(tmp_path / "runs" / "tnbc-unet-0.lock") as mine:
        assert mine
        assert run.run_all(given) == 0
    assert "== " not in capsys.readouterr().out
    assert run.run_all(given) == 1, "there is no such data set"
    assert "failed: tnbc-unet-0" in capsys.readouterr().out


def test_rows_take_over_the_stages_that_they_share_and_no_others(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    other = runs / "crchisto-supervised-5-2"
    other.mkdir(parents=True)
    method = find_method("lair")
    config = configured(method, "default", ROWS["supervised-5"].changes("crchisto", "default"))
    (other / IDENTITY).write_text(json.dumps({"config": config.model_dump(mode="json")}))
    (other / "pretrain.pt").write_bytes(b"first stage")
    (other / "joint.pt").write_bytes(b"second stage")
    os.utime(other / IDENTITY, (1000, 1000))
    os.utime(other / "pretrain.pt", (1300, 1300))
    (other / "seconds.txt").write_text("310.0")
    mine = Run("crchisto", "lair-5", 2)
    score.take_over(mine, "default", {"width": "8"}, runs)
    assert not (runs / mine.name).exists(), "that training has other widths"
    score.take_over(mine, "default", {}, runs)
    assert {path.name for path in (runs / mine.name).iterdir()} == {"pretrain.pt", "seconds.txt"}
    assert (runs / mine.name / "seconds.txt").read_text() == "300.0"
    (runs / mine.name / IDENTITY).write_text("{}")
    (runs / mine.name / "pretrain.pt").write_bytes(b"my own by now")
    score.take_over(mine, "default", {}, runs)
    assert (runs / mine.name / "pretrain.pt").read_bytes() == b"my own by now"


def test_shared_stages_are_of_the_same_method_and_of_rows_that_come_first() -> None:
    order = [run.name for run in plan()]
    datasets = {"lair": ("crchisto",), "partial_points": ("kumar",)}
    for row, (other, _) in SHARED.items():
        assert ROWS[row].method == ROWS[other].method
        for dataset in datasets.get(ROWS[row].method, ("tnbc", "kumar")):
            assert order.index(Run(dataset, other).name) < order.index(Run(dataset, row).name)


def test_images_without_slide_ids_get_a_val_split_by_chance_and_say_so(tmp_path: Path) -> None:
    data = drawn_dataset(tmp_path / "dsb_dapi", train=8, val=0, size=64)
    toml = data / "dataset.toml"
    lines = toml.read_text().replace('name = "drawn"', 'name = "dsb_dapi"').splitlines()
    toml.write_text("\n".join(line for line in lines if not line.startswith(("mpp", "val"))))
    split = read_dataset(scorable(data, tmp_path / "runs"))
    assert (len(split.split("train")), len(split.split("val"))) == (6, 2)
    assert split.mpp == 0.5
    assert scorable(data, tmp_path / "runs") == tmp_path / "runs" / "data" / "dsb_dapi"
    (section,) = (section for section in SECTIONS if section.method == "exemplar")
    assert "no held-out measure" in section.differs
    other = drawn(tmp_path, "tnbc")
    assert scorable(other, tmp_path / "runs") == other
