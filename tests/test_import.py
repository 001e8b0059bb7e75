"""Importing wsiproc is quick and does nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "torchvision",
    "dask",
    "distributed",
    "onnxruntime",
    "openvino",
    "geopandas",
    "zarr",
    "numba",
    "duckdb",
)


PLUGINS = (
    "wsiproc_unet",
    "wsiproc_mcf",
    "wsiproc_lair",
    "wsiproc_partial_points",
    "wsiproc_exemplar",
)


@pytest.mark.parametrize("module", ["wsiproc", "wsiproc.cli.app", *PLUGINS])
def test_importing_loads_no_engine_and_changes_nothing(module: str) -> None:
    program = f"""
import logging, os, signal, sys, threading
before = dict(os.environ), logging.root.handlers[:], threading.active_count()
before += (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
import {module}
after = dict(os.environ), logging.root.handlers[:], threading.active_count()
after += (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
assert after == before
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


def test_what_is_offered_is_there() -> None:
    import wsiproc

    assert all(callable(getattr(wsiproc, name)) for name in wsiproc.__all__ if name[0] != "_")
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        wsiproc.nope  # noqa: B018
