"""Drawn tissue, and a bank of filters made of a few of its nuclei."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage  # noqa: E402

from wsiproc.slide._drawn import draw_image  # noqa: E402
from wsiproc_mcf.features import measure_statistics  # noqa: E402
from wsiproc_mcf.filter_config import FilterConfig  # noqa: E402
from wsiproc_mcf.filters import Bank, cut_patch, make_bank  # noqa: E402
from wsiproc_mcf.response import calibrate  # noqa: E402

MPP = 0.5


def boxes(labels: np.ndarray) -> list[tuple[int, int, int, int]]:
    """``(x0, y0, x1, y1)`` of the nuclei that no edge cuts."""
    height, width = labels.shape
    found = []
    for rows, columns in (part for part in ndimage.find_objects(labels) if part is not None):
        if rows.start and columns.start and rows.stop < height and columns.stop < width:
            found.append((columns.start, rows.start, columns.stop, rows.stop))
    return found


@pytest.fixture(scope="session")
def drawing() -> tuple[np.ndarray, np.ndarray]:
    """Pixels and label map of drawn tissue at .5 µm."""
    return draw_image(192, 160, seed=3, mpp=MPP)


@pytest.fixture(scope="session")
def settings() -> FilterConfig:
    return FilterConfig()


@pytest.fixture(scope="session")
def bank(drawing: tuple[np.ndarray, np.ndarray], settings: FilterConfig) -> Bank:
    """Of four nuclei, calibrated on the image they are from."""
    pixels, labels = drawing
    statistics = measure_statistics([pixels], settings, MPP)
    patches = [cut_patch(pixels, box, settings, MPP) for box in boxes(labels)[:12:3]]
    return calibrate(make_bank(patches, settings, MPP, statistics), [pixels])
