"""One slide's way: who is to blame for a death, and when there is an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wsiproc.cluster import Done, Failed, Identified
from wsiproc.cluster._run import DEATHS, DEATHS_SHARED, Run, Step
from wsiproc.config import Science
from wsiproc.errors import BusyError, NotReadyError, SlideReadError, WorkerLostError
from wsiproc.finish import Finished
from wsiproc.pipeline import Opened, TileReceipt
from wsiproc.plan import Job
from wsiproc.progress import Event, StageDone, StageStarted
from wsiproc.slide.arrival import Seen, Stamp

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


def test_a_step_that_keeps_company_with_deaths_goes_to_a_process_of_its_own(run: Run) -> None:
    step = Step("tile", (3, 4))
    for _ in range(DEATHS_SHARED):
        assert not step.alone
        run.mourn(step)
        step = run.suspects.popleft()
    assert step.alone
    assert run.outcome is None


def test_deaths_of_workers_condemn_no_step_but_one_that_sees_no_end_of_them(run: Run) -> None:
    step = Step("tile", (3, 4))
    for _ in range(DEATHS - 1):
        run.mourn(step)
        step = run.suspects.popleft()
    assert run.outcome is None
    run.mourn(step)
    assert isinstance(run.outcome, Failed)
    assert isinstance(run.outcome.error, WorkerLostError)
    assert run.outcome.tile == (3, 4)


def test_a_bad_slide_is_believed_at_once_or_confirmed_by_a_fresh_process(run: Run) -> None:
    step, bad = Step("tile", (3, 4)), SlideReadError("unreadable")
    run.confirm = True
    run.refuse(step, bad)
    assert run.outcome is None
    again = run.next()
    assert again == Step("tile", (3, 4), alone=True)
    assert run.order(again).last
    run.refuse(again, bad)
    assert run.outcome == Failed(run.job, bad, (3, 4))


@pytest.mark.parametrize("error", [NotReadyError("changed"), KeyError("bug"), MemoryError()])
def test_what_says_nothing_of_the_slide_needs_no_confirmation(run: Run, error: Exception) -> None:
    run.confirm = True
    run.refuse(Step("plan"), error)
    assert run.outcome == Failed(run.job, error)


def test_a_slide_that_is_only_identified_ends_with_its_fingerprint(run: Run) -> None:
    seen = Seen("print", Stamp(1, 2, 3.0, "stamp"))
    run.settle(seen, two_threads)
    assert run.outcome == Identified(run.job, seen)


def left_out(tile: tuple[int, int]) -> TileReceipt:
    return replace(receipt(tile, 1), nuclei=0, unread=True)


def test_unreadable_tiles_are_left_out_up_to_the_share_allowed(run: Run) -> None:
    run.job = replace(run.job, science=Science(max_bad_tiles=0.34))
    plan(run)
    run.waiting.clear()
    run.settle(left_out((0, 0)), two_threads)
    assert run.joinable
    run.settle(left_out((0, 1)), two_threads)
    run.held.close()
    assert isinstance(run.outcome, Failed)
    assert "2 of 3 tiles" in str(run.outcome.error)


def test_only_the_last_try_leaves_a_tile_out_and_only_if_that_is_allowed(run: Run) -> None:
    run.confirm = True
    last = Step("tile", (0, 0), alone=True)
    assert not run.order(last).leave_out
    run.job = replace(run.job, science=Science(max_bad_tiles=0.01))
    assert run.order(last).leave_out
    assert not run.order(Step("tile", (0, 0))).leave_out


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
