"""Tidying up takes what nothing refers to, and nothing else, whoever is at work beside it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wsiproc.api import run
from wsiproc.batch.audit import AUDIT, append, verify
from wsiproc.batch.records import Record, nights_folder, records_folder, write_record
from wsiproc.batch.tidy import tidy
from wsiproc.config import Execution, RunConfig
from wsiproc.errors import StoreError
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.store import manifest as manifests
from wsiproc.store.lease import lease
from wsiproc.store.manifest import WORK, lease_of, read_manifest

Publish = Callable[[Path, str], Path]
LONG_AGO = time.time() - 2 * 3600


def age(path: Path, when: float = LONG_AGO) -> Path:
    """Make a file, or all of a folder, as if nobody had touched it for hours."""
    for each in (*path.rglob("*"), path) if path.is_dir() else (path,):
        os.utime(each, (when, when))
    return path


def left(path: Path, size: int = 1000) -> Path:
    """A file that somebody left behind hours ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return age(path)


def work_of(out: Path, key: str) -> Path:
    folder = out / WORK / key
    left(folder / "plan.json", 100)
    left(folder / "2048" / "r00000c00000.frag", 900)
    return age(folder)


def everything(out: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(out)): path.read_bytes() if path.is_file() else None
        for path in sorted(out.rglob("*"))
    }


@pytest.fixture
def out(tmp_path: Path, published: Publish) -> Path:
    """An output folder with two results, a record and an audit log."""
    for slide_id in ("s1", "s2"):
        published(tmp_path, slide_id)
    write_record(tmp_path, Record(slide_id="s1", state="done"))
    append(tmp_path / AUDIT, "published", {"slide": "s1"})
    age(tmp_path)
    return tmp_path


def key_of(out: Path, slide_id: str) -> str:
    return read_manifest(out / slide_id).job_key


def test_where_nothing_was_left_nothing_is_removed(out: Path) -> None:
    before = everything(out)
    assert list(tidy(out)) == []
    assert everything(out) == before
    assert list(tidy(out / "s1")) == []
    with pytest.raises(StoreError, match="not there"):
        list(tidy(out / "missing"))


def test_the_work_of_a_published_job_goes_and_that_of_a_waiting_one_stays(out: Path) -> None:
    before = everything(out)
    work_of(out, key_of(out, "s1"))
    waiting = work_of(out, "f" * 64)
    (gone,) = tidy(out)
    assert (gone.what, gone.bytes) == ("work", 1000)
    assert gone.name == f"{WORK}/{key_of(out, 's1')}"
    shutil.rmtree(waiting)
    assert everything(out) == before


def test_work_of_a_job_whose_result_is_damaged_stays(out: Path) -> None:
    for slide_id, damage in (("s1", b"short"), ("s2", None)):
        work_of(out, key_of(out, slide_id))
        if damage is None:
            (out / slide_id / "manifest.json").write_text("{")
        else:
            (out / slide_id / "nuclei.parquet").write_bytes(damage)
    assert list(tidy(out)) == []


def test_work_that_somebody_holds_or_has_just_touched_stays(out: Path) -> None:
    key = key_of(out, "s1")
    folder = work_of(out, key)
    with lease(lease_of(out, key)):
        assert list(tidy(out)) == []
        assert list(tidy(out, dry_run=True)) == []
    (folder / "2048" / "r00000c00000.frag").touch()
    assert list(tidy(out)) == []
    age(folder)
    assert [gone.what for gone in tidy(out)] == ["work"]


def test_an_attempt_goes_after_an_hour_or_days_if_anybody_is_at_work(out: Path) -> None:
    attempt = out / WORK / "staging-0123456789abcdef"
    left(attempt / "s3" / "nuclei.parquet")
    age(attempt)
    with lease(lease_of(out, "f" * 64)):
        assert list(tidy(out)) == []
        age(attempt, time.time() - 3 * 24 * 3600)
        assert [gone.what for gone in tidy(out, dry_run=True)] == ["staging"]
    (attempt / "s3" / "nuclei.parquet").touch()
    assert list(tidy(out)) == []
    age(attempt)
    assert [(gone.what, gone.bytes) for gone in tidy(out)] == [("staging", 1000)]
    assert not attempt.exists()


def test_an_old_result_goes_once_its_successor_is_there_and_returns_otherwise(
    out: Path, published: Publish
) -> None:
    for slide_id in ("s1", "s2"):
        away = out / WORK / f"replaced-{slide_id:0>16}"
        away.mkdir()
        (out / slide_id).rename(away / slide_id)
    published(out, "s1")
    assert [gone.name.rsplit("/")[-1] for gone in tidy(out, dry_run=True)] == ["s1"]
    assert [(gone.what, gone.name.rsplit("/")[-1]) for gone in tidy(out)] == [("replaced", "s1")]
    for slide_id in ("s1", "s2"):
        assert manifests.verify(out / slide_id) == []
    assert not list((out / WORK).glob("replaced-*"))


