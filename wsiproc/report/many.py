"""Many slides on one page: what a batch has found, which slides stand out, what is missing."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from wsiproc.batch.records import Record, read_records
from wsiproc.document import document
from wsiproc.errors import StoreError
from wsiproc.overview import slide_picture
from wsiproc.report.charts import Part, axis_of, histogram, plain
from wsiproc.report.markup import day, safe, table
from wsiproc.report.sheet import STYLE
from wsiproc.results.stored import StoredResult

MOST_BYTES: Final = 12_000_000
"""Pictures take what the text leaves of this; a page of this size can still be mailed."""
_EDGE_PX: Final = 300
_QUALITY: Final = 76
_FAR: Final = 3.5
"""A slide stands out from here on, in robust standard deviations (Iglewicz and Hoaglin 1993)."""
_LEAST: Final = 8
"""Of fewer slides none is said to stand out."""
_PLUM: Final = (116, 36, 111)
_MOOD: Final = {"quarantined": "bad", "waiting": "fair"}


@dataclass(frozen=True, slots=True)
class _Slide:
    """A slide in numbers, all from its manifest.

    `far` is how far its density lies from the others', in robust standard deviations; None where
    that is not judged.
    """

    result: StoredResult
    mm2: float
    per_mm2: float | None
    far: float | None = None

    @property
    def remarks(self) -> list[str]:
        """What is worth a look."""
        told = [safe(text) for text in self.result.manifest.warnings]
        if self.far is not None and abs(self.far) >= _FAR:
            told.append(f"{'more' if self.far > 0 else 'fewer'} nuclei per mm² than the others")
        if not self.result.nuclei:
            told.append("no nucleus was found")
        return told


def report_many(folder: Path, results: Sequence[StoredResult]) -> str:
    """The report of a folder of results; of a batch, also of slides that are not done.

    All numbers are those of the manifests: no table is read.
    """
    slides = _judged(sorted(results, key=lambda result: result.slide_id))
    undone = [record for record in read_records(folder) if record.state != "done"]
    parts = [
        _head(slides, undone),
        _figures(slides),
        _attention(slides),
        _undone(undone),
        _spread(slides),
    ]
    rows = _table(slides)
    text = sum(len(part.encode()) for part in (*parts, rows))
    parts += [_pictures(slides, MOST_BYTES - text), rows, _foot()]
    title = f"Nuclei of {len(slides):,} slides"
    return document(title, STYLE, "\n".join(["<main>", *filter(None, parts), "</main>"]))


def _judged(results: Sequence[StoredResult]) -> list[_Slide]:
    """Each slide, and how far its density lies from the others', of one model alone."""
    slides = []
    for result in results:
        mm2 = float(result.manifest.audit.get("tissue_mm2") or 0.0)
        slides.append(_Slide(result, mm2, result.nuclei / mm2 if mm2 > 0 else None))
    known = np.array([s.per_mm2 for s in slides if s.per_mm2 is not None])
    models = {s.result.model.sha256 for s in slides}
    if len(known) < _LEAST or len(models) > 1:
        return slides
    middle = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - middle)))
    if not spread:
        return slides
    return [
        s if s.per_mm2 is None else replace(s, far=(s.per_mm2 - middle) / spread) for s in slides
    ]


def _head(slides: Sequence[_Slide], undone: Sequence[Record]) -> str:
    models = Counter(f"{s.result.model.name} {s.result.model.version}" for s in slides)
    made = ", ".join(
        safe(name) + (f" ({count:,})" if len(models) > 1 else "") for name, count in models.items()
    )
    newest = max(s.result.manifest.finished for s in slides)
    many = "1 slide" if len(slides) == 1 else f"{len(slides):,} slides"
    left = f" · {len(undone):,} not done" if undone else ""
    return (
        f'<header><div><p class="eyebrow">Nuclei of a batch</p><h1>{many}</h1>'
        f'<p class="soft">Model {made} · newest result {safe(day(newest))}{left}</p></div>'
        '<p class="use">Research use. Not a medical device.</p></header>'
    )


def _figures(slides: Sequence[_Slide]) -> str:
    nuclei, mm2 = sum(s.result.nuclei for s in slides), sum(s.mm2 for s in slides)
    known = [s.per_mm2 for s in slides if s.per_mm2 is not None]
    boxes = (
        (f"{len(slides):,}", "slides"),
        (f"{nuclei:,}", "nuclei"),
        (f"{plain(mm2)} <small>mm²</small>", "of tissue searched"),
        (plain(float(np.median(known))) if known else "–", "per mm², median of slides"),
    )
    return (
        '<ul class="figures">'
        + "".join(f"<li><b>{number}</b><span>{what}</span></li>" for number, what in boxes)
        + "</ul>"
    )


