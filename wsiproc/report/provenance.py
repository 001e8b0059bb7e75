"""Where a result comes from and how far it can be relied on, as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from wsiproc.report.markup import day, facts, safe, table
from wsiproc.results.stored import StoredResult

_SOURCES = {"file": "from the file", "given": "given by the user"}


def seams(audit: Mapping[str, Any]) -> str:
    """Whether nuclei are the same on both sides of where the slide was cut to be worked on."""
    explained = (
        '<p class="soft">A slide is worked on in tiles. Each nucleus near a seam between two tiles '
        "is looked at from both sides, and counted once.</p>"
    )
    title = "<h2>Seams between tiles</h2>"
    if not audit:
        return (
            f'<section>{title}<p class="soft">The result holds no audit of its seams.</p></section>'
        )
    if not audit.get("seam_px"):
        return f'<section>{title}<p class="good">One tile held all tissue: no seams.</p></section>'
    rows = [
        ("seen from both sides and compared", _count(audit, "checked")),
        ("of these, alike to the last bit", _count(audit, "agreed")),
        ("same nucleus, another centroid or score", _count(audit, "differing")),
        ("reported by one side only, or under two names", _count(audit, "conflicts")),
        ("doubles removed", _count(audit, "doubles")),
        ("found again after both sides had left it to the other", _count(audit, "rescued")),
        ("reach the edge of what their tile saw", _count(audit, "not_fully_seen")),
        ("of these, joined from two tiles", _count(audit, "united")),
    ]
    shown = table([("nuclei near seams", False), ("", True)], rows)
    return f"<section>{title}{_verdict(audit)}{shown}{_densities(audit)}{explained}</section>"


def provenance(result: StoredResult) -> str:
    """Slide, model, settings, software and files: what it takes to do it again."""
    manifest = result.manifest
    return (
        "<section><h2>Where this comes from</h2>"
        f'<div class="columns"><div><h3>Slide</h3>{facts(_slide(result))}</div>'
        f"<div><h3>Run</h3>{facts(_run(result))}</div></div>"
        f"<h3>Model</h3>{facts(_model(result))}{_data(result.model.card)}"
        f"<h3>Files</h3>{_files(result)}"
        f'<p class="soft">Job key <code>{safe(manifest.job_key)}</code>. The same slide, model, '
        "settings and numerics give the same files, byte for byte.</p></section>"
    )


def _verdict(audit: Mapping[str, Any]) -> str:
    errors = int(audit.get("errors", 0))
    if errors:
        return (
            f'<p class="bad">{errors:,} nuclei near seams differ between tiles, though the model '
            "promises that they agree. Report this, and do not rely on nuclei near seams.</p>"
        )
    open_ends = int(audit.get("not_fully_seen", 0)) - int(audit.get("united", 0))
    if audit.get("local"):
        return '<p class="good">Every nucleus near a seam is the same from both sides.</p>'
    if open_ends > 0:
        return (
            f'<p class="fair">{open_ends:,} nuclei may be cut: they reach the edge of what their '
            "tile saw.</p>"
        )
    return '<p class="good">No nucleus is cut by a seam; doubles were removed.</p>'


def _densities(audit: Mapping[str, Any]) -> str:
    """Near seams and elsewhere, with what chance alone does to so few nuclei."""
    near, away = audit.get("seam_density_per_mpx"), audit.get("interior_density_per_mpx")
    count = int(audit.get("seam_nuclei", 0))
    if near is None or away is None or not count:
        return ""
    spread = 2 * near / math.sqrt(count)
    return (
        f"<p>Near seams there are {near:,.0f} nuclei for each million pixels (give or take "
        f"{spread:,.0f}, from {count:,} nuclei), elsewhere {away:,.0f}.</p>"
    )


def _count(audit: Mapping[str, Any], name: str) -> str:
    return f"{int(audit.get(name, 0)):,}"


def _slide(result: StoredResult) -> Iterator[tuple[str, str]]:
    slide = result.manifest.slide
    width, height = result.size_um
    yield "Called", safe(result.slide_id)
    yield (
        "Size",
        f"{slide.width:,} × {slide.height:,} px, {width / 1e3:.2f} × {height / 1e3:.2f} mm",
    )
    x, y = slide.mpp
    mpp = f"{x:.4g}" if x == y else f"{x:.4g} × {y:.4g}"
    yield "Resolution", f"{mpp} µm per px, {_SOURCES[slide.mpp_source]}"
    yield "Objective", f"{slide.objective:g}×" if slide.objective else ""
    yield "Format", safe(slide.vendor)
    yield "Fingerprint", f"<code>{safe(slide.sha256)}</code>"


def _run(result: StoredResult) -> Iterator[tuple[str, str]]:
    manifest = result.manifest
    ran = manifest.execution
    yield "Finished", safe(day(manifest.finished))
    device = " ".join(str(ran[key]) for key in ("engine", "device", "precision") if ran.get(key))
    yield "Device", safe(device)
    yield "Numerics", f"<code>{safe(manifest.numerics)}</code>"
    total = manifest.seconds.get("total")
    tiles = ran.get("tiles_total")
    worked = ""
    if isinstance(tiles, int):
        worked = f", in {tiles:,} tile{'s' if tiles != 1 else ''}"
    yield "Took", f"{_duration(total)}{worked}" if total is not None else ""
    yield "Settings", "<br>".join(_settings(manifest.science))
    repaired = int(manifest.audit.get("outlines_repaired", 0) or 0)
    yield "Outlines repaired", f"{repaired:,}" if repaired else ""
    yield "Software", safe(", ".join(f"{k} {v}" for k, v in manifest.software.items()))


def _settings(science: Mapping[str, Any]) -> Iterator[str]:
    """What decides the result, in words."""
    yield "in tissue only" if science.get("tissue") else "on the whole slide"
    if science.get("roi"):
        outlines = len(science["roi"])
        yield f"in {outlines:,} region{'s' if outlines > 1 else ''} of interest only"
    if science.get("mpp"):
        yield f"resolution given: {science['mpp']:g} µm per px"
    if science.get("exact_mpp"):
        yield "resampled to the model's exact resolution"
    yield (
        "stain brought to the model's, if it takes it" if science.get("stain") else "stain as it is"
    )
    if science.get("max_bad_tiles"):
        yield f"up to {100 * science['max_bad_tiles']:g} % of tiles may be unreadable"


def _model(result: StoredResult) -> Iterator[tuple[str, str]]:
    model, card = result.model, result.model.card
    yield "Name, version", f"{safe(model.name)} {safe(model.version)}"
    kind = {"points": "points", "mask": "outlines", "hover": "outlines", "instances": "outlines"}
    if card.get("kind"):
        gives = kind.get(str(card["kind"]), str(card["kind"]))
        yield "Gives", f"{safe(gives)}, at {safe(card.get('mpp', '?'))} µm per px"
    yield "Method", safe(card.get("method", ""))
    post = card.get("post") or {}
    constants = (f"{k} {_value(v)}" for k, v in post.items() if k not in ("kind", "chosen_on"))
    chosen = f" (chosen on {safe(post['chosen_on'])})" if post.get("chosen_on") else ""
    yield "Constants", safe(", ".join(constants)) + chosen if post else ""
    metrics = card.get("metrics") or {}
    yield "Measured", "<br>".join(safe(line) for line in _grouped(metrics))
    yield "Note", safe(card.get("note", ""))
    yield "Licence", safe(card.get("licence", ""))
    yield "Digest", f"<code>{safe(model.sha256)}</code>"


def _grouped(metrics: Mapping[str, Any]) -> Iterator[str]:
    """A line for each split: ``tnbc/val: aji 0.60, pq 0.58``."""
    splits: dict[str, list[str]] = {}
    for key, value in metrics.items():
        split, _, name = key.rpartition("/")
        splits.setdefault(split, []).append(f"{name} {_value(value)}")
    for split, told in splits.items():
        yield f"{split}: {', '.join(told)}" if split else ", ".join(told)


def _data(card: Mapping[str, Any]) -> str:
    """What the model has learnt from."""
    sets = [each for each in card.get("data") or () if isinstance(each, Mapping)]
    if not sets:
        return ""
    rows = (
        (
            safe(each.get("name", "")),
            safe(each.get("split", "")),
            f"{int(each.get('images', 0)):,}",
            safe(each.get("licence", "")),
            safe(each.get("source", "")),
        )
        for each in sets
    )
    heads = [("learnt from", False), ("split", False), ("images", True), ("licence", False)]
    return table([*heads, ("source", False)], rows)


def _files(result: StoredResult) -> str:
    rows = (
        (
            safe(name),
            f"{file.rows:,}" if file.rows is not None else "",
            f"{file.bytes:,}",
            f"<code>{safe(file.sha256)}</code>",
        )
        for name, file in sorted(result.manifest.files.items())
        if "/" not in name
    )
    heads = [("file", False), ("rows", True), ("bytes", True), ("SHA-256", False)]
    return table(heads, rows)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