def test_half_written_files_go_and_files_that_only_look_so_stay(out: Path) -> None:
    hidden = [
        out / ".audit.head.4711-0a1b2c3d.tmp",
        out / ".summary.html.4711-0a1b2c3d.tmp",
        records_folder(out) / ".s9.json.4711-0a1b2c3d.tmp",
        out / WORK / f".{'f' * 64}.lease.0123456789abcdef",
        work_of(out, "f" * 64) / "2048" / ".r00000c00001.frag.4711-0a1b2c3d.tmp",
    ]
    theirs = [
        out / ".hidden",
        out / "notes.tmp",
        out / ".x.tmp",
        out / "letters" / ".a.1-0a1b2c3d.tmp",
    ]
    for path in hidden + theirs:
        left(path, 10)
    fresh = records_folder(out) / ".s8.json.4711-0a1b2c3d.tmp"
    fresh.touch()
    gone = list(tidy(out))
    assert {out / each.name for each in gone} == set(hidden)
    assert {each.what for each in gone} == {"temporary"}
    assert not any(path.exists() for path in hidden)
    assert all(path.exists() for path in [*theirs, fresh])


def test_leases_of_the_dead_go_and_of_the_living_stay(out: Path) -> None:
    dead = [out / WORK / f"{'d' * 64}.lease", nights_folder(out) / "2026-aa.lease"]
    taken_over = work_of(out, "e" * 64).with_suffix(".lease")
    for path in (*dead, taken_over):
        left(path, 10)
    with lease(lease_of(out, "f" * 64)):
        gone = list(tidy(out))
        assert {out / each.name for each in gone} == set(dead)
        assert lease_of(out, "f" * 64).exists()
        assert taken_over.exists(), "who goes on with the work takes it over"
    assert not any(path.exists() for path in dead)


def test_a_dry_run_says_the_same_and_touches_nothing(out: Path) -> None:
    work_of(out, key_of(out, "s1"))
    left(out / WORK / "staging-0123456789abcdef" / "s3" / "overview.png")
    age(out / WORK / "staging-0123456789abcdef")
    left(out / ".audit.head.4711-0a1b2c3d.tmp")
    left(out / WORK / f"{'d' * 64}.lease", 10)
    shutil.copytree(out / "s2", out / WORK / "replaced-0123456789abcdef" / "s2")
    before = everything(out)
    said = list(tidy(out, dry_run=True))
    assert everything(out) == before
    assert {each.what for each in said} == {"work", "staging", "replaced", "temporary", "lease"}
    assert list(tidy(out)) == said
    assert list(tidy(out)) == []


def test_links_are_not_followed(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = left(tmp_path_factory.mktemp("elsewhere") / "precious")
    attempt = out / WORK / "staging-0123456789abcdef"
    attempt.mkdir()
    (attempt / "link").symlink_to(elsewhere.parent)
    os.utime(attempt / "link", (LONG_AGO, LONG_AGO), follow_symlinks=False)
    age(elsewhere.parent)
    os.utime(attempt, (LONG_AGO, LONG_AGO))
    list(tidy(out))
    assert not attempt.exists()
    assert elsewhere.exists()


@pytest.mark.slow
def test_a_run_is_not_harmed_by_tidying_that_never_stops(
    out: Path, small: DrawnSlide, mask_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    how = RunConfig(execution=Execution(workers=0, tile_px=512, window_px=256))
    elsewhere = tmp_path_factory.mktemp("calm")
    calm = run(small.path, str(mask_model), elsewhere, settings=how, slide_id="r1")
    ended = threading.Event()
    removed, planted = set[str](), set[str]()

    def keep_tidying() -> None:
        while not ended.is_set():
            attempt = out / WORK / "staging-0123456789abcdef"
            left(attempt / "s3" / "overview.png")
            age(attempt, time.time() - 3 * 24 * 3600)
            rest = left(out / ".audit.head.4711-0a1b2c3d.tmp")
            work = work_of(out, key_of(out, "s1"))
            planted.update(str(path.relative_to(out)) for path in (attempt, rest, work))
            removed.update(each.name for each in tidy(out))

    beside = threading.Thread(target=keep_tidying)
    beside.start()
    try:
        # One slide under two ids is one job: while the second is at work, the first is published.
        results = [
            run(small.path, str(mask_model), out, settings=how, slide_id=slide_id)
            for slide_id in ("r1", "r2")
        ]
    finally:
        ended.set()
        beside.join()
    assert removed == planted
    assert [result.summary["status"] for result in results] == ["done", "done"]
    assert all(manifests.verify(result.folder) == [] for result in results)
    assert results[0].summary["files"]["nuclei.parquet"] == calm.summary["files"]["nuclei.parquet"]


def test_the_audit_log_is_never_touched(out: Path) -> None:
    left(out / ".audit.head.4711-0a1b2c3d.tmp")
    before = (out / AUDIT).read_bytes()
    assert len(list(tidy(out))) == 1
    assert (out / AUDIT).read_bytes() == before
    assert verify(out / AUDIT) == []
