"""Fixtures of the whole suite: drawn slides with known nuclei, and models that are instant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsiproc.slide._drawn import DrawnSlide, draw_slide
from wsiproc.testing.models import haematoxylin_model, hover_model, instances_model, points_model

SHARED = Path(__file__).parents[1].parent / "shared"


def pytest_report_header() -> str:
    there = "there" if SHARED.exists() else "missing, tests on real slides skip"
    return f"wsiproc: ../shared is {there}"


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test may see or touch the models of whoever runs the suite."""
    os.environ["WSIPROC_MODELS"] = str(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real slides and data sets."""
    if not SHARED.exists():
        pytest.skip("../shared is missing")
    return SHARED


@pytest.fixture(scope="session")
def real_slide(shared: Path) -> Path:
    return shared / "slides" / "CMU-1-Small-Region.svs"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnSlide:
    """A drawn slide of 4,400 x 3,700 px at .25 µm: nuclei on seams and edges, glass at a side."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.tiff"
    return draw_slide(path, width=4400, height=3700, seed=5, mpp=0.25)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> DrawnSlide:
    """A drawn slide of 1,500 x 1,200 px at .5 µm, quick to run through."""
    path = tmp_path_factory.mktemp("small") / "small.tiff"
    return draw_slide(path, width=1500, height=1200, seed=9, mpp=0.5)


@pytest.fixture(scope="session")
def mask_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model of kind mask at .5 µm that finds drawn nuclei."""
    path = tmp_path_factory.mktemp("model") / "haematoxylin.onnx"
    path.write_bytes(haematoxylin_model(mpp=0.5, windows=(256, 512)))
    return path


@pytest.fixture(scope="session")
def point_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model of kind points, with two classes."""
    path = tmp_path_factory.mktemp("model") / "points.onnx"
    path.write_bytes(points_model(mpp=0.5, windows=(256, 512), classes=True))
    return path


@pytest.fixture(scope="session")
def models(
    mask_model: Path, point_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A drawn model of each kind at .5 µm."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "hover.onnx").write_bytes(hover_model(mpp=0.5, windows=(256, 512), classes=True))
    (folder / "instances.onnx").write_bytes(instances_model(mpp=0.5, windows=(256, 512)))
    return {
        "mask": mask_model,
        "points": point_model,
        "hover": folder / "hover.onnx",
        "instances": folder / "instances.onnx",
    }
