"""What the segmenter is told: to be right where the masks are certain (sec. 2.2, eq. 5 and 6).

The logit of a pixel is log(p1 / p0), so that ``log p1 = logsigmoid(logit)`` and
``log p0 = logsigmoid(-logit)``.  A label is 1 in a nucleus, 0 in background and `IGNORE` where
nobody knows.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from wsiproc.training.loop import masked_mean


def confidence(logit: Tensor, label: Tensor, nucleus_weight: float = 1.0) -> Tensor:
    """``-mean log p1`` over confident nuclei plus ``-mean log p0`` over confident background.

    The paper prints bare products, without the minus; each mask counts by its own mean, lest the
    large background swamp the nuclei.

    Parameters
    ----------
    logit, label
        ``[n, h, w]``.
    nucleus_weight
        Of the first mean.
    """
    nucleus = masked_mean(-functional.logsigmoid(logit), label > 0.5)
    background = masked_mean(-functional.logsigmoid(-logit), (label >= 0) & (label <= 0.5))
    return nucleus_weight * nucleus + background


def cross_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """Over all pixels: what is no confident nucleus is background (Table 3, "CE")."""
    return functional.binary_cross_entropy_with_logits(logit, (label > 0.5).to(logit.dtype))


def weighted(logit: Tensor, response: Tensor, known: Tensor) -> Tensor:
    """Both terms everywhere, by how much the detection believes in each (Table 3, "+weig").

    ``weight_nc log p1 + weight_bg log p0`` (sec. 3.3.1), weight_nc being the response S~ and
    weight_bg what it lacks of 1.

    Parameters
    ----------
    logit, response
        ``[n, h, w]``; the response in 0 to 1.
    known
        Pixels that lie on the image.
    """
    pull = response * functional.logsigmoid(logit)
    push = (1 - response) * functional.logsigmoid(-logit)
    return masked_mean(-(pull + push), known)
