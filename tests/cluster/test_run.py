"""One slide's way: who is to blame for a death, and when there is an end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wsiproc.cluster import Done, Failed
from wsiproc.cluster._run import Run, Step
from wsiproc.errors import BusyError, SlideReadError, WorkerLostError
from wsiproc.finish import Finished
from wsiproc.pipeline import Opened, TileReceipt
from wsiproc.plan import Job
from wsiproc.progress import Event, StageDone, StageStarted

TILES = ((0, 1), (0, 0))


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def run(job: Callable[..., Job], heard: list[Event], tmp_path: Path) -> Run:
    """A run of a slide whose file nobody opens."""
    return Run(job(Path("a.svs"), Path("m.onnx"), tmp_path), heard.append)


def two_threads(_tiles: int) -> int:
    return 2


def plan(run: Run) -> None:
    run.begin("plan")
    run.settle(Opened("key", waiting=TILES, tiles_total=3, seconds=4.0), two_threads)


def receipt(tile: tuple[int, int], pid: int) -> TileReceipt:
    return TileReceipt(*tile, 5, 9, {"read": 1.0, "network": 2.0}, pid, 100 * pid)


def test_a_slide_is_planned_its_tiles_run_and_then_it_is_joined(
    run: Run, heard: list[Event]
) -> None:
    assert not run.joinable
    plan(run)
    assert tuple(run.waiting) == TILES
    assert run.job.execution.threads == 2
    run.waiting.clear()
    for pid, tile in enumerate(TILES, 1):
        run.settle(receipt(tile, pid), two_threads)
    assert run.joinable
    assert run.outcome is None
    assert run.join() == Step("finish")
    run.settle(Finished({"nuclei": 10}), two_threads)
    assert not run.joinable
    run.held.close()
    assert run.outcome == Done(run.job, Finished({"nuclei": 10}))
    stages = [event.stage for event in heard if isinstance(event, StageStarted | StageDone)]
    assert stages == ["plan", "plan", "tiles", "tiles", "finish", "finish"]


def test_receipts_are_added_up(run: Run) -> None:
    plan(run)
    for pid, tile in enumerate(TILES, 1):
        run.settle(receipt(tile, pid), two_threads)
    run.held.close()
    assert (run.work.tiles_total, run.work.tiles_reused, run.work.windows) == (3, 1, 18)
    assert run.work.seconds == {"plan": 4.0, "read": 2.0, "network": 4.0}
    assert run.work.peaks == {1: 100, 2: 200}


def test_a_slide_whose_tiles_are_in_flight_has_no_end_yet(run: Run) -> None:
    plan(run)
    run.waiting.clear()
    run.in_flight = 1
    assert not run.joinable
    run.fail(SlideReadError("unreadable"))
    assert run.outcome is None
    run.in_flight = 0
    run.held.close()
    assert isinstance(run.outcome, Failed)


def test_a_slide_given_up_sends_nothing_more_and_keeps_its_first_error(run: Run) -> None:
    plan(run)
    run.mourn(Step("tile", (0, 0)))
    first = SlideReadError("first")
    run.fail(first)
    run.fail(SlideReadError("second"))
    run.mourn(Step("tile", (0, 1)))
    run.held.close()
    assert not run.waiting
    assert not run.suspects
    assert not run.joinable
    assert run.outcome == Failed(run.job, first)


def test_a_worker_that_dies_with_many_steps_condemns_none(run: Run) -> None:
    step = Step("tile", (0, 0))
    for _ in range(9):
        run.mourn(step)
        step = run.suspects.popleft()
    assert step.deaths == 0
    assert run.outcome is None


def test_a_step_that_takes_two_workers_down_alone_is_to_blame(run: Run) -> None:
    run.mourn(Step("tile", (3, 4), alone=True))
    assert run.outcome is None
    (again,) = run.suspects
    run.suspects.clear()
    run.mourn(again)
    assert isinstance(run.outcome, Failed)
    assert isinstance(run.outcome.error, WorkerLostError)
    assert "tile-3-4" in str(run.outcome.error)


def test_a_suspect_keeps_its_slide_from_being_joined(run: Run) -> None:
    plan(run)
    run.waiting.clear()
    run.mourn(Step("tile", (0, 0)))
    assert not run.joinable
    run.suspects.clear()
    assert run.joinable
    run.held.close()


def test_a_job_is_worked_on_by_one_run_at_a_time(
    run: Run, job: Callable[..., Job], tmp_path: Path
) -> None:
    plan(run)
    other = Run(job(Path("a.svs"), Path("m.onnx"), tmp_path), lambda _event: None)
    with pytest.raises(BusyError):
        plan(other)
    run.held.close()
    plan(other)
    other.held.close()
