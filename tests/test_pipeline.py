"""What planning leaves to do, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from wsiproc.config import Execution, Science
from wsiproc.pipeline import grid_of, plan_slide, process_tile
from wsiproc.plan import Job
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.store.manifest import work_folder
from wsiproc.tiling import tile_at, windows_of
from wsiproc.workbench import Workbench


@pytest.fixture
def bench() -> Iterator[Workbench]:
    bench = Workbench()
    yield bench
    bench.close()


def test_tiles_wait_largest_first_and_row_by_row_among_equals(
    drawn: DrawnSlide, mask_model: Path, bench: Workbench, tmp_path: Path
) -> None:
    settings = Execution(window_px=256, tile_px=512)
    job = Job(drawn.path, "slide", str(mask_model), tmp_path, Science(), settings)
    opened = plan_slide(job, bench)
    planned = bench.plan(work_folder(tmp_path, opened.job_key), job)
    grid = grid_of(job, planned, bench.model(job).card)
    size = {at: len(windows_of(grid, tile_at(grid, *at), planned.touches)) for at in opened.waiting}
    assert len(size) == opened.tiles_total
    assert len(set(size.values())) > 1, "all tiles are of one size: nothing is tried here"
    for one, then in pairwise(opened.waiting):
        assert size[one] > size[then] or (size[one] == size[then] and one < then)
    done = opened.waiting[1]
    process_tile(job, opened, *done, bench)
    assert plan_slide(job, bench).waiting == tuple(at for at in opened.waiting if at != done)
