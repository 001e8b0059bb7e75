"""What a worker keeps open is what it was asked for, also when it outlives a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiproc.config import Execution, Science
from wsiproc.geometry import Box
from wsiproc.plan import Job
from wsiproc.workbench import Workbench


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(
        slide=tmp_path / "a.png",
        slide_id="a",
        model="unet",
        out=tmp_path,
        science=Science(mpp=0.5),
        execution=Execution(),
    )
    paint(job.slide, 10)
    return job


def paint(path: Path, grey: int) -> None:
    """Another slide takes the place of the one there, as `mv` and most copiers do it."""
    new = path.with_name("new.png")
    Image.fromarray(np.full((64, 64, 3), grey, np.uint8)).save(new)
    new.replace(path)


def grey_of(bench: Workbench, job: Job) -> int:
    with bench.slide(job) as slide:
        return int(slide.read(0, Box(0, 0, 1, 1))[0, 0, 0])


def test_a_slide_is_opened_once(job: Job) -> None:
    bench = Workbench()
    with bench.slide(job) as first:
        pass
    with bench.slide(replace(job, slide_id="b")) as second:
        assert second is first
    bench.close()


def test_another_slide_at_the_same_path_is_not_mistaken_for_the_first(job: Job) -> None:
    bench = Workbench()
    assert grey_of(bench, job) == 10
    paint(job.slide, 200)
    assert grey_of(bench, job) == 200
    bench.close()
