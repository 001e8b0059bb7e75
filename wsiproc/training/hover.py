"""What a network of the kind `hover` learns: nuclear pixels, and where in its nucleus each lies.

Graham et al. 2019, "HoVer-Net: simultaneous segmentation and classification of nuclei in
multi-tissue histology images".  The first map of `hv` is the horizontal one, x, and the second the
vertical one, y; both grow to the right and downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsiproc.training.loop import masked_mean

KERNEL_PX = 5
"""Edge of the kernel by which gradients are compared (sec. 3.1.1)."""
_SMOOTH = 1e-3
"""Keeps the Dice of an empty batch defined, as the paper's code does."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the parts of the loss; 1 each in the paper's code."""

    entropy: float = 1.0
    dice: float = 1.0
    hv: float = 1.0
    gradient: float = 1.0


def hover_targets(
    instances: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The horizontal and vertical distances of each pixel to its nucleus' centre (sec. 3.1).

    The centre is that of mass, rounded to a pixel, where both maps are 0; from there they fall to
    -1 at the leftmost (topmost) pixel of the nucleus and rise to 1 at the rightmost (lowest), each
    side in its own measure.  Outside of nuclei they are 0.

    Parameters
    ----------
    instances
        ``[h, w]`` label map, 0 = background, negative = unknown.

    Returns
    -------
    hv, known
        ``[2, h, w]`` float32, and ``[h, w]`` bool: false where the label map is unknown, and in
        nuclei that reach its edge or a pixel that is unknown: their centres cannot be told from
        what is seen of them.
    """
    hv = np.zeros((2, *instances.shape), np.float32)
    known = instances >= 0
    row, column = np.nonzero(instances > 0)
    if not len(row):
        return hv, known
    values, index = np.unique(instances[row, column], return_inverse=True)
    area = np.bincount(index)
    order = np.argsort(index, kind="stable")
    begin = np.concatenate([[0], np.cumsum(area)[:-1]])
    for channel, at in enumerate((column, row)):
        centre = np.floor(np.bincount(index, at) / area + 0.5)
        away = at - centre[index]
        low = np.minimum.reduceat(away[order], begin)
        high = np.maximum.reduceat(away[order], begin)
        side = np.where(away < 0, -low[index], high[index])
        hv[channel, row, column] = away / np.where(away == 0, 1, side)
    unseen = np.pad(instances < 0, 1, constant_values=True)
    beside = unseen[row, column + 1] | unseen[row + 2, column + 1]
    beside |= unseen[row + 1, column] | unseen[row + 1, column + 2]
    cut = np.zeros(len(values), bool)
    cut[index[beside]] = True
    known[row, column] = ~cut[index]
    return hv, known


def stacked_targets(
    instances: Sequence[NDArray[np.int32]],
) -> dict[str, NDArray[np.float32] | NDArray[np.bool_]]:
    """`hover_targets` of a batch: ``hv`` ``[n, 2, h, w]`` and ``hv_known`` ``[n, h, w]``."""
    drawn = [hover_targets(each) for each in instances]
    return {"hv": np.stack([hv for hv, _ in drawn]), "hv_known": np.stack([k for _, k in drawn])}


def hover_loss(
    logit: Tensor,
    hv: Tensor,
    inside: Tensor,
    true_hv: Tensor,
    hv_known: Tensor,
    weights: Weights,
) -> Tensor:
    """Cross-entropy and Dice of nuclear pixels, squares of `hv` and of its gradient (eq. 1 to 4).

    Unknown pixels are left out of every part, so no value there, whatever it is, changes the loss.

    Parameters
    ----------
    logit
        ``[n, h, w]``; one logit says what the paper's two channels under a softmax say.
    hv
        ``[n, 2, h, w]``, as predicted.
    inside
        ``[n, h, w]``: the part of each pixel that is nucleus, 0 to 1; `IGNORE` where unknown.
    true_hv, hv_known
        ``[n, 2, h, w]`` and ``[n, h, w]`` bool, of `hover_targets`.
    weights
        Of the four parts.
    """
    logit, hv = logit.float(), hv.float()
    known = inside >= 0
    inside = inside.clamp(min=0)
    entropy = functional.binary_cross_entropy_with_logits(logit, inside, reduction="none")
    total = weights.entropy * masked_mean(entropy, known)
    total = total + weights.dice * dice_loss(torch.sigmoid(logit), inside, known)
    hv_known = hv_known & known
    squares = ((hv - true_hv) ** 2).mean(1)
    total = total + weights.hv * masked_mean(squares, hv_known)
    return total + weights.gradient * gradient_loss(hv, true_hv, inside > 0.5, hv_known)


def dice_loss(prob: Tensor, inside: Tensor, known: Tensor) -> Tensor:
    """1 - the Dice coefficient of what is known of a batch (eq. 4), ``[n, h, w]`` each."""
    prob, inside = prob * known, inside * known
    both, sizes = (prob * inside).sum(), prob.sum() + inside.sum()
    return 1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)


def gradient_loss(hv: Tensor, true_hv: Tensor, nuclei: Tensor, known: Tensor) -> Tensor:
    """Squares of the difference in d/dx of the horizontal and d/dy of the vertical map (eq. 3).

    Of nuclear pixels, and only where the kernel sees nothing unknown: a gradient towards a value
    that nobody knows is none.  The batch's edge is unknown too.

    Parameters
    ----------
    hv, true_hv
        ``[n, 2, h, w]``.
    nuclei, known
        ``[n, h, w]`` bool.
    """
    reach = KERNEL_PX // 2
    seen = functional.pad((~known).float(), [reach] * 4, value=1.0)
    whole = functional.max_pool2d(seen[:, None], KERNEL_PX, stride=1)[:, 0] == 0
    squares = ((gradients(hv) - gradients(true_hv)) ** 2).sum(1)
    # The paper's code divides by the pixels of both maps.
    return masked_mean(squares, nuclei & whole) / 2


def gradients(hv: Tensor) -> Tensor:
    """``[n, 2, h, w]``: d/dx of the horizontal map and d/dy of the vertical one.

    The kernel is the paper's, x / (x² + y²): 12 times the slope per px of a plane.  Its public code
    has the axes the other way round, d/dy of the horizontal map.
    """
    reach = KERNEL_PX // 2
    offset = torch.arange(-reach, reach + 1, dtype=hv.dtype, device=hv.device)
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    along_x = x / (x**2 + y**2).clamp(min=1)
    kernel = torch.stack([along_x, along_x.T])[:, None]
    return functional.conv2d(hv, kernel, padding=reach, groups=2)
