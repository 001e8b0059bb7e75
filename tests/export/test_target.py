"""An export is whole or not there, and takes the place of nothing that is not its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsiproc.errors import AlreadyThereError, DiskFullError, StoreError
from wsiproc.export._target import facts, note, one_file, one_folder
from wsiproc.results.stored import StoredResult


def test_a_file_that_fails_leaves_nothing(out: Path) -> None:
    def fail() -> None:
        with one_file(out, replace=False) as temporary:
            temporary.write_text("half")
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreError):
        fail()
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("place", [one_file, one_folder])
@pytest.mark.parametrize(
    ("error", "free", "full"),
    [
        (OSError(28, "No space left on device"), 1 << 40, True),
        (StoreError("GDAL says something"), 1000, True),
        (StoreError("GDAL says something"), 1 << 40, False),
    ],
)
def test_a_full_disk_is_told_as_one_by_whatever_writes(
    place: Callable[..., AbstractContextManager[Path]],
    error: OSError,
    free: int,
    full: bool,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))

    def fail() -> None:
        with place(out, replace=False):
            raise error

    with pytest.raises(DiskFullError if full else StoreError) as told:
        fail()
    assert isinstance(told.value, DiskFullError) == full
    assert not list(out.parent.iterdir())


def test_a_folder_that_fails_leaves_what_was_there(out: Path, result: StoredResult) -> None:
    with one_folder(out, replace=False) as folder:
        note(folder, facts(result, "gis", {}))

    def stop() -> None:
        with one_folder(out, replace=True) as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert [path.name for path in out.iterdir()] == ["export.json"]


def test_a_folder_takes_the_place_of_an_older_export_when_told(
    out: Path, result: StoredResult
) -> None:
    for name in ("one", "two"):
        with one_folder(out, replace=True) as folder:
            note(folder, facts(result, "gis", {}))
            (folder / name).touch()
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "two"]
    with pytest.raises(AlreadyThereError, match="--replace"), one_folder(out, replace=False):
        pass
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("content", ["", "[]", '{"attributes": {}}', '{"name": "mine"}'])
def test_a_folder_of_somebody_else_is_never_replaced(out: Path, content: str) -> None:
    out.mkdir()
    for name in ("export.json", "zarr.json"):
        (out / name).write_text(content)
    with pytest.raises(AlreadyThereError, match="not written by"), one_folder(out, replace=True):
        pass
    assert len(list(out.iterdir())) == 2


def test_a_folder_is_not_replaced_by_a_file(out: Path) -> None:
    out.mkdir()
    with pytest.raises(AlreadyThereError, match="name a file"), one_file(out, replace=True):
        pass


def test_folders_on_the_way_are_made(out: Path) -> None:
    with one_file(out / "a" / "b.csv", replace=False) as temporary:
        temporary.write_text("x")
    assert (out / "a" / "b.csv").read_text() == "x"
