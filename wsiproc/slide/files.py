"""Which files make up a slide."""

from __future__ import annotations

from pathlib import Path

from wsiproc.errors import SlideFormatError
from wsiproc.slide._dicom import series_of, series_uid

__all__ = ["files_of", "series_uid"]

MOST_INDEX_BYTES = 16 << 20
"""Of the file that mentions a slide's others."""


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file that holds a part of the slide at `path`, sorted by name.

    =====================  ==============================================================
    DICOM                  the files beside it (or in the folder given) of its series; one
                           whose series cannot be told counts as one of them
    MIRAX ``.mrxs``        it, and everything in the folder of the same name
    Hamamatsu ``.vms``     it, and the files beside it that it mentions; also ``.vmu``
    a folder               everything in it: NGFF zarr
    anything else          the file
    =====================  ==============================================================

    Raises
    ------
    SlideFormatError
        If there is nothing at the path, a folder holds no file, or an index is far too large.
    """
    if path.is_dir():
        if dicom := sorted(path.glob("*.dcm")):
            return series_of(dicom[0])
        found = _below(path)
        if not found:
            raise SlideFormatError("the folder given as a slide is empty")
        return found
    if not path.is_file():
        raise SlideFormatError("there is no file at the path given")
    kind = path.suffix.lower()
    if kind == ".mrxs":
        return (path, *_below(path.with_suffix("")))
    if kind in {".vms", ".vmu"}:
        if path.stat().st_size > MOST_INDEX_BYTES:
            raise SlideFormatError("the slide's index is larger than any slide's")
        index = path.read_bytes()
        return (path, *(f for f in _beside(path) if f.name.encode() in index))
    if kind == ".dcm":
        return series_of(path)
    return (path,)


def _below(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(f for f in folder.rglob("*") if f.is_file()))


def _beside(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(f for f in path.parent.iterdir() if f.is_file() and f != path))
