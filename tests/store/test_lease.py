"""One run works on a job at a time; a dead one's lease is no obstacle."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from wsiproc.errors import BusyError
from wsiproc.store import lease as module
from wsiproc.store.lease import DEAD_S, lease, living


def _hold(path: Path) -> None:
    with lease(path):
        path.with_name("holding").touch()
        time.sleep(60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "lease"


def test_a_lease_is_held_once_and_free_afterwards(path: Path) -> None:
    for _ in range(2):
        with lease(path):
            assert path.exists()
            with pytest.raises(BusyError, match="another run is working"), lease(path):
                pass
            assert path.exists()
        assert not list(path.parent.iterdir())


def test_a_lease_is_free_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError), lease(path):
        raise RuntimeError
    assert not path.exists()


def test_the_lease_of_a_killed_process_is_taken_over(path: Path) -> None:
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(path,))
    holder.start()
    try:
        deadline = time.monotonic() + 60
        while not path.with_name("holding").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(BusyError), lease(path):
            pass
    finally:
        holder.kill()
        holder.join()
    assert path.exists()
    with lease(path):
        pass
    assert not path.exists()


def _left(path: Path, **changed: object) -> None:
    owner = replace(module._myself(), **changed)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(owner)))


def test_a_process_id_that_is_used_again_does_not_count(path: Path) -> None:
    _left(path, born=1.0)
    with lease(path):
        pass


def test_a_lease_from_before_a_restart_does_not_count(path: Path) -> None:
    _left(path, boot="before")
    with lease(path):
        pass


def test_elsewhere_the_heartbeat_decides(path: Path) -> None:
    _left(path, host="elsewhere")
    with pytest.raises(BusyError), lease(path):
        pass
    silent = time.time() - DEAD_S - 5
    os.utime(path, (silent, silent))
    with lease(path):
        pass


def test_a_lease_that_cannot_be_read_ages_like_any_other(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(BusyError), lease(path):
        pass
    os.utime(path, (1e9, 1e9))
    with lease(path):
        pass


def test_the_heart_beats(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    with lease(path):
        os.utime(path, (1e9, 1e9))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime < 2e9 - 1e9 + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1e9 + 1


def test_a_lease_that_was_taken_meanwhile_is_not_removed(path: Path) -> None:
    _left(path, born=1.0)
    dead = module._holder(path)
    _left(path, token="another")
    module._take_away(path, dead)
    holder = module._holder(path)
    assert holder is not None
    assert holder.token == "another"


def test_looking_tells_who_lives_and_touches_nothing(path: Path) -> None:
    assert not living(path)
    with lease(path):
        assert living(path)
    assert not living(path)
    for changed in ({"born": 1.0}, {"boot": "before"}):
        _left(path, **changed)
        assert not living(path)
    _left(path, host="elsewhere")
    assert living(path)
    silent = time.time() - DEAD_S - 5
    os.utime(path, (silent, silent))
    before = path.stat().st_mtime_ns
    assert not living(path)
    assert path.stat().st_mtime_ns == before
    assert list(path.parent.iterdir()) == [path]


def test_where_files_cannot_have_two_names_a_lease_works_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with lease(path), pytest.raises(BusyError), lease(path):
        pass
    assert not path.exists()
