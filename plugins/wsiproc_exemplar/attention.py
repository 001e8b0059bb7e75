"""Self-attention that costs as much as a convolution (Feng 2019, sec. III-B).

The product of positions with positions is never taken: all positions are summed up in a few bases
first, and each position then mixes those (efficient attention, Shen et al. 2021, eq. 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsiproc.training.mask_rcnn import MaskRCNN


class DecomposedAttention(nn.Module):
    """Adds to each position what the whole window has that is like it.

    Bases are weights over positions, coefficients weights over bases, as in the public code; the
    paper names the axes the other way round.  The last convolution begins at 0, so that a network
    that was trained without attention says what it said.

    The softmax over positions makes every value depend on the extent of the window: run it on
    windows of the size that it was trained on.

    Parameters
    ----------
    channels
        Of what it is given.
    inner
        Number of bases, and channels of the values.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.bases = nn.Conv2d(channels, inner, 1)
        self.coefficients = nn.Conv2d(channels, inner, 1)
        self.values = nn.Conv2d(channels, inner, 1)
        self.back = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.back.weight)
        if self.back.bias is not None:
            nn.init.zeros_(self.back.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, c, h, w]`` -> the same shape."""
        # Exponentials of many positions are summed: in float32, whatever x is.
        bases = self.bases(x).flatten(2).float().softmax(2)
        coefficients = self.coefficients(x).flatten(2).float().softmax(1)
        values = self.values(x).flatten(2).float()
        context = torch.matmul(bases, values.transpose(1, 2))
        attended = torch.matmul(context.transpose(1, 2), coefficients)
        size = (int(attended.shape[1]), int(x.shape[2]), int(x.shape[3]))
        out: Tensor = x + self.back(attended.reshape(-1, *size))
        return out


def attend(net: MaskRCNN, inner: int, *, stages: bool) -> None:
    """Put attention behind each level of the pyramid and, if `stages`, behind the backbone's last
    two stages, where the public code has it."""
    pyramid = net.backbone
    for i in range(len(pyramid.level_layers)):
        pyramid.level_layers[i] = DecomposedAttention(net.settings.channels, inner)
    if stages:
        for i in (-2, -1):
            pyramid.stage_layers[i] = DecomposedAttention(pyramid.body.widths[i], inner)
