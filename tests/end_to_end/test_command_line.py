"""`wsiproc run` as a user meets it: results that others can read, and errors that help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from wsiproc.api import read_nuclei, run
from wsiproc.config import Execution, RunConfig, Science
from wsiproc.slide._drawn import DrawnSlide

IN_PROCESS = RunConfig(execution=Execution(workers=0))


def wsiproc(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "wsiproc.cli.app", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def result(small: DrawnSlide, mask_model: Path, tmp_path_factory: pytest.TempPathFactory):
    return run(small.path, str(mask_model), tmp_path_factory.mktemp("out"), settings=IN_PROCESS)


def test_a_result_has_its_files_and_its_manifest_says_so(result) -> None:
    there = {path.name for path in result.folder.iterdir()}
    assert there == {
        "nuclei.parquet",
        "centroids.parquet",
        "tissue.parquet",
        "overview.png",
        "manifest.json",
    }
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert set(manifest["files"]) == there - {"manifest.json"}


def test_most_drawn_nuclei_are_found_where_they_were_drawn(result, small: DrawnSlide) -> None:
    nuclei = read_nuclei(result.folder)
    truth = small.truth
    drawn_at = shapely.points(np.column_stack([truth.x, truth.y]) * 0.5)
    tree = shapely.STRtree(nuclei.geometry.to_numpy())
    hits = np.unique(tree.query(drawn_at, predicate="within")[0])
    assert len(hits) > 0.85 * len(truth)
    assert 0.85 * len(truth) < len(nuclei) < 1.15 * len(truth)


def test_the_two_tables_tell_the_same_nuclei(result) -> None:
    outlines = pq.read_table(result.folder / "nuclei.parquet")
    points = pq.read_table(result.folder / "centroids.parquet")
    for column in ("nucleus_id", "x_um", "y_um", "class_id", "score"):
        assert outlines[column].equals(points[column])


def test_a_finished_slide_is_not_done_again(result, small: DrawnSlide, mask_model: Path) -> None:
    before = (result.folder / "manifest.json").stat().st_mtime_ns
    again = run(small.path, str(mask_model), result.folder.parent, settings=IN_PROCESS)
    assert again.summary["status"] == "already done"
    assert (result.folder / "manifest.json").stat().st_mtime_ns == before


def test_a_region_of_interest_gives_the_nuclei_inside_it_and_no_others(
    result, small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    x, y, w, h = 300, 200, 500, 400
    ring = ((x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y))
    settings = RunConfig(science=Science(roi=((ring,),)), execution=Execution(workers=0))
    inside = read_nuclei(run(small.path, str(mask_model), tmp_path, settings=settings).folder)
    everywhere = read_nuclei(result.folder)
    assert 0 < len(inside) < len(everywhere)
    assert set(inside.nucleus_id) <= set(everywhere.nucleus_id)
    well_inside = everywhere.x_px.between(x + 50, x + w - 50) & everywhere.y_px.between(
        y + 50, y + h - 50
    )
    assert set(everywhere.nucleus_id[well_inside]) <= set(inside.nucleus_id)


def test_other_settings_at_the_same_place_are_refused_and_replace_is_named(
    small: DrawnSlide, mask_model: Path, point_model: Path, tmp_path: Path
) -> None:
    run(small.path, str(mask_model), tmp_path, settings=IN_PROCESS)
    asked = ("run", small.path, "--model", point_model, "--out", tmp_path, "--workers", "0")
    refused = wsiproc(*asked)
    assert refused.returncode == 73
    assert "--replace" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert wsiproc(*asked, "--replace").returncode == 0
    assert not (tmp_path / "small" / "nuclei.parquet").exists(), "points have no outlines"


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    asked = wsiproc(
        "run", small.path, "--model", mask_model, "--out", tmp_path / "o", "--dry-run", "--json"
    )
    said = json.loads(asked.stdout)
    assert said["tiles_total"] >= 1
    assert said["windows"] >= said["tiles_total"]
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_real_slide_runs_from_the_command_line(real_slide: Path, tmp_path: Path) -> None:
    ran = wsiproc("run", real_slide, "--model", "unet", "--out", tmp_path, "--json")
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["nuclei"] > 500
    assert summary["tissue_mm2"] > 0.5
