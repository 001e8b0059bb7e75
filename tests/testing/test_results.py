"""Drawn results are results: whole, plausible, and the same each time."""

from __future__ import annotations

from pathlib import Path

import geopandas
import shapely

from wsiproc.store.manifest import verify
from wsiproc.testing.results import drawn_result


def test_a_drawn_result_is_whole_and_its_nuclei_are_plausible(tmp_path: Path) -> None:
    result = drawn_result(tmp_path / "S", nuclei=900, classes=("a", "b", "c"))
    assert verify(result.folder) == []
    nuclei = geopandas.read_parquet(result.table)
    assert len(nuclei) == 900
    assert nuclei.geometry.is_valid.all()
    assert nuclei["area_um2"].between(5, 110).all()
    assert (nuclei["class_name"].value_counts() > 100).all()
    first, second = shapely.STRtree(nuclei.geometry.values).query(
        nuclei.geometry.values, predicate="intersects"
    )
    assert (first == second).all()
    tissue = geopandas.read_parquet(result.file("tissue.parquet"))
    centres = geopandas.read_parquet(result.file("centroids.parquet")).geometry
    # The outlines of tissue are smoothed, so a few nuclei at its rim are just outside.
    assert centres.within(tissue.geometry.union_all()).mean() > 0.95


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    files = [
        drawn_result(tmp_path / folder / "S", nuclei=500, seed=seed).manifest.files
        for folder, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert files[0] == files[1]
    assert files[0]["nuclei.parquet"] != files[2]["nuclei.parquet"]
