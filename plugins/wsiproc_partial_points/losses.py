"""What both networks are taught with: eq. 2 for the detector, eq. 5 and 6 for the segmenter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsiproc.training.loop import masked_mean


def weighted_squares(
    logit: Tensor, mask: Tensor, known: Tensor, heavy: Tensor, weight: float
) -> Tensor:
    """L_mse of eq. 2, divided by the number of known pixels whatever they weigh.

    Parameters
    ----------
    logit, mask
        ``[n, h, w]``: of p, and M.
    known, heavy
        ``[n, h, w]`` bool: Omega, and where w is `weight`.
    """
    factor = torch.where(heavy, weight, 1.0)
    return masked_mean(factor * (torch.sigmoid(logit.float()) - mask) ** 2, known)


def cross_entropy(logit: Tensor, label: Tensor, known: Tensor) -> Tensor:
    """L_vor or L_cluster of eq. 5: the mean over what the label knows.

    Two outputs under a softmax, as in the paper, say no more than one under a sigmoid.

    Parameters
    ----------
    logit, label
        ``[n, h, w]``; of the label what is 1 is nucleus.
    known
        ``[n, h, w]`` bool.
    """
    target = (label == 1).float()
    entropy = functional.binary_cross_entropy_with_logits(logit.float(), target, reduction="none")
    return masked_mean(entropy, known)
