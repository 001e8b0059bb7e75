"""One line a nucleus, for spreadsheets, R and everything else."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from pyarrow import csv

from wsiproc.errors import ConfigError
from wsiproc.export._target import one_file
from wsiproc.results.stored import StoredResult, schema_of, tables

_SHAPES: Final = ("geometry", "bbox")


def write_csv(result: StoredResult, out: Path, *, replace: bool = False) -> int:
    """Write all columns but the outlines, with a header; gives the nuclei.

    UTF-8, commas, decimal points.  A column is called as in the Parquet files, and one with a unit
    ends in it: ``_um``, ``_um2``, ``_px``, ``_rad``; the others are names, or numbers from 0 to 1.

    Parameters
    ----------
    out
        ``.csv``; ``.csv.gz`` compresses.

    Raises
    ------
    ConfigError
        If the name says another format.
    AlreadyThereError, StoreError
        See `one_file`.
    """
    packed = out.suffix.lower() == ".gz"
    if (out.with_suffix("") if packed else out).suffix.lower() != ".csv":
        raise ConfigError("the name of a CSV ends so: --out X.csv or X.csv.gz")
    whole = schema_of(result.table)
    columns = [name for name in whole.names if name not in _SHAPES]
    schema = whole.remove_metadata().empty_table().select(columns).schema
    count = 0
    with (
        one_file(out, replace=replace) as temporary,
        _opened(temporary, packed) as file,
        csv.CSVWriter(file, schema, write_options=csv.WriteOptions(quoting_style="needed")) as to,
    ):
        for table in tables(result.table, columns=columns):
            to.write_table(table.cast(schema))
            count += len(table)
    return count


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file; packed without the time and the name that gzip would put in."""
    with path.open("xb") as raw:
        if not packed:
            yield raw
            return
        with gzip.GzipFile("", "wb", 1, raw, mtime=0) as squeezed:
            yield squeezed
