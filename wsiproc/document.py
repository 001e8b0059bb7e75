"""The document around every page that is written to a file: it reaches for nothing."""

from __future__ import annotations

from typing import Literal

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="{schemes}">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def document(
    title: str, style: str, body: str, *, schemes: Literal["light", "light dark"] = "light"
) -> str:
    """A page in one file.  Its policy lets it load nothing, and run nothing.

    Parameters
    ----------
    title, body
        HTML already.
    style
        CSS.
    schemes
        What the style is made for.
    """
    return _DOCUMENT.format(title=title, style=style, body=body, schemes=schemes)
