"""What annotators left of one image: a label map that was painted, outlines, or points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from wsiproc import geojson
from wsiproc.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Annotated nuclei without outlines.

    Parameters
    ----------
    xy
        ``[n, 2]`` float64, x to the right and y down, in px of the image, pixel centres at +.5.
    class_id
        ``[n]`` int64, the class as the data set numbers it; 0 where it has none.
    """

    xy: NDArray[np.float64]
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xy)


def drawn(path: Path, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Outlines of a GeoJSON file, packed or not, on the pixels of the image `name`.

    `shape` is its height and width.

    Raises
    ------
    ConfigError
        If the file cannot be read, holds no outlines, or one that lies outside of the image.
    """
    try:
        text = geojson.text_of(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"labels of {name} cannot be read: {reason(error)}") from None
    outlines = geojson.outlines_in(text, path.name)
    image = shapely.box(0, 0, shape[1], shape[0])
    beyond = np.flatnonzero(~shapely.is_empty(outlines) & ~shapely.intersects(outlines, image))
    if len(beyond):
        raise ConfigError(
            f"{path.name}: feature {beyond[0] + 1} lies outside of image {name}, {shape[1]} x "
            f"{shape[0]} px: outlines are wanted in px of that image"
        )
    return geojson.label_map(outlines, shape)


def painted(path: Path, name: str, shape: tuple[int, int]) -> NDArray[np.int32]:
    """A label map as it was painted over the image `name`, which is ``shape`` large.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no label map, or does not fit the image.
    """
    try:
        with Image.open(path) as picture:
            labels = np.array(picture)
    except OSError as error:
        raise ConfigError(f"labels of {name} cannot be read: {reason(error)}") from None
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise ConfigError(f"labels of {name} are no label map: one integer per pixel wanted")
    if labels.shape != shape:
        raise ConfigError(
            f"labels of {name} are {labels.shape[1]} x {labels.shape[0]} px, "
            f"its image is {shape[1]} x {shape[0]}"
        )
    return labels.astype(np.int32)


def points_in(path: Path, name: str) -> Points:
    """The points of a CSV, moved to wsiproc's convention (pixel centres at +.5).

    Raises
    ------
    ConfigError
        If the file cannot be read, or is no such table.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"points of {name} cannot be read: {reason(error)}") from None
    header = [column.strip() for column in lines[0].split(",")]
    if header[:2] != ["x", "y"] or header[2:] not in ([], ["class"]):
        raise ConfigError(f"points of {name} must begin with the line 'x,y,class'")
    rows = [line for line in lines[1:] if line.strip()]
    try:
        table = np.array([[float(v) for v in row.split(",")] for row in rows], np.float64)
        table = table.reshape(len(rows), len(header))
    except ValueError:
        raise ConfigError(f"points of {name}: every line must hold {len(header)} numbers") from None
    if not np.isfinite(table).all():
        raise ConfigError(f"points of {name} hold numbers that are not finite")
    classes = table[:, 2] if len(header) > 2 else np.zeros(len(rows))
    return Points(table[:, :2] + 0.5, classes.astype(np.int64))


def reason(error: Exception) -> str:
    """What the system says, without the path that it adds."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is damaged, or not what it should be"
