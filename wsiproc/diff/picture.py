"""Where two results differ, as one picture: each nucleus by what became of it, and how many."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from wsiproc.density import coloured, round_up
from wsiproc.diff.difference import (
    CHANGES,
    GAINED,
    LOST,
    MATCHED,
    MOVED,
    RECLASSIFIED,
    Difference,
)
from wsiproc.diff.pairing import Floats
from wsiproc.overview import slide_picture
from wsiproc.results.stored import StoredResult

COLOURS: Final[dict[int, tuple[int, int, int]]] = {
    MATCHED: (72, 72, 84),
    MOVED: (214, 140, 0),
    RECLASSIFIED: (170, 60, 150),
    GAINED: (0, 100, 190),
    LOST: (208, 62, 10),
}
"""Told apart without seeing red and green; in the order in which they are laid over each other."""
_INK, _FAINT, _LINE = (38, 38, 46), (106, 106, 118), (214, 214, 220)
_MARGIN, _BETWEEN, _HEADER, _BAR, _FOOT = 36, 28, 122, 104, 44
_LONGEST, _SHORTEST = 900, 320
_DOT_UM = 5.0
"""Diameter of a nucleus' dot, where a pixel is not larger than that."""
_REACH_UM = 18.0
"""How far around a nucleus the share is shown."""


def draw_picture(difference: Difference) -> bytes:
    """Two panels: nuclei over the paled slide by what became of them; the share that changed.

    Returns
    -------
    png
        The same bytes for the same two results.
    """
    size_um = difference.a.size_um
    panel, beside = _laid_out(size_um)
    slide = _slide(difference.a, panel)
    share, top = _share(difference, panel)
    step = (panel[0] + _BETWEEN, 0) if beside else (0, panel[1] + _BETWEEN)
    first = (_MARGIN, _MARGIN + _HEADER)
    second = (first[0] + step[0], first[1] + step[1])
    size = (
        max(second[0] + panel[0] + _BAR + _MARGIN, 760),
        second[1] + panel[1] + _FOOT + _MARGIN // 2,
    )
    picture = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(picture)
    panels = (_dots(slide, difference), _shares(slide, *share, top))
    for (x, y), image in zip((first, second), panels, strict=True):
        picture.paste(image, (x, y))
        pen.rectangle((x - 1, y - 1, x + panel[0], y + panel[1]), outline=_LINE)
    _header(pen, difference, size[0] - 2 * _MARGIN)
    _scale(pen, first[0], second[1] + panel[1] + 14, panel, size_um)
    _bar(picture, (second[0] + panel[0] + 20, second[1]), panel[1], top)
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def _laid_out(size_um: tuple[float, float]) -> tuple[tuple[int, int], bool]:
    """Size of a panel in px, and whether the two stand beside each other."""
    scale = _LONGEST / max(size_um)
    if min(size_um) * scale < _SHORTEST:
        scale = min(_SHORTEST / min(size_um), 2 * scale)
    width, height = (max(40, round(edge * scale)) for edge in size_um)
    return (width, height), width <= 1.4 * height


def _slide(result: StoredResult, panel: tuple[int, int]) -> Floats:
    """The slide from the result's overview, grey and pale; ``[h, w, 1]``, 0 to 255."""
    whole = slide_picture(result.file("overview.png"), result.size_um)
    grey = whole.convert("L").resize(panel, Image.Resampling.LANCZOS)
    return 255 - 0.3 * (255 - np.asarray(grey, np.float64)[..., None])


def _counted(difference: Difference, panel: tuple[int, int]) -> dict[int, Floats]:
    """How many nuclei of each kind lie in each pixel of a panel; ``[h, w]``."""
    width, height = panel
    across, down = difference.a.size_um
    found = {}
    for code in COLOURS:
        # A pair is drawn once, where B has it.
        side = difference.side_a if code == LOST else difference.side_b
        some = side.change == code
        column = np.clip((side.x[some] / across * width).astype(np.int64), 0, width - 1)
        row = np.clip((side.y[some] / down * height).astype(np.int64), 0, height - 1)
        counts = np.bincount(row * width + column, minlength=width * height)
        found[code] = counts.reshape(height, width).astype(np.float64)
    return found


