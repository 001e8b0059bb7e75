"""Results of the very nuclei that a test names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from drawn_nuclei import MPP, Drawn, Publish, publish_drawn

from wsiproc.results.stored import StoredResult


@pytest.fixture
def published(tmp_path: Path) -> Publish:
    """Publishes drawn nuclei; each time in a folder of its own."""
    made = iter(range(100))

    def publish_them(
        drawn: Sequence[Drawn],
        *,
        classes: Sequence[str] = ("a",),
        polygons: bool = True,
        slide: str = "ab" * 32,
        slide_id: str = "S",
        model: str = "drawn",
        mpp: float = MPP,
        folder: Path | None = None,
    ) -> StoredResult:
        out = folder or tmp_path / f"out-{next(made)}"
        return publish_drawn(drawn, classes, polygons, slide, slide_id, model, mpp, out)

    return publish_them
