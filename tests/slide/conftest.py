"""Slides with known pixels, written where a test wants them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage


@functools.cache
def _picture(width, height, seed=0):
    noise = np.random.default_rng(seed).standard_normal((height, width, 3), np.float32)
    smooth = ndimage.uniform_filter(noise, (4, 4, 0))
    pixels = np.clip(smooth / smooth.std() * 50 + 150, 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def _write_pyramid(
    path,
    pixels,
    factors=(),
    *,
    mpp=0.25,
    compression="jpeg",
    tile=(256, 256),
    description=None,
    ome=False,
):
    height, width = pixels.shape[:2]
    resolution = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    in_nm = {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "nm"}
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        for f in (1, *factors):
            tiff.write(
                pixels[: height // f * f : f, : width // f * f : f],
                tile=tile,
                photometric="rgb",
                compression=compression,
                resolution=resolution,
                resolutionunit=None if mpp is None else "CENTIMETER",
                description=description if f == 1 else None,
                subfiletype=0 if f == 1 else 1,
                subifds=len(factors) if ome and f == 1 else None,
                metadata={"PhysicalSizeX": mpp * 1e3, "PhysicalSizeY": mpp * 1e3, **in_nm}
                if ome and f == 1 and mpp
                else None
                if not ome
                else {},
                software=False,
            )
    return path


def _spoil(path, page, tile, change):
    with tifffile.TiffFile(path) as tiff:
        image = tiff.pages[page]
        at, count = image.dataoffsets[tile], image.databytecounts[tile]
    with path.open("r+b") as file:
        file.seek(at)
        data = change(file.read(count))
        assert len(data) == count
        file.seek(at)
        file.write(data)


@pytest.fixture(scope="session")
def picture():
    """``picture(width, height, seed)``: smooth texture that repeats nowhere, uint8 [h, w, 3]."""
    return _picture


@pytest.fixture(scope="session")
def write_pyramid():
    """Writes a tiled TIFF of pixels and of every f-th of them; its resolution tags say the mpp."""
    return _write_pyramid


@pytest.fixture(scope="session")
def spoil():
    """``spoil(path, page, tile, change)`` overwrites a stored tile."""
    return _spoil


@pytest.fixture
def real(shared: Path):
    """A real slide by name; skips where they are not beside the project."""
    return lambda name: shared / "slides" / name
