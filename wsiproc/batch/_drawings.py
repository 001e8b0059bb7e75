"""Small pictures for the page of a night: histograms, and overviews made small."""

from __future__ import annotations

import base64
import html
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

MOST: Final = 150
"""Overviews on a page."""
EDGE_PX: Final = 320
_MOST_PX: Final = 1 << 24
"""Of an overview; a larger one was not drawn here, and is not decoded."""
_QUALITY: Final = 72
_AROUND: Final = 200
"""Bytes of markup around a picture, at most."""
_BINS: Final = 24


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Overviews made small: (slide id, JPEG in base64, width, height), and of how many slides."""

    shown: tuple[tuple[str, str, int, int], ...]
    of: int


def thumbnails(out: Path, slides: Sequence[str], room: int) -> Thumbnails:
    """Overviews of slides, at most `MOST` of them and `room` bytes of HTML; evenly spread.

    An overview that is not there or is damaged is left out.
    """
    step = max(1.0, len(slides) / MOST)
    shown = []
    for n in range(min(MOST, len(slides))):
        slide_id = slides[int(n * step)]
        small = _small(out / slide_id / "overview.png")
        if small is None:
            continue
        room -= len(small[0]) + _AROUND + 2 * len(slide_id)
        if room < 0:
            break
        shown.append((slide_id, *small))
    return Thumbnails(tuple(shown), len(slides))


def _small(path: Path) -> tuple[str, int, int] | None:
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > _MOST_PX:
                return None
            small = picture.convert("RGB")
        small.thumbnail((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # Pillow says all of these of damaged files
    jpeg = io.BytesIO()
    small.save(jpeg, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(jpeg.getvalue()).decode(), small.width, small.height


def histogram(title: str, values: Sequence[float], what: str) -> str:
    """An SVG of how `values` are spread, from 0; with its numbers as text. Empty without values."""
    if not values:
        return ""
    step, bins = _classes(max(values))
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / step))] += 1
    left, top, wide, high = 8, 52, 496, 96
    bar = wide / bins
    tallest = max(counts)
    bars = "".join(
        f'<rect x="{left + n * bar + 1:.1f}" y="{top + high - high * count / tallest:.1f}" '
        f'width="{bar - 2:.1f}" height="{high * count / tallest:.1f}" rx="1.5">'
        f"<title>{n * step:,.6g} to {(n + 1) * step:,.6g}: {count:,} {what}</title></rect>"
        for n, count in enumerate(counts)
        if count
    )
    every = math.ceil(bins / 6)
    ticks = "".join(
        f'<text x="{left + n * bar:.1f}" y="{top + high + 16}" '
        f'text-anchor="{"start" if n == 0 else "middle"}">{n * step:,.6g}</text>'
        for n in range(0, bins, every)
    )
    said = (
        f"{len(values):,} {what}, from {min(values):,.4g} to {max(values):,.4g}, "
        f"median {statistics.median(values):,.4g}"
    )
    peak = counts.index(tallest)
    bars += (
        f'<text x="{left + (peak + 0.5) * bar:.1f}" y="{top - 3}" text-anchor="middle">'
        f"{tallest:,}</text>"
    )
    label = html.escape(f"{title}, {said}")
    return (
        f'<svg viewBox="0 0 512 172" role="img" aria-label="{label}">'
        f'<text class="title" x="{left}" y="16">{html.escape(title)}</text>'
        f'<text x="{left}" y="32">{said}</text>{bars}'
        f'<line x1="{left}" y1="{top + high}" x2="{left + wide}" y2="{top + high}"/>{ticks}</svg>'
    )


def _classes(largest: float) -> tuple[float, int]:
    """Width and number of classes from 0 to above `largest`: 1, 2 or 5 times a power of ten."""
    if not largest > 0:
        return 1.0, 1
    rough = largest / _BINS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return step, int(largest / step) + 1
