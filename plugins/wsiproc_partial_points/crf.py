"""The dense-CRF loss (eq. 8 to 10): pixels that are near and alike should be said to be alike.

The paper filters with a permutohedral lattice.  Here the double sum runs over a window, every
pair of pixels in it exactly: with a reach of three standard deviations it lacks 0.3 % of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def pairwise_loss(
    prob: Tensor, image: Tensor, *, position: float, colour: float, reach: int, seen: Tensor
) -> Tensor:
    """Mean over the seen pixels i of sum_j y_i (1 - y_j) W_ij, j in i's window (eq. 9).

    The mean stands where eq. 10 prints a sum, as in the paper's code: its beta fits no other.

    Parameters
    ----------
    prob
        y ``[n, h, w]`` in [0, 1].
    image
        ``[n, 3, h, w]`` in [0, 1].
    position, colour
        sigma_pq in px, and sigma_rgb.
    reach
        The window's radius, px.
    seen
        ``[n, h, w]`` bool; pixels outside the image are in no pair.
    """
    known = seen.to(torch.float32)
    apply = cast(Callable[..., Tensor], _Pairs.apply)
    total = apply(prob.float() * known, image.float(), known, position, colour, reach)
    return total / known.sum().clamp(min=1.0)


class _Pairs(torch.autograd.Function):
    """The double sum and, found on the way, its gradient: W 1 - 2 W y."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        prob: Tensor,
        image: Tensor,
        known: Tensor,
        position: float,
        colour: float,
        reach: int,
    ) -> Tensor:
        of_one, of_prob = known.clone(), prob * known  # W_ii = 1
        for here, there, weight in affinities(image, known, position, colour, reach):
            of_one[here] += weight
            of_one[there] += weight
            of_prob[here] += weight * prob[there]
            of_prob[there] += weight * prob[here]
        ctx.save_for_backward(of_one - 2 * of_prob)
        return (prob * (of_one - of_prob)).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None, None, None, None


def affinities(
    image: Tensor, known: Tensor, position: float, colour: float, reach: int
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], Tensor]]:
    """W_ij (eq. 8) for every offset of half the window: slices of i, of j = i + offset, and W."""
    height, width = known.shape[1:]
    scaled = image * (math.sqrt(0.5) / colour)
    every = slice(None)
    for dy in range(min(reach, height - 1) + 1):
        for dx in range(-min(reach, width - 1), min(reach, width - 1) + 1):
            if dy == 0 and dx <= 0:
                continue
            here = every, slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
            there = every, slice(dy, height), slice(max(0, dx), width + min(0, dx))
            apart = scaled[:, :, here[1], here[2]] - scaled[:, :, there[1], there[2]]
            far = (dy * dy + dx * dx) / (2 * position * position)
            weight = apart.square_().sum(1).add_(far).neg_().exp_()
            yield here, there, weight.mul_(known[here]).mul_(known[there])
