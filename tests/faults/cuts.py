"""Slides cut off at any point, as a copy that is under way leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutants import KINDS, original
from PIL import Image
from scene import Scene

from wsiproc.errors import SlideFormatError
from wsiproc.slide import open_slide
from wsiproc.slide._drawn import draw_image

POINTS = 100


def cut(scene: Scene, number: int) -> dict[str, Any]:
    """Each format, cut off after the `number`-th hundredth of its bytes, is refused at once."""
    share = (number % POINTS + 0.5) / POINTS
    paths = {kind: original(scene, kind) for kind in KINDS}
    for suffix in ("png", "jpg"):
        paths[suffix] = scene.folder / f"picture.{suffix}"
        if not paths[suffix].exists():
            Image.fromarray(draw_image(300, 200, seed=2)[0]).save(paths[suffix])
    for path in paths.values():
        data = path.read_bytes()
        short = path.with_name(f"short{path.suffix}")
        short.write_bytes(data[: int(len(data) * share)])
        said = _refused(short)
        assert "copied" in said, f"{path.name} cut off at {share:.1%}: {said}"
    return {"share": share, "formats": len(paths)}


def _refused(path: Path) -> str:
    """What is said of a slide that cannot be opened."""
    try:
        open_slide(path, mpp=0.5).close()
    except SlideFormatError as error:
        return str(error)
    return "it opened"
