"""The night on one page: HTML that needs no network, no script and no other file.

It may be mailed and printed.  It holds slide ids and never names; all text is escaped, and the
page forbids its reader to load anything.
"""

from __future__ import annotations

import html
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from wsiproc.batch._drawings import Thumbnails, histogram, thumbnails
from wsiproc.batch._sheet import STYLE
from wsiproc.batch.records import Kind, Night, Record
from wsiproc.document import document
from wsiproc.store.disk import storing, write_whole

SUMMARY: Final = "summary.html"
MOST_BYTES: Final = 4_600_000
"""Pictures take what the text leaves of this."""
_MOST_ROWS: Final = 2000
_LONGEST: Final = 600
"""Characters of a message."""

WHY: Final[dict[Kind, str]] = {
    "input": "the file is bad",
    "not_ready": "not ready: still being copied",
    "resource": "memory, disk or time were short",
    "infrastructure": "network, scheduler or file system failed",
    "bug": "wsiproc is wrong: please report",
}
_ENDED: Final = {
    0: "every slide is done",
    10: "some slides are quarantined, the others are done",
    20: "nothing failed, but some slides are not ready",
    65: "the slide is bad",
    66: "the model is missing, or not what its digest says",
    69: "the device is not there",
    73: "results could not be written",
    75: "some slides wait for another try",
    124: "the time was over; progress is saved",
    130: "stopped; progress is saved",
    143: "stopped; progress is saved",
}


def write(out: Path, night: Night, records: Sequence[Record]) -> Path:
    """Write the page of a night in the place of the last one.

    Parameters
    ----------
    out
        The output folder: overviews are taken from it, and the page is put there.
    night
        The night.
    records
        All records of the folder.  Slides that the night was not given are shown only if they
        are not done.

    Returns
    -------
    path
        ``OUT/summary.html``; below 5 MB however many slides there are.

    Raises
    ------
    DiskFullError, StoreError
        If it cannot be written.
    """
    given = set(night.slides)
    tonight = sorted((r for r in records if r.slide_id in given), key=lambda r: r.slide_id)
    earlier = [r for r in records if r.slide_id not in given and r.state != "done"]
    done = [record for record in tonight if record.state == "done"]
    open_ = [record for record in tonight if record.state != "done"]
    above = [
        _head(night),
        _counts(night),
        _troubles("Not done", open_, "Every slide of this night is done." if tonight else ""),
        _troubles("Not done, from other nights", sorted(earlier, key=lambda r: r.slide_id), ""),
        _numbers(done),
    ]
    below = [_table(done), _foot(night, tonight)]
    text = sum(len(part.encode()) for part in (*above, *below))
    pictures = thumbnails(out, [record.slide_id for record in done], MOST_BYTES - text)
    parts = [*above, _overviews(pictures, {record.slide_id: record for record in done}), *below]
    body = "\n".join(part for part in parts if part)
    path = out / SUMMARY
    with storing("the page of the night"):
        write_whole(path, document(_title(night), STYLE, body, schemes="light dark").encode())
    return path


def _title(night: Night) -> str:
    return f"wsiproc: night of {_safe(night.started[:10])}"


def _head(night: Night) -> str:
    if not night.finished:
        ended = "not finished when this page was written"
    elif night.exit_code is None:
        ended = f"finished {_time(night.finished)}"
    else:
        meaning = _ENDED.get(night.exit_code, "failed")
        ended = f"exit code {night.exit_code}: {meaning}"
    mood = "good" if night.exit_code == 0 else "bad" if night.finished else "open"
    when = f"{_time(night.started)} to {_time(night.finished) or '…'} UTC"
    return (
        f"<header><h1>Night of {_safe(night.started[:10])}</h1>"
        f'<p class="{mood}"><strong>{_safe(ended)}</strong></p>'
        f"<p>{when}{f', {_duration(night.seconds)}' if night.seconds else ''}. "
        f"Model <b>{_safe(night.model)}</b> "
        f"<code>{_safe(night.model_sha256)}</code></p></header>"
    )


def _counts(night: Night) -> str:
    boxes = (
        ("good", night.done, "done tonight"),
        ("", night.already_done, "done before"),
        ("open", night.waiting, "waiting"),
        ("bad", night.quarantined, "quarantined"),
    )
    shown = "".join(
        f'<li class="{mood if count else ""}"><b>{count:,}</b> {what}</li>'
        for mood, count, what in boxes
    )
    retries = ", ".join(f"{count:,} for {_safe(kind)}" for kind, count in night.retries.items())
    said = f"<p>Steps tried again: {retries}.</p>" if retries else ""
    return f'<ul class="counts">{shown}</ul>{said}'


