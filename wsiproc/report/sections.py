"""The parts of a report of one slide, as HTML.  All text is escaped here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely

from wsiproc.density import coloured
from wsiproc.report.charts import Axis, Part, axis_of, histogram, plain, rgb, spark
from wsiproc.report.choosing import Gallery, Shown
from wsiproc.report.markup import day, safe
from wsiproc.report.measures import ClassNumbers, Nuclei, Quartiles
from wsiproc.report.pictures import Crop, Picture, SlidePictures
from wsiproc.results.stored import StoredResult

_SHORT = 24
"""Characters of a class name that is not broken over lines."""
_CHARTS = (
    ("area_um2", "Area", "µm²", False),
    ("major_um", "Long axis", "µm", False),
    ("eccentricity", "Eccentricity", "", True),
    ("solidity", "Solidity", "", True),
    ("score", "Score", "", True),
)


def head(result: StoredResult) -> str:
    """What this is, of what, and made with what."""
    manifest = result.manifest
    made = f"{result.model.name} {result.model.version}"
    version = manifest.software.get("wsiproc")
    said = [f"Model {made}", day(manifest.finished), f"wsiproc {version}" if version else ""]
    return (
        '<header><div><p class="eyebrow">Nuclei of a slide</p>'
        f"<h1>{safe(result.slide_id)}</h1>"
        f'<p class="soft">{" · ".join(safe(part) for part in said if part)}</p></div>'
        '<p class="use">Research use. Not a medical device.</p></header>'
    )


def figures(result: StoredResult, nuclei: Nuclei, mm2: float) -> str:
    """The numbers that are asked for first, and what they say in a sentence."""
    area = Quartiles.of(nuclei.columns["area_um2"]) if "area_um2" in nuclei.columns else None
    near = Quartiles.of(nuclei.nearest)
    boxes = [
        (f"{len(nuclei):,}", "nuclei"),
        (plain(len(nuclei) / mm2) if mm2 > 0 else "–", "per mm² of tissue"),
        (f"{plain(mm2)} <small>mm²</small>", "of tissue searched"),
    ]
    if area is not None:
        boxes.append((f"{plain(area.middle)} <small>µm²</small>", "median area"))
    else:
        boxes.append(
            (f"{plain(near.middle)} <small>µm</small>" if near else "–", "to the next nucleus")
        )
    shown = "".join(f"<li><b>{number}</b><span>{what}</span></li>" for number, what in boxes)
    said = ""
    if len(nuclei) and area is not None and near is not None:
        said = (
            f'<p class="lead">Half of the nuclei cover between {plain(area.low)} and '
            f"{plain(area.high)} µm², and half have their nearest neighbour between "
            f"{plain(near.low)} and {plain(near.high)} µm away, from centre to centre.</p>"
        )
    return f'<ul class="figures">{shown}</ul>{said}'


def notices(warnings: Sequence[str], problems: Sequence[str]) -> str:
    """What a reader has to know before they believe a number."""
    told = [f"<li>{safe(text)}</li>" for text in warnings]
    told += [
        f"<li>{safe(text)}: this file is not as it was published. Run the slide again.</li>"
        for text in problems
    ]
    if not told:
        return '<p class="fine">No warnings. All files are as they were published.</p>'
    many = f"{len(told)} warnings" if len(told) > 1 else "A warning"
    return f'<section class="notice"><h2>{many}</h2><ul>{"".join(told)}</ul></section>'


def slide(result: StoredResult, shown: SlidePictures) -> str:
    """The slide beside its nuclei per mm²."""
    width, height = result.size_um
    wide = " wide" if width > 1.6 * height else ""
    over = f'<path class="tissue" d="{_path(shown.tissue, 0, 0, 1)}"/>' if shown.tissue else ""
    unread = f'<path class="unread" d="{_path(shown.skipped, 0, 0, 1)}"/>' if shown.skipped else ""
    missing = " Red: tiles that could not be read." if shown.skipped else ""
    stops = ", ".join(
        rgb(tuple(round(float(c)) for c in color))  # type: ignore[arg-type]
        for color in coloured(np.linspace(0, 1, 9))
    )
    length = _bar_um(width / 4)
    named = f"{length / 1000:g} mm" if length >= 100 else f"{length:g} µm"
    return (
        f'<section><h2>The slide</h2><div class="slide{wide}">'
        f"<figure>{_whole(shown.slide, width, height, over + unread, 'The slide')}"
        f'<div class="under"><span class="bar" style="width:{100 * length / width:.2f}%"></span>'
        f"{named}</div><figcaption>Green: the tissue in which nuclei were looked for.{missing}"
        f"</figcaption></figure><figure>"
        f"{_whole(shown.density, width, height, over, 'Nuclei per mm²')}"
        f'<div class="under">0<span class="ramp" style="background:linear-gradient(to right, '
        f'{stops})"></span>{shown.top:,.6g} nuclei per mm²</div>'
        "<figcaption>How many nuclei there are for each mm² of searched tissue around a place."
        "</figcaption></figure></div></section>"
    )


def classes(numbers: Sequence[ClassNumbers], nuclei: Nuclei, mm2: float) -> str:
    """A row a class."""
    outlined = "area_um2" in nuclei.columns
    axis = axis_of(nuclei.columns["area_um2"]) if outlined else None
    rows = "".join(_class_row(each, nuclei, axis) for each in numbers)
    if len(numbers) > 1:
        areas = Quartiles.of(nuclei.columns["area_um2"]) if outlined else None
        axes = Quartiles.of(nuclei.columns["major_um"]) if outlined else None
        shapes = f"<td class=n>{_quartiles(areas)}</td><td class=n>{_middle(axes)}</td>"
        rows += (
            f'<tr class="all"><td>all</td><td class=n>{len(nuclei):,}</td><td class=n></td>'
            f"<td class=n>{plain(len(nuclei) / mm2) if mm2 > 0 else '–'}</td>"
            f"{shapes if outlined else ''}"
            f"<td class=n>{_middle(Quartiles.of(nuclei.columns['score']))}</td>"
            f"{'<td></td>' if outlined else ''}</tr>"
        )
    shape_heads = (
        "<th class=n>area, µm²<br>median (middle half)</th><th class=n>long axis, µm<br>median</th>"
    )
    return (
        '<section><h2>Classes</h2><div class="scroll"><table><thead><tr><th>class</th>'
        "<th class=n>nuclei</th><th class=n>share</th><th class=n>per mm²</th>"
        f"{shape_heads if outlined else ''}<th class=n>score<br>median</th>"
        f"{'<th class=n>areas</th>' if outlined else ''}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def charts(result: StoredResult, nuclei: Nuclei) -> str:
    """How size, shape, score and distance are spread."""
    if not len(nuclei):
        return ""
    drawn = [
        histogram(title, unit, _parts(result, nuclei, nuclei.columns[name]), axis)
        for name, title, unit, share in _CHARTS
        if name in nuclei.columns
        for axis in [axis_of(nuclei.columns[name], unit_interval=share)]
    ]
    near = axis_of(nuclei.nearest)
    parts = _parts(result, nuclei, nuclei.nearest)
    drawn.append(histogram("Nearest nucleus", "µm", parts, near))
    title = "Size, shape and certainty" if len(drawn) > 2 else "Certainty and spacing"
    shapes = (
        "Eccentricity is 0 for a circle and near 1 for a needle. Solidity is 1 for a nucleus "
        "without dents. "
        if len(drawn) > 2
        else ""
    )
    return (
        f'<section><h2>{title}</h2><div class="charts">{"".join(drawn)}</div>'
        '<p class="soft">Bars count nuclei. The line is the median; the grey band, and what '
        f"stands in brackets, is the middle half. {shapes}Distances are from centre to centre. "
        "The score says how sure the model is, not how often it is right.</p></section>"
    )


def galleries(shown: Sequence[tuple[Gallery, Sequence[Crop] | None]]) -> str:
    """Nuclei one by one: pixels with outlines, or outlines alone."""
    if not shown:
        return ""
    pixels = any(crops is not None for _, crops in shown)
    outlined = any(each.outline is not None for gallery, _ in shown for each in gallery.nuclei)
    if not pixels and not outlined:
        said = "This model gives points. With <code>--slide</code> the report shows their pixels."
        return f'<section><h2>Nuclei, one by one</h2><p class="soft">{said}</p></section>'
    hint = (
        "Each row has one scale. On a screen, what is drawn over a nucleus hides under the pointer."
        if pixels
        else "Outlines as they are stored; each row has one scale. With <code>--slide</code> the "
        "report shows their pixels too."
    )
    rows = "".join(_gallery(gallery, crops) for gallery, crops in shown)
    return f'<section><h2>Nuclei, one by one</h2><p class="soft">{hint}</p>{rows}</section>'


def _class_row(each: ClassNumbers, nuclei: Nuclei, axis: Axis | None) -> str:
    drawn = shapes = ""
    if axis is not None:
        mine = nuclei.columns["area_um2"][nuclei.class_id == each.class_id]
        drawn = f"<td>{spark(mine, axis, each.about.color)}</td>"
        shapes = (
            f"<td class=n>{_quartiles(each.area)}</td><td class=n>{_middle(each.long_axis)}</td>"
        )
    density = "–" if each.per_mm2 is None else plain(each.per_mm2)
    short = " class=name" if len(each.about.name) <= _SHORT else ""
    return (
        f'<tr><td{short}><span class="swatch" style="background:{rgb(each.about.color)}">'
        f"</span>{safe(each.about.name)}</td><td class=n>{each.nuclei:,}</td>"
        f"<td class=n>{100 * each.share:.1f} %</td><td class=n>{density}</td>{shapes}"
        f"<td class=n>{_middle(each.score)}</td>{drawn}</tr>"
    )


def _quartiles(found: Quartiles | None) -> str:
    if found is None:
        return "–"
    return f"{plain(found.middle)} <small>({plain(found.low)}–{plain(found.high)})</small>"


def _middle(found: Quartiles | None) -> str:
    return "–" if found is None else plain(found.middle)


def _parts(result: StoredResult, nuclei: Nuclei, values: np.ndarray) -> list[Part]:
    """One a class, the most frequent at the bottom."""
    parts = [
        Part(about.name, about.color, values[nuclei.class_id == class_id])
        for class_id, about in enumerate(result.classes)
    ]
    return sorted(parts, key=lambda part: -len(part.values))


def _whole(picture: Picture, width: float, height: float, over: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.1f} {height:.1f}" role="img" aria-label="{label}">'
        f'<image href="{picture.address}" width="{width:.1f}" height="{height:.1f}" '
        f'preserveAspectRatio="none"/>{over}'
        f'<rect class="edge" width="{width:.1f}" height="{height:.1f}"/></svg>'
    )


def _gallery(gallery: Gallery, crops: Sequence[Crop] | None) -> str:
    shown = "".join(
        _crop(each, gallery.field_um, None if crops is None else crops[number], scaled=number == 0)
        for number, each in enumerate(gallery.nuclei)
    )
    return (
        f'<section class="gallery"><h3>{safe(gallery.title)} <small>{safe(gallery.says)}</small>'
        f'</h3><div class="row">{shown}</div></section>'
    )


def _crop(each: Shown, field: float, crop: Crop | None, *, scaled: bool) -> str:
    half = field / 2
    color = rgb(each.color)
    pixels = ""
    if crop is not None:
        pixels = (
            f'<image href="{crop.picture.address}" x="{crop.left:.3f}" y="{crop.top:.3f}" '
            f'width="{crop.width:.3f}" height="{crop.height:.3f}" preserveAspectRatio="none"/>'
        )
    if each.outline is None:
        shape = "".join(
            f'<circle class="{kind}" r="{0.09 * field:.2f}"{more}/>'
            for kind, more in (("halo", ""), ("rim", f' stroke="{color}"'))
        )
    else:
        path = _path((each.outline,), each.x, each.y, 2)
        shape = (
            f'<path class="body" d="{path}" style="fill:{color};stroke:{color}"/>'
            if crop is None
            else f'<path class="halo" d="{path}"/><path class="rim" d="{path}" stroke="{color}"/>'
        )
    return (
        f'<figure class="crop"><svg viewBox="{-half:g} {-half:g} {field:g} {field:g}" role="img" '
        f'aria-label="nucleus {each.nucleus_id}"><title>nucleus {each.nucleus_id}, at '
        f"{each.x:,.1f}, {each.y:,.1f} µm</title>{pixels}{shape}"
        f"{_scale(field) if scaled else ''}</svg>"
        f"<figcaption>{safe(each.said)}</figcaption></figure>"
    )


def _scale(field: float) -> str:
    """A scale bar in the corner of a crop."""
    length = _bar_um(field / 2)
    x, y = -0.46 * field, 0.44 * field
    ends = f'x1="{x:.2f}" x2="{x + length:.2f}" y1="{y:.2f}" y2="{y:.2f}"'
    return (
        f'<line {ends}/><line {ends}/><text x="{x:.2f}" y="{y - 0.04 * field:.2f}" '
        f'font-size="{0.13 * field:.2f}" stroke-width="{0.03 * field:.2f}">{length:g} µm</text>'
    )


def _bar_um(most: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no longer than that."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(m * power for m in (1, 2, 5) if m * power <= most)


def _path(polygons: Sequence[shapely.Polygon], x: float, y: float, digits: int) -> str:
    """Rings as SVG, from (x, y)."""
    rings = []
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.round(np.asarray(ring.coords)[:-1] - (x, y), digits)
            rings.append("M" + "L".join(f"{px:g},{py:g}" for px, py in points.tolist()) + "Z")
    return "".join(rings)
