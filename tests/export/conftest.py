"""Results to export."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from wsiproc.results.stored import StoredResult, tables
from wsiproc.testing.results import drawn_result

CLASSES = ("tumour", 'lympho "b" <&>', "stroma µ")


@pytest.fixture(scope="session")
def result(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """1,500 outlined nuclei of three classes, with names that formats have to quote."""
    folder = tmp_path_factory.mktemp("out") / "S-1"
    return drawn_result(folder, nuclei=1500, classes=CLASSES, seed=3)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """100 outlined nuclei on a small slide."""
    return drawn_result(tmp_path_factory.mktemp("out") / "F-1", nuclei=100, classes=("a", "b"))


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """400 nuclei without outlines."""
    folder = tmp_path_factory.mktemp("out") / "P-1"
    return drawn_result(folder, nuclei=400, classes=("a", "b"), polygons=False)


@pytest.fixture(scope="session")
def rows(result: StoredResult) -> pa.Table:
    """All rows of `result`."""
    return pa.concat_tables(tables(result.table))


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> StoredResult:
    """A result without a nucleus."""
    return drawn_result(tmp_path_factory.mktemp("out") / "N-1", nuclei=0)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
