"""What results and logs call a slide."""

from __future__ import annotations

import re
from pathlib import Path

from wsiproc.errors import ConfigError


def named(slide: Path) -> str:
    """The default id of a slide: its file's stem, made safe for paths and keys."""
    stem = slide.name.removesuffix("".join(slide.suffixes[-2:] if ".ome" in slide.suffixes else []))
    stem = stem if stem != slide.name else slide.stem
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:100]
    return safe or "slide"


def checked_id(slide_id: str) -> str:
    """`slide_id` if it can be a folder's name and part of a task's key.

    Raises
    ------
    ConfigError
        If it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", slide_id):
        raise ConfigError(
            "a slide id has 1 to 100 letters, digits, '.', '_' or '-', and begins with a letter "
            "or digit"
        )
    return slide_id
