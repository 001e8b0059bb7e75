"""The slide as it stands in a result's overview: the background where pixels are not at hand."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Final

from PIL import Image

from wsiproc.overview import slide_box
from wsiproc.query.results import StoredResult

OVERVIEW: Final = "overview.png"


def overview_panel(result: StoredResult) -> bytes:
    """The panel that shows the slide, as PNG; it covers the whole slide.

    White if the result has no overview, or one too small to hold the panel.
    """
    box = slide_box(result.size_um)
    panel = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), (255, 255, 255))
    with suppress(OSError):
        if result.has(OVERVIEW):
            with Image.open(result.file(OVERVIEW)) as overview:
                if overview.width > box[2] and overview.height > box[3]:
                    panel = overview.crop(box)
    png = io.BytesIO()
    panel.save(png, "PNG")
    return png.getvalue()
