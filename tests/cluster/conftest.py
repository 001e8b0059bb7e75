"""Jobs, cut into tiles small enough for a drawn slide to have many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wsiproc.config import Execution, Science
from wsiproc.plan import Job


def _job(slide: Path, model: Path, out: Path, name: str = "slide", **execution: object) -> Job:
    return Job(
        slide=slide,
        slide_id=name,
        model=str(model),
        out=out,
        science=Science(),
        execution=Execution(**{"window_px": 256, "tile_px": 512, **execution}),
    )


@pytest.fixture(scope="session")
def job() -> Callable[..., Job]:
    """Makes a job: ``job(slide, model, out, name="slide", **execution settings)``."""
    return _job
