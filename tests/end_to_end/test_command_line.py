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


def test_maps_are_kept_as_ome_zarr_when_asked(
    small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    import zarr

    asked = Execution(workers=0, maps=True, tile_px=512, window_px=256)
    result = run(small.path, str(mask_model), tmp_path, settings=RunConfig(execution=asked))
    maps = zarr.open_group(result.folder / "maps.ome.zarr", mode="r")
    prob = maps["prob"]
    assert prob.attrs["ome"]["multiscales"]
    assert prob["0"].shape == (1, 1200, 1500)
    assert prob["1"].shape == (1, 600, 750)
    nuclei = result.nuclei()
    at = prob["0"][0][nuclei.y_px.astype(int).to_numpy(), nuclei.x_px.astype(int).to_numpy()]
    assert (at > 0.5 * 255).mean() > 0.9, "the map is high where nuclei are"
    assert any(name.startswith("maps.ome.zarr/prob/0/") for name in result.summary["files"])
    without = RunConfig(execution=Execution(workers=0))
    other = run(small.path, str(mask_model), tmp_path / "b", settings=without)
    assert other.summary["nuclei"] == result.summary["nuclei"]


def test_what_the_seams_and_the_store_say_is_in_the_summary(result) -> None:
    summary = result.summary
    for key in ("tiles_total", "tiles_reused", "grid", "windows", "peak_bytes", "device"):
        assert key in summary
    assert summary["seconds"]["total"] >= summary["seconds"]["network"] > 0
    assert summary["nuclei_per_mm2"] == pytest.approx(
        summary["nuclei"] / summary["tissue_mm2"], rel=1e-3
    )


def test_doctor_info_models_and_methods_answer_people_and_machines(small: DrawnSlide) -> None:
    for words in (("doctor",), ("info", small.path), ("models",), ("methods",), ("models", "unet")):
        told = wsiproc(*words)
        assert told.returncode == 0, told.stderr
        assert told.stdout.strip()
    for words in (("doctor",), ("info", small.path), ("models",), ("methods", "unet")):
        json.loads(wsiproc(*words, "--json").stdout)


def test_a_drawn_sample_and_its_truth_agree(tmp_path: Path) -> None:
    import geopandas

    out = tmp_path / "sample.tiff"
    drawn = wsiproc("sample", out, "--size", "1200", "900", "--seed", "4")
    assert drawn.returncode == 0, drawn.stderr
    truth = geopandas.read_parquet(tmp_path / "sample.tiff.nuclei.parquet")
    assert len(truth) > 50
    assert truth.geometry.is_valid.all()
    x0, y0, x1, y1 = truth.total_bounds
    assert 0 <= x0 < x1 <= 1200 * 0.25
    assert 0 <= y0 < y1 <= 900 * 0.25
