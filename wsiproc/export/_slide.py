"""The slide that a result was made from, where an export needs it again."""

from __future__ import annotations

from pathlib import Path

from wsiproc.errors import ConfigError
from wsiproc.results.stored import StoredResult
from wsiproc.slide import Slide, fingerprint, open_slide


def check_same(result: StoredResult, slide: Path) -> None:
    """See that a slide is the one of a result, by all its bytes.

    Raises
    ------
    ConfigError
        If it is another one: its nuclei would lie anywhere.
    SlideFormatError
        If it cannot be read.
    """
    if fingerprint(slide) != result.manifest.slide.sha256:
        raise ConfigError(
            "--slide is not the slide that this result was made from: their bytes differ"
        )


def opened_again(result: StoredResult, slide: Path) -> Slide:
    """The slide of a result, at the resolution that it was run with.

    Raises
    ------
    ConfigError
        If it is another one.
    SlideError
        If it cannot be read.
    """
    check_same(result, slide)
    record = result.manifest.slide
    return open_slide(slide, mpp=record.mpp[0] if record.mpp_source == "given" else None)
