"""One slide on one page."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from wsiproc.document import document
from wsiproc.report import provenance, sections
from wsiproc.report.choosing import choose
from wsiproc.report.markup import safe
from wsiproc.report.measures import by_class, read_nuclei
from wsiproc.report.pictures import crops, opened_slide, slide_pictures
from wsiproc.report.sheet import STYLE
from wsiproc.results.stored import StoredResult
from wsiproc.store.manifest import verify


def report(result: StoredResult, slide: Path | None = None) -> str:
    """The report of one result: HTML that needs no network, no script and no other file.

    Parameters
    ----------
    slide
        The slide's file.  With it, nuclei are shown with their pixels.

    Raises
    ------
    ConfigError
        If `slide` is another slide.
    SlideError, StoreError
        If it, or a file of the result, cannot be read.
    """
    nuclei = read_nuclei(result)
    mm2 = tissue_mm2(result)
    with ExitStack() as files:
        pixels = None if slide is None else files.enter_context(opened_slide(slide, result))
        pictures = slide_pictures(result, nuclei.density, pixels)
        shown = [
            (gallery, None if pixels is None else crops(pixels, gallery))
            for gallery in choose(result, nuclei)
        ]
    parts = (
        sections.head(result),
        sections.figures(result, nuclei, mm2),
        sections.notices(result.manifest.warnings, verify(result.folder)),
        sections.slide(result, pictures),
        sections.classes(by_class(nuclei, result.classes, mm2), nuclei, mm2),
        sections.charts(result, nuclei),
        sections.galleries(shown),
        provenance.seams(result.manifest.seams),
        provenance.provenance(result),
        _foot(result),
    )
    title = f"Nuclei of {safe(result.slide_id)}"
    return document(title, STYLE, "\n".join(["<main>", *filter(None, parts), "</main>"]))


def tissue_mm2(result: StoredResult) -> float:
    """What was searched, mm²."""
    return float(result.manifest.audit.get("tissue_mm2") or 0.0)


def _foot(result: StoredResult) -> str:
    return (
        "<footer><p>Lengths are in micrometres, areas in square micrometres, both of outlines as "
        "they are stored. Densities are per mm² of tissue that was searched, glass left out. "
        f"Slide {safe(result.slide_id)}. Research use; not a medical device.</p></footer>"
    )
