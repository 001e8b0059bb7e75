"""Published results, opened for reading: what they are of, and their rows without all of them.

Everything that reads results (queries, exports, reports, the viewer, diffs) comes through here.
A manifest is believed and nothing else: a folder without one is no result, and a file that no
manifest lists is none of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsiproc.card import NucleusClass
from wsiproc.errors import StoreError
from wsiproc.store.manifest import MANIFEST, Manifest, ModelRecord, read_manifest
from wsiproc.store.schema import SCHEMA_VERSION

BoxUm = tuple[float, float, float, float]
"""``(xmin, ymin, xmax, ymax)`` in µm from the slide's origin, x right and y down."""

NUCLEI, CENTROIDS, TISSUE = "nuclei.parquet", "centroids.parquet", "tissue.parquet"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_GREY = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A published result; see `open_result`.

    Parameters
    ----------
    folder
        Where its files are.
    manifest
        What they are.
    """

    folder: Path
    manifest: Manifest

    @property
    def slide_id(self) -> str:
        """What the result calls its slide."""
        return self.manifest.slide_id

    @property
    def nuclei(self) -> int:
        """How many there are."""
        return self.manifest.nuclei

    @property
    def model(self) -> ModelRecord:
        """What found them."""
        return self.manifest.model

    @property
    def classes(self) -> tuple[NucleusClass, ...]:
        """Names and colours; the index of each is its `class_id`."""
        listed = self.manifest.model.card.get("classes")
        if listed:
            return tuple(NucleusClass.model_validate(one) for one in listed)
        return tuple(NucleusClass(name=name, color=_GREY) for name in self.manifest.classes)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the slide, level-0 px."""
        return self.manifest.slide.width, self.manifest.slide.height

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height of the slide, µm."""
        (width, height), (x, y) = self.size_px, self.mpp
        return width * x, height * y

    @property
    def mpp(self) -> tuple[float, float]:
        """µm per level-0 px, along x and y."""
        return 1 / self.manifest.um_to_px[0], 1 / self.manifest.um_to_px[4]

    def to_px(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[..., 2]`` in µm to level-0 px."""
        a, b, c, d, e, f = self.manifest.um_to_px
        px: NDArray[np.float64] = np.asarray(xy, np.float64) @ np.array([[a, d], [b, e]]) + (c, f)
        return px

    def to_um(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``[..., 2]`` in level-0 px to µm."""
        a, b, c, d, e, f = self.manifest.um_to_px
        back = np.linalg.inv(np.array([[a, d], [b, e]]))
        um: NDArray[np.float64] = (np.asarray(xy, np.float64) - (c, f)) @ back
        return um

    @property
    def outlined(self) -> bool:
        """Whether nuclei have outlines; without, they are points."""
        return NUCLEI in self.manifest.files

    @property
    def table(self) -> Path:
        """The nuclei: ``nuclei.parquet`` where there are outlines, else ``centroids.parquet``."""
        return self.file(NUCLEI if self.outlined else CENTROIDS)

    def has(self, name: str) -> bool:
        """Whether a file is part of the result."""
        return name in self.manifest.files

    def file(self, name: str) -> Path:
        """A file of the result, by name.

        Raises
        ------
        StoreError
            If the result has no such file.
        """
        if not self.has(name):
            raise StoreError(f"the result {self.slide_id!r} has no {name}")
        return self.folder / name


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a file of a result.

    Parameters
    ----------
    number
        Its place in the file.
    first, rows
        Its first row, counted through the file, and how many it has.
    box
        Extent of its geometries, µm; None where the file does not say.
    centres
        Extent of its centroids (``x_um``, ``y_um``); None where the file does not say.
    """

    number: int
    first: int
    rows: int
    box: BoxUm | None
    centres: BoxUm | None = None

    def touches(self, box: BoxUm) -> bool:
        """Whether it may have rows that reach into a box; never wrongly False."""
        return self.box is None or meet(self.box, box)


def open_result(folder: str | Path) -> StoredResult:
    """A published result, if all its files are there.

    Their sizes are looked at and their content is not: ``wsiproc check`` reads all of it.

    Raises
    ------
    StoreError
        If there is no result, or another version's, or files of it are missing or cut short.
    """
    # It may be read long after it was opened, when the process stands in another folder.
    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    if manifest.schema_version != SCHEMA_VERSION:
        raise StoreError(
            f"the tables of {manifest.slide_id!r} are of version {manifest.schema_version}, this "
            f"wsiproc reads {SCHEMA_VERSION}: use the wsiproc that wrote them, or run it again"
        )
    for name, stored in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise StoreError(
                f"the result {manifest.slide_id!r} has lost {name} ({error.strerror}): "
                "run the slide again with --replace"
            ) from None
        if size != stored.bytes:
            raise StoreError(
                f"the result {manifest.slide_id!r} is damaged: {name} has {size:,} bytes instead "
                f"of {stored.bytes:,}; run the slide again with --replace"
            )
    return StoredResult(folder, manifest)


def find_results(paths: Sequence[str | Path]) -> list[StoredResult]:
    """The results that `paths` name: each is a result, or a folder of results.

    In the order of `paths`, those of one folder by name; one that is named twice counts once.
    Folders inside of a folder of results that have no manifest are no results and left out.

    Raises
    ------
    StoreError
        If a path leads to no result, or to one that is damaged.
    """
    found: dict[Path, StoredResult] = {}
    for number, path in enumerate(map(Path, paths), start=1):
        try:
            for folder in _folders(path):
                found.setdefault(folder.resolve(), open_result(folder))
        except StoreError as error:
            if len(paths) == 1:
                raise
            # By number: the name of a folder that is no result may be anybody's.
            raise StoreError(f"path {number} of {len(paths)}: {error}") from None
    if not found:
        raise StoreError("no result is named: name a folder with a manifest.json, or many of them")
    return list(found.values())


def row_groups(file: Path) -> list[RowGroup]:
    """The row groups of a file of a result, from its footer alone.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    with opened(file) as parquet:
        return list(_groups(parquet))


def schema_of(file: Path) -> pa.Schema:
    """Columns of a file of a result, with their units, and its metadata (``geo``, ``wsiproc:*``).

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    with opened(file) as parquet:
        return parquet.schema_arrow


def tables(
    file: Path, *, columns: Sequence[str] | None = None, box: BoxUm | None = None
) -> Iterator[pa.Table]:
    """The rows of a file of a result, in its order, a row group (at most 50,000 rows) at a time.

    Parameters
    ----------
    columns
        Names, in the order that is wanted; None for all.
    box
        Only rows whose geometry's bounding box meets this one, edges counting.  Row groups that
        have none, by the footer's statistics, are not read; tables of no rows are left out.

    Raises
    ------
    StoreError
        If the file cannot be read, or has no such column.
    """
    with opened(file) as parquet:
        names = list(parquet.schema_arrow.names if columns is None else columns)
        if unknown := [name for name in names if name not in parquet.schema_arrow.names]:
            known = ", ".join(parquet.schema_arrow.names)
            raise StoreError(f"{file.name} has no column {unknown[0]!r}; it has {known}")
        if box is None:
            for group in _groups(parquet):
                yield parquet.read_row_group(group.number, columns=names).select(names)
            return
        read = names if "bbox" in names else [*names, "bbox"]
        for group in _groups(parquet):
            if group.touches(box):
                some = parquet.read_row_group(group.number, columns=read)
                some = some.filter(_meets(some["bbox"], box)).select(names)
                if len(some):
                    yield some


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A file of a result, open; its faults are told as what they are.

    Raises
    ------
    StoreError
        If it cannot be read, now or while it is read inside.
    """
    try:
        # Pages are decoded as they come: a column of a row group is not held twice.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield parquet
    except StoreError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"{file.name} cannot be read ({type(error).__name__}): `wsiproc check` says whether "
            "it is damaged"
        ) from None


def _folders(path: Path) -> list[Path]:
    if (path / MANIFEST).is_file() or not path.is_dir():
        return [path]
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise StoreError(f"the folder cannot be read: {error.strerror}") from None
    found = [one for one in inside if not one.name.startswith(".") and (one / MANIFEST).is_file()]
    if not found:
        raise StoreError(
            "there is no result here: a result is a folder with a manifest.json, as "
            "`wsiproc run` and `wsiproc batch` publish them"
        )
    return found


def _groups(parquet: pq.ParquetFile) -> Iterator[RowGroup]:
    footer, first = parquet.metadata, 0
    at = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        extent = _extent(group, at, tuple(f"bbox.{side}" for side in _SIDES))
        centres = _extent(group, at, ("x_um", "y_um", "x_um", "y_um"))
        yield RowGroup(number, first, group.num_rows, extent, centres)
        first += group.num_rows


def _extent(group: Any, at: dict[str, int], columns: tuple[str, ...]) -> BoxUm | None:
    """The least of the first two columns and the most of the other two."""
    sides = []
    for place, name in enumerate(columns):
        numbers = group.column(at[name]).statistics if name in at else None
        if numbers is None or not numbers.has_min_max:
            return None
        sides.append(float(numbers.min if place < 2 else numbers.max))
    return sides[0], sides[1], sides[2], sides[3]


def meet(one: BoxUm, other: BoxUm) -> bool:
    """Whether two boxes share a point; edges count."""
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


def _meets(boxes: pa.ChunkedArray, box: BoxUm) -> pa.ChunkedArray:
    """Which of a column of boxes meet one."""
    left, top, right, below = (pc.struct_field(boxes, side) for side in _SIDES)
    across = pc.and_(pc.less_equal(left, box[2]), pc.greater_equal(right, box[0]))
    down = pc.and_(pc.less_equal(top, box[3]), pc.greater_equal(below, box[1]))
    return pc.and_(across, down)
