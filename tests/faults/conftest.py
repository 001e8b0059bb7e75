"""The scene that all fast rounds share.  The whole is `make test-faults`."""

from __future__ import annotations

import sys

import pytest
from scene import Scene, make_scene


@pytest.fixture(scope="session", autouse=True)
def _nobody_else_has_threads_here() -> None:
    if "torch" in sys.modules:
        pytest.skip("forks hang in a process where libraries have begun threads: `make test`")


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))
