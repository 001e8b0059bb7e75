"""A tile's finished result, on disk: the unit of resume.

A fragment is whole or it is absent.  It is written under another name, brought to the disk and
renamed; and it carries its own digest, so that one which a failing disk or a copy has damaged
counts as absent and its tile is run again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsiproc.nuclei import Nuclei, concat
from wsiproc.store.disk import storing, write_whole

_MAGIC = b"wsiproc fragment 1\n"
_NAME = re.compile(r"r(\d{5,})c(\d{5,})\.frag")
_HALVES = 2.0
_UNREAD = "unread"


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """What one tile found.

    Parameters
    ----------
    row, column
        Which tile.
    core
        The nuclei that its core owns.
    handed
        Those it saw in the margin just outside, for the seams.
    facts
        Whatever numbers the run wants back, e.g. windows.
    """

    row: int
    column: int
    core: Nuclei
    handed: Nuclei
    facts: Mapping[str, float]


def write_fragment(
    folder: Path,
    row: int,
    column: int,
    core: Nuclei,
    handed: Nuclei,
    facts: Mapping[str, float] | None = None,
) -> Path:
    """Store a tile's result; the same content gives the same bytes.

    Parameters
    ----------
    folder
        Of this job, plan and grid; made if it isn't there.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written; then there is no fragment.
    """
    payload = _pack(Fragment(row, column, core, handed, facts or {}))
    path = folder / f"r{row:05d}c{column:05d}.frag"
    with storing("a tile's result"):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, _MAGIC + hashlib.sha256(payload).digest() + payload)
    return path


def write_unread(folder: Path, row: int, column: int, *, polygons: bool) -> Path:
    """Store that a tile was left out because its pixels cannot be read; see `write_fragment`."""
    nothing = Nuclei.none(polygons=polygons)
    return write_fragment(folder, row, column, nothing, nothing, {_UNREAD: 1.0})


def unread(folder: Path, row: int, column: int) -> bool:
    """Whether a tile was left out because its pixels cannot be read."""
    fragment = read_fragment(folder, row, column)
    return fragment is not None and _UNREAD in fragment.facts


def read_fragment(folder: Path, row: int, column: int) -> Fragment | None:
    """The stored result of a tile; None where there is none, or none that is undamaged."""
    payload = _payload(folder / f"r{row:05d}c{column:05d}.frag")
    if payload is None:
        return None
    fragment = _unpack(payload)
    return fragment if (fragment.row, fragment.column) == (row, column) else None


def finished(folder: Path) -> frozenset[tuple[int, int]]:
    """(row, column) of every tile with an undamaged fragment in `folder`."""
    if not folder.is_dir():
        return frozenset()
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return frozenset(
        (int(name[1]), int(name[2]))
        for name, path in found
        if name is not None and _payload(path) is not None
    )


def _payload(path: Path) -> pa.Buffer | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    begin = len(_MAGIC) + hashlib.sha256().digest_size
    view = memoryview(data)
    if len(data) < begin or view[: len(_MAGIC)] != _MAGIC:
        return None
    if hashlib.sha256(view[begin:]).digest() != view[len(_MAGIC) : begin]:
        return None
    return pa.py_buffer(view[begin:])


def _pack(fragment: Fragment) -> pa.Buffer:
    both = concat([fragment.core, fragment.handed])
    columns = {
        "ref_x": both.ref_x,
        "ref_y": both.ref_y,
        "x": both.x,
        "y": both.y,
        "class_id": both.class_id,
        "score": both.score,
        "cut": both.cut,
    }
    arrays: dict[str, pa.Array] = {name: pa.array(values) for name, values in columns.items()}
    if both.ring is not None and both.ring_start is not None:
        start = (2 * both.ring_start).astype(np.int64)
        arrays["ring"] = pa.LargeListArray.from_arrays(start, pa.array(_halves(both.ring)))
    head = {
        "row": fragment.row,
        "column": fragment.column,
        "core": len(fragment.core),
        "facts": dict(fragment.facts),
    }
    batch = pa.record_batch(arrays).replace_schema_metadata(
        {"fragment": json.dumps(head, sort_keys=True)}
    )
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _unpack(payload: pa.Buffer) -> Fragment:
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    head = json.loads(batch.schema.metadata[b"fragment"])
    columns = {
        name: batch.column(name).to_numpy(zero_copy_only=False)
        for name in batch.schema.names
        if name != "ring"
    }
    both = Nuclei(**columns)
    if "ring" in batch.schema.names:
        lists = batch.column("ring")
        flat = lists.values.to_numpy()
        points = flat / _HALVES if flat.dtype == np.int32 else flat
        both = Nuclei(
            **columns,
            ring=points.reshape(-1, 2),
            ring_start=lists.offsets.to_numpy().astype(np.int64) // 2,
        )
    cut = head["core"]
    return Fragment(
        row=head["row"],
        column=head["column"],
        core=_rows(both, 0, cut),
        handed=_rows(both, cut, len(both)),
        facts=head["facts"],
    )


def _rows(nuclei: Nuclei, first: int, end: int) -> Nuclei:
    """A run of rows, sharing memory with `nuclei`."""
    plain = {
        f.name: getattr(nuclei, f.name)[first:end]
        for f in fields(nuclei)
        if not f.name.startswith("ring")
    }
    if nuclei.ring is None or nuclei.ring_start is None:
        return Nuclei(**plain)
    start = nuclei.ring_start[first : end + 1]
    return Nuclei(**plain, ring=nuclei.ring[start[0] : start[-1]], ring_start=start - start[0])


def _halves(ring: NDArray[np.float64]) -> NDArray[np.int32] | NDArray[np.float64]:
    """``[2 v]`` the vertices, as half pixels where they lie on those: a third of the size."""
    doubled = ring.ravel() * _HALVES
    if np.all(np.abs(doubled) < 2**31):
        halves = doubled.astype(np.int32)
        if np.array_equal(halves, doubled):
            return halves
    return np.ascontiguousarray(ring).ravel()
