"""The scene that all fast rounds share.  The whole is `make test-faults`."""

from __future__ import annotations

import pytest
from scene import Scene, make_scene


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))
