"""What a Mask R-CNN says of whole images, decoded as the engine decodes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.decode.instances import decode_instances, views_of
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei
from wsiproc.tiling import Window
from wsiproc.training.mask_rcnn_windows import OUTPUTS, WindowDetector

Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class JudgedWindows:
    """What a network said of one image's windows, and what is true of it.

    Parameters
    ----------
    outputs
        Those of `WindowDetector`, of all windows; ``tile`` counts these.
    windows
        Where they lie, px of the image at the card's mpp.
    shape
        Height and width of that image.
    mpp
        µm per px of the annotation.
    true
        ``[H, W]`` int32 label map in px of the annotation.
    """

    outputs: Outputs
    windows: tuple[Window, ...]
    shape: tuple[int, int]
    mpp: float
    true: NDArray[np.int32]

    def nuclei(self, card: Card) -> Nuclei:
        """Decoded with the constants of `card`, in px of the image at its mpp."""
        whole = Box(0, 0, self.shape[1], self.shape[0])
        return decode_instances(card, views_of(card, self.outputs, self.windows), whole, whole)


def judge(
    detector: WindowDetector,
    pixels: NDArray[np.uint8],
    *,
    margin: int,
    mpp: float,
    true: NDArray[np.int32],
) -> JudgedWindows:
    """Look at an image of any size through windows, as the engine lays them; white past its edges.

    Parameters
    ----------
    pixels
        ``[h, w, 3]`` uint8 at the network's mpp.
    margin
        Of the windows, px.
    mpp, true
        The annotation, which is kept beside.
    """
    shape = pixels.shape[0], pixels.shape[1]
    windows = windows_over(shape, detector.edge, margin)
    return JudgedWindows(look(detector, pixels, windows), windows, shape, mpp, true)


def windows_over(shape: tuple[int, int], edge: int, margin: int) -> tuple[Window, ...]:
    """The windows whose valid parts, `margin` inside, cover an image of this height and width."""
    step = edge - 2 * margin
    return tuple(
        Window(Box.of_size(x - margin, y - margin, edge, edge), Box.of_size(x, y, step, step))
        for y in range(0, shape[0], step)
        for x in range(0, shape[1], step)
    )


@torch.inference_mode()
def look(detector: WindowDetector, pixels: NDArray[np.uint8], windows: Sequence[Window]) -> Outputs:
    """The outputs of all windows, one after the other; ``tile`` is a window's place among them."""
    device = next(detector.parameters()).device
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    parts: list[Outputs] = []
    for number, window in enumerate(windows):
        image = np.full((detector.edge, detector.edge, 3), 255, np.uint8)
        seen = window.read & whole
        image[seen.slices_in(window.read)] = pixels[seen.slices_in(whole)]
        said = detector(torch.from_numpy(image[None]).to(device))
        part = {
            name: v.cpu().numpy().astype(np.float32) for name, v in zip(OUTPUTS, said, strict=True)
        }
        parts.append({**part, "tile": np.full_like(part["tile"], number)})
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
