"""Opening a slide with the backend that reads it best."""

from __future__ import annotations

from pathlib import Path

from wsiproc.errors import SlideFormatError
from wsiproc.slide.facts import Slide, check_header, settle
from wsiproc.slide.mosaic import Mosaic, Source


def open_slide(path: Path, *, mpp: float | None = None, backend: str | None = None) -> Slide:
    """Open a slide."""
    from wsiproc.slide._openslide import OpenSlideSource

    if not path.exists():
        raise SlideFormatError("there is no file at the path given")
    source: Source = OpenSlideSource(path)
    try:
        check_header(source.header)
        return Mosaic(source, settle(source.header, mpp))
    except BaseException:
        source.close()
        raise
