"""A result appears whole and at once, or not at all; one attempt at a job wins."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wsiproc.card import Card
from wsiproc.config import Science
from wsiproc.errors import AlreadyThereError, DiskFullError, StoreError
from wsiproc.geometry import Frame
from wsiproc.store import staging as module
from wsiproc.store.manifest import (
    WORK,
    Manifest,
    ModelRecord,
    SlideRecord,
    job_key,
    read_manifest,
    state_of,
    verify,
)
from wsiproc.store.schema import Provenance
from wsiproc.store.staging import (
    LostRace,
    Published,
    claim,
    discard_work,
    publish,
    recover,
    staging,
)
from wsiproc.store.tables import write_nuclei

KEY = job_key("a" * 64, "b" * 64, Science(), "tag")
OTHER = job_key("a" * 64, "b" * 64, Science(stain=False), "tag")
Attempt = Callable[..., Published | LostRace]


def described(key: str = KEY, nuclei: int = 20) -> Manifest:
    return Manifest(
        slide_id="S-1",
        job_key=key,
        slide=SlideRecord(sha256="a" * 64, width=9, height=9, mpp=(0.25, 0.25), mpp_source="file"),
        model=ModelRecord(name="test", version="1", sha256="b" * 64),
        um_to_px=(4, 0, 0, 0, 4, 0),
        science=Science().model_dump(mode="json"),
        numerics="tag",
        nuclei=nuclei,
        classes={"tumour": nuclei},
    )


@pytest.fixture
def attempt(draw: Any, kept: Any, frame: Frame, card: Card, provenance: Provenance) -> Attempt:
    """Stage and publish a small result."""

    def _attempt(
        out: Path, key: str = KEY, *, replace: bool = False, counted: int = 20
    ) -> Published | LostRace:
        with staging(out, "S-1") as folder:
            part = kept(draw(20))
            write_nuclei(folder, [part], frame=frame, card=card, provenance=provenance)
            (folder / "overview.png").write_bytes(b"picture")
            return publish(folder, described(key, counted), out, replace=replace)

    return _attempt


def left_behind(out: Path) -> list[str]:
    return sorted(path.name for path in (out / WORK).iterdir())


def test_a_published_result_is_whole_and_says_so(tmp_path: Path, attempt: Attempt) -> None:
    published = attempt(tmp_path)
    assert isinstance(published, Published)
    assert published.folder == tmp_path / "S-1"
    assert sorted(path.name for path in published.folder.iterdir()) == [
        "centroids.parquet",
        "manifest.json",
        "nuclei.parquet",
        "overview.png",
    ]
    manifest = read_manifest(published.folder)
    assert manifest == published.manifest
    assert manifest.files["nuclei.parquet"].rows == 20
    assert verify(published.folder) == []
    assert state_of(tmp_path, "S-1", KEY) == "done"
    assert left_behind(tmp_path) == []


def test_a_second_attempt_at_the_same_job_loses_and_tidies_up(
    tmp_path: Path, attempt: Attempt
) -> None:
    first, second = attempt(tmp_path), attempt(tmp_path)
    assert isinstance(second, LostRace)
    assert second.manifest == first.manifest
    assert verify(tmp_path / "S-1") == []
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("replace", [False, True])
def test_of_many_attempts_at_once_the_result_is_one(
    tmp_path: Path, attempt: Attempt, replace: bool
) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(attempt, tmp_path, replace=replace) for _ in range(8)]
        outcomes = [run.result() for run in runs]
    won = sum(isinstance(outcome, Published) for outcome in outcomes)
    assert won >= 1 if replace else won == 1
    assert verify(tmp_path / "S-1") == []
    assert left_behind(tmp_path) == []


def test_another_jobs_result_is_refused_and_stays(tmp_path: Path, attempt: Attempt) -> None:
    attempt(tmp_path)
    with pytest.raises(AlreadyThereError, match="--replace"):
        attempt(tmp_path, OTHER)
    assert state_of(tmp_path, "S-1", KEY) == "done"
    assert left_behind(tmp_path) == []


def test_replace_puts_the_new_result_in_the_place_of_the_old(
    tmp_path: Path, attempt: Attempt
) -> None:
    attempt(tmp_path)
    assert claim(tmp_path, "S-1", OTHER, replace=True) == "other"
    assert isinstance(attempt(tmp_path, OTHER, replace=True), Published)
    assert state_of(tmp_path, "S-1", OTHER) == "done"
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_wsiproc_did_not_write_is_never_touched(
    tmp_path: Path, attempt: Attempt, what: str, replace: bool
) -> None:
    there, elsewhere = tmp_path / "S-1", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("mine")
    if what == "folder":
        elsewhere.rename(there)
    elif what == "file":
        there.write_text("mine")
    else:
        there.symlink_to(elsewhere)
    with pytest.raises(AlreadyThereError, match="not written by wsiproc"):
        attempt(tmp_path, replace=replace)
    text = there if what == "file" else there / "thesis.txt"
    assert text.read_text() == "mine"


def test_an_empty_folder_is_no_result(tmp_path: Path, attempt: Attempt) -> None:
    (tmp_path / "S-1").mkdir()
    assert claim(tmp_path, "S-1", KEY) == "absent"
    assert isinstance(attempt(tmp_path), Published)


def test_tables_that_are_not_what_was_counted_are_not_published(
    tmp_path: Path, attempt: Attempt
) -> None:
    with pytest.raises(StoreError, match="20 rows, but 21"):
        attempt(tmp_path, counted=21)
    assert not (tmp_path / "S-1").exists()
    assert left_behind(tmp_path) == []


def test_a_damaged_table_is_not_published(tmp_path: Path) -> None:
    with staging(tmp_path, "S-1") as folder:
        (folder / "centroids.parquet").write_bytes(b"PAR1 and nothing else")
        with pytest.raises(StoreError, match="cannot be read back"):
            publish(folder, described(), tmp_path)
    assert state_of(tmp_path, "S-1", KEY) == "absent"


class Crash(BaseException):
    """Stands for a process that ends at once."""


@pytest.mark.parametrize("failure", ["full", "crash"])
@pytest.mark.parametrize("replace", [False, True])
def test_whichever_step_fails_there_is_a_whole_result_or_none(
    tmp_path: Path,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    replace: bool,
    failure: str,
) -> None:
    """The n-th step that touches the disk fails, for n = 1, 2, ... until none is left to fail."""
    real = {"fsync": os.fsync, "rename": Path.rename, "replace": Path.replace}
    for n in range(1, 200):
        out = tmp_path / str(n)
        out.mkdir()
        if replace:
            attempt(out, OTHER)
        steps = 0

        def step(name: str, n: int = n) -> Callable[..., Any]:
            def run(*args: Any) -> Any:
                nonlocal steps
                steps += 1
                if steps == n:
                    if failure == "crash":
                        raise Crash
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if steps > n and failure == "crash":
                    raise Crash  # a dead process tidies nothing up
                return real[name](*args)

            return run

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", step("fsync"))
            patch.setattr(Path, "rename", step("rename"))
            patch.setattr(Path, "replace", step("replace"))
            if failure == "crash":
                patch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
            try:
                attempt(out, replace=replace)
            except (Crash, DiskFullError):
                pass
            else:
                break
        recover(out, "S-1")
        state = state_of(out, "S-1", KEY)
        assert state in (("other", "done") if replace else ("absent", "done")), f"step {n}"
        if state != "absent":
            assert verify(out / "S-1") == []
        assert isinstance(attempt(out, replace=replace), Published | LostRace)
        assert state_of(out, "S-1", KEY) == "done"
    assert n > 8


def test_verify_finds_every_kind_of_damage(tmp_path: Path, attempt: Attempt) -> None:
    folder = attempt(tmp_path).folder
    path = folder / "nuclei.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
    assert verify(folder) == ["nuclei.parquet: its content has changed"]
    assert state_of(tmp_path, "S-1", KEY) == "done"
    path.write_bytes(data[:-1])
    assert "bytes instead of" in verify(folder)[0]
    assert state_of(tmp_path, "S-1", KEY) == "damaged"
    path.unlink()
    (folder / "notes.txt").write_text("?")
    problems = verify(folder)
    assert problems[0].startswith("nuclei.parquet: No such file")
    assert problems[1] == "notes.txt: not in the manifest"


def test_a_result_that_others_move_meanwhile_is_never_taken_for_another(
    tmp_path: Path, attempt: Attempt
) -> None:
    place, away = attempt(tmp_path).folder, tmp_path / WORK / "S-1"
    with ThreadPoolExecutor(1) as pool:

        def move() -> None:
            for _ in range(500):
                place.rename(away)
                away.rename(place)

        moving = pool.submit(move)
        seen = {state_of(tmp_path, "S-1", KEY)}
        while not moving.done():
            seen.add(state_of(tmp_path, "S-1", KEY))
        moving.result()
    assert seen <= {"done", "absent"}


def test_an_old_result_that_cannot_be_put_back_is_kept_where_it_is(
    tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt(tmp_path)
    away = tmp_path / WORK / "replaced-0123"
    away.mkdir()
    (tmp_path / "S-1").rename(away / "S-1")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is tired")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", broken)
        recover(tmp_path, "S-1")
    assert verify(away / "S-1") == []
    recover(tmp_path, "S-1")
    assert verify(tmp_path / "S-1") == []
    assert left_behind(tmp_path) == []


def test_a_damaged_result_can_be_replaced(tmp_path: Path, attempt: Attempt) -> None:
    (attempt(tmp_path).folder / "nuclei.parquet").unlink()
    with pytest.raises(AlreadyThereError, match="damaged: --replace"):
        claim(tmp_path, "S-1", KEY)
    assert isinstance(attempt(tmp_path, replace=True), Published)
    assert verify(tmp_path / "S-1") == []


def test_work_of_a_job_is_discarded_and_of_another_kept(tmp_path: Path) -> None:
    for key in (KEY, OTHER):
        (tmp_path / WORK / key).mkdir(parents=True)
    discard_work(tmp_path, KEY)
    discard_work(tmp_path, KEY)
    assert left_behind(tmp_path) == [OTHER]


def test_a_claim_clears_away_what_crashed_attempts_staged_long_ago(tmp_path: Path) -> None:
    work = tmp_path / WORK
    for name in ("staging-old", "staging-new", "staging-touched", KEY):
        (work / name / "S-1").mkdir(parents=True)
        (work / name / "S-1" / "nuclei.parquet").write_bytes(b"half of it")
    for path in [*work.rglob("*")]:
        if "new" not in str(path):
            os.utime(path, (1e9, 1e9))
    (work / "staging-touched" / "S-1" / "nuclei.parquet").write_bytes(b"more of it")
    assert claim(tmp_path, "S-2", KEY) == "absent"
    assert left_behind(tmp_path) == sorted([KEY, "staging-new", "staging-touched"])
    assert (work / KEY / "S-1" / "nuclei.parquet").exists(), "fragments are for the next run"


def test_claims_do_not_stumble_over_attempts_that_come_and_go(
    tmp_path: Path, attempt: Attempt
) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(attempt, tmp_path) for _ in range(12)]
        while not all(run.done() for run in runs):
            claim(tmp_path, "S-2", KEY)
        for run in runs:
            run.result()
    assert verify(tmp_path / "S-1") == []


def test_an_output_folder_that_may_not_be_written_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / WORK).write_text("a file where a folder should be")
    with pytest.raises(StoreError) as caught, staging(tmp_path, "S-1"):
        pass
    assert caught.value.exit_code == 73
    assert str(tmp_path) not in str(caught.value)
