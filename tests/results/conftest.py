"""Drawn results to ask."""

from __future__ import annotations

import geopandas
import pytest

from wsiproc.results.stored import StoredResult
from wsiproc.testing.results import drawn_result


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """A small result of one class."""
    return drawn_result(tmp_path_factory.mktemp("one") / "S-one", nuclei=200)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """A result of seven row groups: their size is made small, as full ones take long to draw."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("geoparquet", "tables"):
            patch.setattr(f"wsiproc.store.{module}.PIECE", 500)
        patch.setattr("wsiproc.store.geoparquet.ROW_GROUP", 1000)
        return drawn_result(
            tmp_path_factory.mktemp("many") / "S-many",
            nuclei=6500,
            classes=("tumour", "lymphocyte"),
            seed=2,
        )


@pytest.fixture(scope="session")
def rows(many: StoredResult) -> geopandas.GeoDataFrame:
    """What GeoPandas reads of `many`."""
    return geopandas.read_parquet(many.table)
