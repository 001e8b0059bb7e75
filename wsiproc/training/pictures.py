"""Pictures that a training leaves, to look at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiproc.training import checkpoint


def write_picture(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Pixels ``[h, w, 3]`` or a label map ``[h, w]`` as a PNG, whole or not at all.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    checkpoint.write_atomically(path, buffer.getvalue())
