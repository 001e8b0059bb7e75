"""What the detector saw, and what was painted of it, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wsiproc.training.fields import Field
from wsiproc.training.labels import odd_px
from wsiproc.training.nets import as_input
from wsiproc.training.pictures import write_picture
from wsiproc_lair.config import LAIRConfig
from wsiproc_lair.losses import sparse
from wsiproc_lair.stages import paint

_MOST_PX = 256


@torch.inference_mode()
def draw_painted(
    net: nn.Module,
    partner: nn.Module | None,
    fields: Sequence[Field],
    config: LAIRConfig,
    path: Path,
) -> None:
    """A column an image: itself, its probabilities, their peaks, and the reconstruction.

    Parameters
    ----------
    partner
        The reconstruction network; None where there is none: then the columns end with the peaks.

    Raises
    ------
    StoreError
        If the picture cannot be written.
    """
    columns = [_column(net, partner, field.pixels, config) for field in fields]
    tall = max(len(column) for column in columns)
    wide = [
        np.pad(column, ((0, tall - len(column)), (0, 8), (0, 0)), constant_values=255)
        for column in columns
    ]
    write_picture(path, np.concatenate(wide, 1))


def _column(
    net: nn.Module, partner: nn.Module | None, pixels: NDArray[np.uint8], config: LAIRConfig
) -> NDArray[np.uint8]:
    step = 1 << max(3, config.poolings)
    height, width = (min(size, _MOST_PX) // step * step for size in pixels.shape[:2])
    shown = np.ascontiguousarray(pixels[:height, :width])
    image = as_input(torch.from_numpy(shown)[None])
    if partner is None:
        prob = torch.sigmoid(net(image))
    else:
        prob, painted = paint(net.eval(), partner.eval(), image, config)
        if config.given_colour:
            colour = (image + 1) / 2 - painted
            painted = (painted + colour.mean((2, 3), keepdim=True)).clamp(0, 1)
    edge = odd_px(config.sparsify_um, config.mpp)
    peaks = sparse(prob, "peaks", edge, config.least_peak)
    dots = torch.nn.functional.max_pool2d(peaks, 3, stride=1, padding=1)
    rows = [shown, _grey(prob), _grey(dots)]
    if partner is not None:
        rows.append((painted[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8))
    return np.concatenate(rows)


def _grey(values: torch.Tensor) -> NDArray[np.uint8]:
    grey = (values[0, 0].numpy() * 255 + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)
