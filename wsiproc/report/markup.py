"""Small pieces of HTML that all reports share."""

from __future__ import annotations

import html
from collections.abc import Iterable
from datetime import datetime


def safe(text: object) -> str:
    """Text as HTML, whoever wrote it."""
    return html.escape(str(text), quote=True)


def day(text: str) -> str:
    """An ISO 8601 time for people; what is none as it is."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{time.day} {time:%B %Y, %H:%M} UTC"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and what they are, which is HTML already; those without are left out."""
    told = "".join(f"<dt>{safe(name)}</dt><dd>{said}</dd>" for name, said in rows if said)
    return f"<dl>{told}</dl>" if told else ""


def table(heads: Iterable[tuple[str, bool]], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells, which are HTML already; heads say whether a column holds numbers."""
    named = list(heads)
    top = "".join(f"<th{' class=n' if n else ''}>{safe(name)}</th>" for name, n in named)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=n' if n else ''}>{cell}</td>"
            for (_, n), cell in zip(named, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
