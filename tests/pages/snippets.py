"""What pages of the documentation show, block by block, and a place to try it in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[Any]:
    """Blocks of one language, as parameters of a test, each under the heading it stands below."""
    text = (DOCS / page).read_text("utf-8")
    found, heading = [], ""
    pattern = r"^#+ ([^\n]+)$|^ *```(\w+)\n(.*?)^ *```$"
    for part in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        heading = part[1] or heading
        if part[2] == language:
            found.append(pytest.param(part[3], id=f"{heading[:24]}-{len(found)}"))
    return found


def lines(page: str) -> list[str]:
    """The commands that a page says to type."""
    typed = [line for block in blocks(page, "sh") for line in block.values[0].splitlines()]
    return [line for line in typed if line.strip()]


def languages(page: str) -> set[str]:
    """Of all blocks that say theirs."""
    text = (DOCS / page).read_text("utf-8")
    return set(re.findall(r"^ *```(\w+)$", text, re.MULTILINE))


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Inside, relative paths are of `folder`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