def _dots(slide: Floats, difference: Difference) -> Image.Image:
    """Nuclei as soft dots; matched ones faint and below."""
    height, width = slide.shape[:2]
    sigma = max(0.8, _DOT_UM / 2 / 1.5 * width / difference.a.size_um[0])
    mixed = np.repeat(slide, 3, axis=2)
    for code, counts in _counted(difference, (width, height)).items():
        if not counts.any():
            continue
        # The middle of a lone dot is 1, whatever the sigma.
        dots = ndimage.gaussian_filter(counts, sigma) * (2 * math.pi * sigma**2)
        strength = 1.5 if code == MATCHED else 3.0
        alpha = (1 - np.exp(-strength * dots))[..., None]
        alpha *= 0.55 if code == MATCHED else 1.0
        mixed = mixed * (1 - alpha) + np.array(COLOURS[code], np.float64) * alpha
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _share(difference: Difference, panel: tuple[int, int]) -> tuple[tuple[Floats, Floats], float]:
    """The share of nuclei around each pixel that changed, how sure of it, and a round maximum."""
    counts = _counted(difference, panel)
    every = np.sum(list(counts.values()), axis=0)
    changed = every - counts[MATCHED]
    sigma = max(6.0, max(panel) / 60)
    some, all_ = (ndimage.gaussian_filter(each, sigma) for each in (changed, every))
    share = some / np.maximum(all_, 0.05 / (2 * math.pi * sigma**2))
    # Colour stays near nuclei, and fades where there are few: a lone one says little.
    reach = max(1.0, _REACH_UM * panel[0] / difference.a.size_um[0])
    sure = 1 - np.exp(-ndimage.gaussian_filter(every, reach) * (2 * math.pi * reach**2) / 1.5)
    seen = share[sure > 0.5]
    top = min(1.0, round_up(float(np.percentile(seen, 99)))) if seen.size and seen.any() else 1.0
    return (share, sure), max(top, 0.001)


def _shares(slide: Floats, share: Floats, sure: Floats, top: float) -> Image.Image:
    alpha = (0.86 * sure)[..., None]
    mixed = coloured(share / top) * alpha + slide * (1 - alpha)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _header(pen: ImageDraw.ImageDraw, difference: Difference, room: int) -> None:
    """Which slide, which two results, and how many nuclei became what."""
    tally = difference.tally()
    title, font = difference.a.slide_id, _font(27)
    while pen.textlength(title, font) > room and len(title) > 4:
        title = title[:-2].rstrip("…") + "…"
    pen.text((_MARGIN, _MARGIN - 8), title, _INK, font)
    sides = [f"{r.model.name} {r.model.version}" for r in (difference.a, difference.b)]
    f1 = "" if math.isnan(tally.f1) else f"   ·   F1 {tally.f1:.3f}"
    said = f"{sides[0]} → {sides[1]}   ·   {tally.a:,} → {tally.b:,} nuclei{f1}"
    _plain(pen, (_MARGIN, _MARGIN + 33), said, _FAINT, 17)
    x, y = _MARGIN, _MARGIN + 72
    numbers = (tally.matched, tally.moved, tally.reclassified, tally.gained, tally.lost)
    for code, count in enumerate(numbers):
        pen.ellipse((x, y + 3, x + 13, y + 16), fill=COLOURS[code])
        label = f"{count:,} {CHANGES[code]}"
        pen.text((x + 20, y), label, _INK, _font(16))
        x += 20 + math.ceil(pen.textlength(label, _font(16))) + 26


def _plain(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, fill: tuple[int, int, int], size: int
) -> None:
    """Text whose → is drawn: the typeface that comes with Pillow has none."""
    x, (_, y), font = float(at[0]), at, _font(size)
    for number, part in enumerate(text.split("→")):
        if number:
            middle = y + size * 0.62
            pen.line((x, middle, x + size, middle), fill, 2)
            for tip in (-4, 4):
                pen.line((x + size - 5, middle + tip, x + size, middle), fill, 2)
            x += size * 1.25
        pen.text((x, y), part, fill, font)
        x += pen.textlength(part, font)


def _scale(
    pen: ImageDraw.ImageDraw, x: int, y: int, panel: tuple[int, int], size_um: tuple[float, float]
) -> None:
    """A scale bar below the panels."""
    px_per_um = panel[0] / size_um[0]
    longest = panel[0] / 3.5 / px_per_um
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(m * power for m in (1, 2, 5) if m * power <= longest)
    end = x + round(length * px_per_um)
    pen.rectangle((x, y + 6, end, y + 9), fill=_INK)
    for at in (x, end):
        pen.rectangle((at - 1, y + 1, at + 1, y + 14), fill=_INK)
    label = f"{length / 1000:g} mm" if length >= 100 else f"{length:g} µm"
    pen.text((end + 12, y - 2), label, _INK, _font(16))


def _bar(picture: Image.Image, at: tuple[int, int], height: int, top: float) -> None:
    """The colours of the second panel and what they stand for."""
    pen, (x, y) = ImageDraw.Draw(picture), (at[0], at[1] + 26)
    levels = np.linspace(1, 0, max(2, min(height - 34, 420)))[:, None].repeat(16, axis=1)
    picture.paste(Image.fromarray(np.rint(coloured(levels)).astype(np.uint8)), (x, y))
    pen.rectangle((x - 1, y - 1, x + 16, y + len(levels)), outline=(170, 170, 178))
    pen.text((x - 2, y - 27), "changed", _FAINT, _font(15))
    for share in (0.0, 0.5, 1.0):
        line = y + round((len(levels) - 1) * (1 - share))
        pen.line((x + 17, line, x + 21, line), fill=_FAINT)
        pen.text((x + 26, line), f"{100 * top * share:.3g} %", _INK, _font(15), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow: the same on every machine."""
    return ImageFont.load_default(size)


__all__ = ["COLOURS", "draw_picture"]
