"""What is learnt from points, and what from painting images again (sec. III-C)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsiproc.training.loop import masked_mean
from wsiproc_lair.config import Sparsifier


def detection_loss(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Eq. 1: cross-entropy of the squares, over all pixels that are known.

    Parameters
    ----------
    logits
        ``[n, 1, h, w]``.
    target
        ``[n, h, w]``: 1 in a square, 0 outside, negative where unknown.
    positive_weight
        Of the pixels in squares.
    """
    entropy = functional.binary_cross_entropy_with_logits(
        logits[:, 0].float(), target.clamp(min=0), reduction="none"
    )
    return masked_mean(torch.where(target > 0.5, positive_weight * entropy, entropy), target >= 0)


def sparse(prob: Tensor, how: Sparsifier, edge_px: int, least: float = 0.0) -> Tensor:
    """M_D: the map of probabilities, thinned out to what says where nuclei are.

    A 9 x 9 max-pooling of stride 1, as the paper has it, dilates a map.  Read as the first half of
    non-maximum suppression it leaves the peaks: gradients pass through these alone.

    Parameters
    ----------
    prob
        ``[n, 1, h, w]``.
    edge_px
        Odd edge of the square in which a peak is the largest.
    least
        Peaks below it are left out.
    """
    highest = functional.max_pool2d(prob, edge_px, stride=1, padding=edge_px // 2)
    if how == "maxpool":
        return highest
    peaks = prob * ((prob >= highest) & (prob >= least)).to(prob.dtype)
    if how == "stamped":
        return functional.max_pool2d(peaks, edge_px, stride=1, padding=edge_px // 2)
    return peaks


@torch.no_grad()
def instance_mask(prob: Tensor, threshold: float, edge_px: int) -> Tensor:
    """B: 1 within a square of a pixel that is certain to be a nucleus' (sec. III-C.3)."""
    certain = (prob > threshold).to(prob.dtype)
    return functional.max_pool2d(certain, edge_px, stride=1, padding=edge_px // 2)


def judged_real(logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of calling images real (0, as ADVENT's source); means over their maps.

    Parameters
    ----------
    weight
        ``[n]``: how much each image counts; none of them: the loss is 0.
    """
    return _judged(functional.softplus(logits.float()), weight)


def judged_made(logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of calling images made (1); see `judged_real`."""
    return _judged(functional.softplus(-logits.float()), weight)


def _judged(entropy: Tensor, weight: Tensor | None) -> Tensor:
    each = entropy.mean((1, 2, 3))
    if weight is None:
        return each.mean()
    return (each * weight).sum() / weight.sum().clamp(min=1.0)


def deceiving(logits: Tensor, weight: Tensor | None, saturating: bool) -> Tensor:
    """What who makes images gains by: that they are called real.

    As printed (eq. 3, by eq. 4 to be minimised with its sign turned) it is the critics' own loss,
    turned; its gradient vanishes where they are right.
    """
    return -judged_made(logits, weight) if saturating else judged_real(logits, weight)
