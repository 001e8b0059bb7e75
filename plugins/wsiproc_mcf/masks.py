"""What is thought of the images before a segmenter learns from it: pseudo masks, kept on disk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import StoreError
from wsiproc.training import checkpoint
from wsiproc.training.labels import IGNORE
from wsiproc_mcf.centres import find_centres
from wsiproc_mcf.config import MCFConfig
from wsiproc_mcf.pseudo import pseudo_masks
from wsiproc_mcf.response import Response, respond

_MIRRORED_UM = 16.0
"""How far an image is continued before filters look at it."""


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What is thought of one image before the segmenter learns from it.

    Parameters
    ----------
    nuclei
        ``[h, w]`` int32 label map: confident nuclei, I_nc of eq. 5.
    background
        ``[h, w]`` bool: confident background, I_bg.
    response
        ``[h, w]`` uint8, 255 for 1: S~ of the detection.
    centres
        ``[n, 2]`` (x, y) px: what was detected.
    """

    nuclei: NDArray[np.int32]
    background: NDArray[np.bool_]
    response: NDArray[np.uint8]
    centres: NDArray[np.float64]

    @property
    def label(self) -> NDArray[np.float32]:
        """``[h, w]``: 1 in nuclei, 0 in background, `IGNORE` elsewhere."""
        known = np.where(self.background, 0.0, IGNORE)
        return np.where(self.nuclei > 0, 1.0, known).astype(np.float32)


def detected(filters: Response, pixels: NDArray[np.uint8], config: MCFConfig) -> Masks:
    """Pseudo masks of one image, which goes on in its mirror image.

    White around it would make a rim that looks like nuclei.
    """
    rim = round(_MIRRORED_UM / config.mpp)
    height, width = pixels.shape[:2]
    around = np.pad(pixels, ((rim, rim), (rim, rim), (0, 0)), mode="symmetric")
    response = respond(filters, around)
    centres = find_centres(response, config.filters, config.mpp)
    masks = pseudo_masks(response, centres, around, config.filters, config.mpp)
    taught = np.concatenate([[False], centres.response >= config.confident_above])
    inner = np.s_[rim : rim + height, rim : rim + width]
    xy = centres.xy - rim
    within = (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
    return Masks(
        nuclei=np.where(taught[masks.nuclei], masks.nuclei, 0)[inner].astype(np.int32),
        background=masks.background[inner],
        response=(np.clip(response[inner], 0, 1) * 255 + 0.5).astype(np.uint8),
        centres=xy[within],
    )


def save_masks(path: Path, masks: Sequence[Masks]) -> None:
    """Write them atomically."""
    buffer = io.BytesIO()
    arrays: dict[str, NDArray[np.generic]] = {}
    for i, m in enumerate(masks):
        arrays[f"nuclei{i}"], arrays[f"background{i}"] = m.nuclei, np.packbits(m.background)
        arrays[f"response{i}"], arrays[f"centres{i}"] = m.response, m.centres
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    checkpoint.write_atomically(path, buffer.getvalue())


def load_masks(path: Path) -> list[Masks]:
    """What `save_masks` wrote.

    Raises
    ------
    StoreError
        If the file is damaged; it says to remove it.
    """
    try:
        with np.load(path) as kept:
            found = []
            for i in range(len(kept.files) // 4):
                nuclei = kept[f"nuclei{i}"]
                bits = np.unpackbits(kept[f"background{i}"], count=nuclei.size)
                background = bits.reshape(nuclei.shape).astype(bool)
                found.append(Masks(nuclei, background, kept[f"response{i}"], kept[f"centres{i}"]))
            return found
    except (OSError, ValueError, KeyError):
        raise StoreError(
            f"{path.parent.name}/{path.name} is damaged; remove it to detect again"
        ) from None
