"""Workers may die or hang: their tiles are done again, and only a slide that is to blame fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import dask
import psutil
import pytest

from wsiproc.cluster import Done, Failed, run_slides
from wsiproc.errors import (
    BusyError,
    ConfigError,
    InterruptedRunError,
    SlideError,
    TimeLimitError,
    WorkerLostError,
)
from wsiproc.plan import Job
from wsiproc.progress import Event, TileDone
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.store.lease import lease
from wsiproc.store.manifest import read_manifest


def workers() -> list[psutil.Process]:
    """The processes that Dask started for this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.slow
def test_killed_workers_lose_no_tile_and_change_no_byte(
    job: Callable[..., Job], drawn: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    calm = job(drawn.path, mask_model, tmp_path / "calm", workers=0)
    (undisturbed,) = run_slides([calm], calm.execution)
    assert isinstance(undisturbed, Done)
    killed = 0

    def kill_one(event: Event) -> None:
        nonlocal killed
        if isinstance(event, TileDone) and killed < 2:
            victims = workers()
            if victims:
                os.kill(victims[0].pid, signal.SIGKILL)
                killed += 1

    rough = job(drawn.path, mask_model, tmp_path / "rough", workers=2)
    (survived,) = run_slides([rough], rough.execution, kill_one)
    assert killed == 2
    assert isinstance(survived, Done)
    tables = [read_manifest(tmp_path / kind / "slide").files for kind in ("calm", "rough")]
    assert tables[0]["nuclei.parquet"] == tables[1]["nuclei.parquet"]


@pytest.mark.slow
def test_a_tile_that_hangs_is_ended_and_fails_its_slide_alone(
    job: Callable[..., Job], drawn: DrawnSlide, small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    patient = job(small.path, mask_model, tmp_path, "good", workers=1)
    hurried = job(
        drawn.path, mask_model, tmp_path, "slow", workers=1, tile_px=4096, tile_timeout_s=0.1
    )
    outcomes = {o.job.slide_id: o for o in run_slides([hurried, patient], patient.execution)}
    assert isinstance(outcomes["good"], Done)
    assert isinstance(outcomes["slow"], Failed)
    assert isinstance(outcomes["slow"].error, WorkerLostError)
    assert not (tmp_path / "slow").exists()


def test_a_bad_slide_leaves_the_others_alone(
    job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.svs"
    junk.write_bytes(b"no slide" * 100)
    jobs = [
        job(junk, mask_model, tmp_path / "out", "bad", workers=0),
        job(small.path, mask_model, tmp_path / "out", "good", workers=0),
    ]
    outcomes = {o.job.slide_id: o for o in run_slides(jobs, jobs[0].execution)}
    assert isinstance(outcomes["good"], Done)
    assert isinstance(outcomes["bad"], Failed)
    assert isinstance(outcomes["bad"].error, SlideError)


def test_a_job_that_somebody_works_on_is_left_to_them(
    job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    mine = job(small.path, mask_model, tmp_path, workers=0)
    refused = replace(mine, slide_id="other")
    (first,) = run_slides([mine], mine.execution)
    assert isinstance(first, Done)
    key = read_manifest(tmp_path / "slide").job_key
    with lease(tmp_path / ".wsiproc" / f"{key}.lease"):
        (second,) = run_slides([refused], refused.execution)
    assert isinstance(second, Failed)
    assert isinstance(second.error, BusyError)


@pytest.mark.slow
def test_a_scheduler_elsewhere_gives_the_same_table(
    job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    here = job(small.path, mask_model, tmp_path / "here", workers=0)
    (done,) = run_slides([here], here.execution)
    assert isinstance(done, Done)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        there = job(small.path, mask_model, tmp_path / "there", scheduler=cluster.scheduler_address)
        (done,) = run_slides([there], there.execution)
    assert isinstance(done, Done)
    tables = [read_manifest(tmp_path / place / "slide").files for place in ("here", "there")]
    assert tables[0]["nuclei.parquet"] == tables[1]["nuclei.parquet"]


def test_a_scheduler_that_does_not_answer_is_a_matter_of_trying_again(
    job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    nowhere = job(small.path, mask_model, tmp_path, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(BusyError, match="scheduler"):
        list(run_slides([nowhere], nowhere.execution))


@pytest.mark.parametrize("stop", [InterruptedRunError("stop", 15), TimeLimitError("over", 10)])
def test_a_signal_ends_the_run_and_is_no_failure_of_the_slide_it_came_upon(
    stop: InterruptedRunError,
    job: Callable[..., Job],
    small: DrawnSlide,
    mask_model: Path,
    tmp_path: Path,
) -> None:
    def stopped_here(event: Event) -> None:
        if isinstance(event, TileDone):
            raise stop

    one = job(small.path, mask_model, tmp_path, workers=0)
    with pytest.raises(InterruptedRunError) as caught:
        list(run_slides([one], one.execution, stopped_here))
    assert caught.value is stop


def test_a_scheduler_that_wants_certificates_is_not_asked_without(
    job: Callable[..., Job], small: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    one = job(small.path, mask_model, tmp_path, workers=None, scheduler="tls://127.0.0.1:1")
    with pytest.raises(ConfigError, match="DASK_CONFIG"):
        list(run_slides([one], one.execution))


@pytest.mark.slow
def test_workers_that_die_while_they_start_are_no_fault_of_the_slide(
    job: Callable[..., Job], drawn: DrawnSlide, mask_model: Path, tmp_path: Path
) -> None:
    stillborn = job(drawn.path, mask_model, tmp_path / "out", workers=1)
    with (
        dask.config.set({"distributed.worker.preload": ["import os; os._exit(1)"]}),
        pytest.raises(BusyError, match="run again"),
    ):
        list(run_slides([stillborn], stillborn.execution))
