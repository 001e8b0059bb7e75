"""A tile's result is whole or it is absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.errors import DiskFullError, StoreError
from wsiproc.nuclei import Nuclei
from wsiproc.store.fragments import finished, read_fragment, write_fragment

COLUMNS = ("ref_x", "ref_y", "x", "y", "class_id", "score", "cut", "ring", "ring_start")


def same(one: Nuclei, other: Nuclei) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in COLUMNS]
    return all(
        a is b if a is None else np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs
    )


@settings(max_examples=25, deadline=None)
@given(
    core=st.integers(0, 40),
    handed=st.integers(0, 9),
    polygons=st.booleans(),
    shift=st.sampled_from([0.0, 0.5, 0.1, 1e9]),
)
def test_what_is_written_is_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    draw: Any,
    core: int,
    handed: int,
    polygons: bool,
    shift: float,
) -> None:
    folder = tmp_path_factory.mktemp("fragments")
    nuclei, edge = draw(core, 1, polygons=polygons), draw(handed, 2, polygons=polygons)
    if nuclei.ring is not None:
        nuclei.ring[...] += shift
    write_fragment(folder, 3, 70_000, nuclei, edge, {"windows": 9, "seconds": 0.25})
    found = read_fragment(folder, 3, 70_000)
    assert found is not None
    assert same(found.core, nuclei)
    assert same(found.handed, edge)
    assert found.facts == {"windows": 9, "seconds": 0.25}
    assert finished(folder) == {(3, 70_000)}


def test_the_same_result_gives_the_same_bytes(tmp_path: Path, draw: Any) -> None:
    none = Nuclei.none(polygons=True)
    one = write_fragment(tmp_path / "a", 0, 1, draw(50), none)
    again = write_fragment(tmp_path / "b", 0, 1, draw(50), none)
    assert one.read_bytes() == again.read_bytes()


def test_any_damaged_byte_makes_it_absent(tmp_path: Path, draw: Any) -> None:
    path = write_fragment(tmp_path, 0, 0, draw(20), draw(3, 1))
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 41), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert read_fragment(tmp_path, 0, 0) is None, f"byte {at}"
        assert finished(tmp_path) == frozenset()
    path.write_bytes(whole)
    assert read_fragment(tmp_path, 0, 0) is not None


def test_any_missing_end_makes_it_absent(tmp_path: Path, draw: Any) -> None:
    path = write_fragment(tmp_path, 0, 0, draw(20), draw(3, 1))
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert read_fragment(tmp_path, 0, 0) is None, f"{length} bytes"


def test_a_fragment_under_another_tiles_name_is_absent(tmp_path: Path, draw: Any) -> None:
    path = write_fragment(tmp_path, 0, 0, draw(2), draw(0))
    path.rename(path.with_name("r00005c00000.frag"))
    assert read_fragment(tmp_path, 5, 0) is None


def test_where_no_tile_is_finished_there_is_none(tmp_path: Path) -> None:
    assert finished(tmp_path / "missing") == frozenset()
    assert read_fragment(tmp_path / "missing", 0, 0) is None
    (tmp_path / "note.txt").write_text("not a fragment")
    assert finished(tmp_path) == frozenset()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, StoreError),
        (errno.EIO, StoreError),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_keeps_the_earlier_fragment_and_leaves_nothing_else(
    tmp_path: Path,
    draw: Any,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    error: type[StoreError],
) -> None:
    before = write_fragment(tmp_path, 0, 0, draw(2), draw(0)).read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path if call == "replace" else os, call, fail)
    with pytest.raises(error) as caught:
        write_fragment(tmp_path, 0, 0, draw(5), draw(0))
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.exit_code == (75 if error is DiskFullError else 73)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_full_disk_says_what_to_do(
    tmp_path: Path, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFullError, match="free space and run again, finished tiles are kept"):
        write_fragment(tmp_path, 0, 0, draw(5), draw(0))
