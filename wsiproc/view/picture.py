"""The slide as it stands in a result's overview: the background where pixels are not at hand."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

from wsiproc.errors import StoreError
from wsiproc.overview import slide_panel, slide_picture
from wsiproc.results.stored import StoredResult

OVERVIEW: Final = "overview.png"


def overview_panel(result: StoredResult) -> bytes:
    """The panel that shows the slide, as PNG; it covers the whole slide.

    White if the result has no overview, or one that is damaged.
    """
    try:
        panel = slide_picture(result.file(OVERVIEW), result.size_um)
    except StoreError:
        left, top, right, bottom = slide_panel(result.size_um)[1]
        panel = Image.new("RGB", (right - left, bottom - top), (255, 255, 255))
    png = io.BytesIO()
    panel.save(png, "PNG")
    return png.getvalue()