def _attention(slides: Sequence[_Slide]) -> str:
    """Slides with a remark, before all others."""
    marked = [s for s in slides if s.remarks]
    if not marked:
        alike = ", and none stands out" if any(s.far is not None for s in slides) else ""
        return f'<p class="fine">No slide has a warning{alike}.</p>'
    rows = ((f"<b>{safe(s.result.slide_id)}</b>", "<br>".join(s.remarks)) for s in marked)
    return (
        f"<section><h2>Look at these <small>{len(marked):,}</small></h2>"
        f"{table([('slide', False), ('why', False)], rows)}</section>"
    )


def _undone(records: Sequence[Record]) -> str:
    if not records:
        return ""
    rows = (
        (
            f"<b>{safe(record.slide_id)}</b>",
            f'<span class="{_MOOD.get(record.state, "")}">{safe(record.state)}</span>',
            safe(record.trouble.message if record.trouble else "not begun"),
        )
        for record in records
    )
    heads = [("slide", False), ("state", False), ("why", False)]
    return (
        f"<section><h2>Not done <small>{len(records):,}</small></h2>{table(heads, rows)}</section>"
    )


def _spread(slides: Sequence[_Slide]) -> str:
    density = np.array([s.per_mm2 for s in slides if s.per_mm2 is not None])
    counts = np.array([float(s.result.nuclei) for s in slides])
    area = np.array([s.mm2 for s in slides])
    drawn = "".join(
        histogram(title, unit, [Part("slides", _PLUM, values)], axis_of(values), what="slides")
        for title, unit, values in (
            ("Nuclei per mm²", "", density),
            ("Nuclei", "", counts),
            ("Tissue", "mm²", area),
        )
        if len(values)
    )
    return (
        f'<section><h2>How slides differ</h2><div class="charts">{drawn}</div>'
        '<p class="soft">Bars count slides. The line is the median; the grey band, and what '
        "stands in brackets, is the middle half.</p></section>"
    )


def _pictures(slides: Sequence[_Slide], room: int) -> str:
    """Small pictures of as many slides as there is room for, evenly spread."""
    shown: list[str] = []
    for number in _spaced(len(slides), room):
        slide = slides[number]
        picture = _small(slide.result)
        if picture is None:
            continue
        density = "–" if slide.per_mm2 is None else f"{plain(slide.per_mm2)} per mm²"
        name = safe(slide.result.slide_id)
        figure = (
            f'<figure><img src="data:image/jpeg;base64,{picture}" alt="slide {name}">'
            f"<figcaption><b>{name}</b><br>{density}</figcaption></figure>"
        )
        room -= len(figure.encode())
        if room < 0:
            break
        shown.append(figure)
    if not shown:
        return ""
    part = f" <small>{len(shown):,} of {len(slides):,}</small>" if len(shown) < len(slides) else ""
    return f'<section><h2>Slides{part}</h2><div class="tiles">{"".join(shown)}</div></section>'


def _spaced(slides: int, room: int) -> list[int]:
    """Which slides to show, if a picture takes some 20 kB."""
    fit = max(1, min(slides, room // 20_000))
    return [number * slides // fit for number in range(fit)]


def _small(result: StoredResult) -> str | None:
    """The slide's picture in base64; None if its overview is damaged."""
    try:
        picture = slide_picture(result.file("overview.png"), result.size_um)
    except StoreError:
        return None
    picture.thumbnail((_EDGE_PX, _EDGE_PX), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def _table(slides: Sequence[_Slide]) -> str:
    classes = list(dict.fromkeys(name for s in slides for name in s.result.manifest.classes))
    shown = classes if 1 < len(classes) <= 4 else []
    heads = [("slide", False), ("model", False), ("nuclei", True), ("mm²", True), ("per mm²", True)]
    heads += [(f"{name} per mm²", True) for name in shown]
    rows = (
        (
            safe(s.result.slide_id),
            f"{safe(s.result.model.name)} {safe(s.result.model.version)}",
            f"{s.result.nuclei:,}",
            plain(s.mm2),
            "–" if s.per_mm2 is None else plain(s.per_mm2),
            *(_per_mm2(s.result.manifest.classes.get(name), s.mm2) for name in shown),
        )
        for s in slides
    )
    return f"<section><h2>All slides</h2>{table(heads, rows)}</section>"


def _per_mm2(count: int | None, mm2: float) -> str:
    """Of a class; nothing where the model does not know it."""
    if count is None:
        return ""
    return plain(count / mm2) if mm2 > 0 else "–"


def _foot() -> str:
    return (
        "<footer><p>Densities are per mm² of tissue that was searched, glass left out. A slide "
        f"stands out if its density is {_FAR:g} robust standard deviations or more from the "
        "median of all, which are at least "
        f"{_LEAST} and of one model. Slides are named by their ids. Research use; not a medical "
        "device.</p></footer>"
    )