def _troubles(title: str, records: Sequence[Record], otherwise: str) -> str:
    if not records:
        return f"<section><h2>{title}</h2><p>{otherwise}</p></section>" if otherwise else ""
    rows = "".join(_trouble(record) for record in records[:_MOST_ROWS])
    return (
        f"<section><h2>{title} <small>{len(records):,}</small></h2>"
        "<table><thead><tr><th>slide</th><th>state</th><th>reason</th><th class=n>attempts</th>"
        f"</tr></thead><tbody>{rows}</tbody></table>{_more(len(records))}</section>"
    )


def _trouble(record: Record) -> str:
    trouble = record.trouble
    reason = "not begun" if record.attempts == 0 else "was begun and not finished"
    if trouble is not None:
        tile = f", tile row {trouble.tile[0]} column {trouble.tile[1]}" if trouble.tile else ""
        again = f"<br><code>{_safe(trouble.reproduce)}</code>" if trouble.reproduce else ""
        reason = (
            f"<b>{_safe(WHY[trouble.kind])}</b> ({_safe(trouble.error)}{tile})<br>"
            f"{_safe(_short(trouble.message))}{again}"
        )
    mood = "bad" if record.state == "quarantined" else "open"
    return (
        f'<tr><td><code>{_safe(record.slide_id)}</code></td><td class="{mood}">{record.state}</td>'
        f"<td>{reason}</td><td class=n>{record.attempts}</td></tr>"
    )


def _numbers(done: Sequence[Record]) -> str:
    density = [r.nuclei_per_mm2 for r in done if r.nuclei_per_mm2 is not None]
    seconds = [r.seconds for r in done if r.seconds is not None]
    charts = [
        histogram("nuclei per mm²", density, "slides"),
        histogram("seconds a slide", seconds, "slides"),
    ]
    shown = "".join(chart for chart in charts if chart)
    if not shown:
        return ""
    return f'<section><h2>Numbers</h2><div class="charts">{shown}</div></section>'


def _overviews(pictures: Thumbnails, done: dict[str, Record]) -> str:
    if not pictures.shown:
        return ""
    figures = "".join(
        f'<figure><img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" '
        f'alt="Slide and nuclei per mm² of {_safe(slide_id)}"><figcaption>'
        f"<code>{_safe(slide_id)}</code> {_caption(done[slide_id])}</figcaption></figure>"
        for slide_id, data, width, height in pictures.shown
    )
    many = (
        f"{len(pictures.shown):,}"
        if len(pictures.shown) == pictures.of
        else f"{len(pictures.shown):,} of {pictures.of:,}, spread evenly over the slide ids"
    )
    return (
        f"<section><h2>Overviews <small>{many}</small></h2>"
        f'<div class="pictures">{figures}</div></section>'
    )


def _caption(record: Record) -> str:
    return "" if record.nuclei is None else f"{record.nuclei:,} nuclei"


def _table(done: Sequence[Record]) -> str:
    if not done:
        return ""
    rows = "".join(
        f"<tr><td><code>{_safe(r.slide_id)}</code></td><td class=n>{_number(r.nuclei)}</td>"
        f"<td class=n>{_number(r.tissue_mm2, 2)}</td><td class=n>{_number(r.nuclei_per_mm2)}</td>"
        f"<td class=n>{_number(r.seconds, 1)}</td></tr>"
        for r in done[:_MOST_ROWS]
    )
    return (
        f"<section><h2>Done <small>{len(done):,}</small></h2>"
        "<table><thead><tr><th>slide</th><th class=n>nuclei</th><th class=n>mm²</th>"
        "<th class=n>nuclei per mm²</th><th class=n>seconds</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{_more(len(done))}</section>"
    )


def _more(rows: int) -> str:
    left = rows - _MOST_ROWS
    return f"<p>{left:,} more: <code>wsiproc status</code> lists all.</p>" if left > 0 else ""


def _foot(night: Night, records: Sequence[Record]) -> str:
    versions = {"wsiproc": version("wsiproc"), "python": platform.python_version()}
    newest = max(records, key=lambda record: record.changed, default=None)
    versions |= newest.software if newest is not None else {}
    said = ", ".join(f"{_safe(name)} {_safe(number)}" for name, number in versions.items())
    return (
        f"<footer><p>{said}. Night {_safe(night.token)}.</p><p>Slides are named by ids; "
        "<code>wsiproc status --names</code> tells the files, at the site that has its key. "
        "Research use; not a medical device.</p></footer>"
    )


def _safe(text: str) -> str:
    return html.escape(text, quote=True)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _time(text: str) -> str:
    """An ISO 8601 time for people; what is none as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return _safe(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
