"""The centre head: learns from outlined pixels alone, so it sees nuclei that nobody outlined.

Feng 2019, sec. III-C.  Every cell of the finest level is a centre, a part of an outlined nucleus
that is none, or unknown; unknown cells teach nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.training.labels import IGNORE
from wsiproc.training.mask_rcnn import BOX_WEIGHTS
from wsiproc.training.mask_rcnn_windows import decoded
from wsiproc.training.vision import BoxCoder, nms


class CentreHead(nn.Module):
    """Two 1 x 1 convolutions behind the convolution that objectness and boxes share.

    Parameters
    ----------
    channels
        Of that convolution.
    stride
        px between its cells.
    anchor
        Width and height that boxes are relative to, px.
    """

    anchor: Tensor

    def __init__(self, channels: int, stride: int, anchor: tuple[float, float]) -> None:
        super().__init__()
        self.logit = nn.Conv2d(channels, 1, 1)
        self.box = nn.Conv2d(channels, 4, 1)
        self.stride = stride
        self.register_buffer("anchor", torch.tensor(anchor))
        for layer in (self.logit, self.box):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, shared: Tensor) -> tuple[Tensor, Tensor]:
        """``[n, c, h, w]`` -> logits ``[n, h w]`` and box regressions ``[n, h w, 4]``, float32."""
        logit, box = self.logit(shared).float(), self.box(shared).float()
        return logit.flatten(1), box.flatten(2).transpose(1, 2)

    def anchors(self, height: int, width: int) -> Tensor:
        """``[h w, 4]``: a box of the size `anchor` around the middle of each cell, px."""
        device = self.anchor.device
        y, x = ((torch.arange(n, device=device) + 0.5) * self.stride for n in (height, width))
        middle = torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)
        return torch.cat([middle - self.anchor / 2, middle + self.anchor / 2], 1)


@dataclass(frozen=True, slots=True)
class CentreTargets:
    """What the cells of one image are.

    Parameters
    ----------
    state
        ``[h, w]`` float32: 1 for centres, 0 for other outlined cells, `IGNORE` for unknown ones.
    nucleus
        ``[h, w]`` int64: whose centre a cell is, as a row of the boxes; -1 elsewhere.
    """

    state: Tensor
    nucleus: Tensor


def centre_targets(masks: Tensor, boxes: Tensor, stride: int, share: float) -> CentreTargets:
    """The cells of an image.

    A cell is outlined if the px behind its middle is.  A nucleus' centre is the cells that the
    middle `share` of its box touches, at least one; where two centres overlap the later nucleus
    has them.

    Parameters
    ----------
    masks, boxes
        ``[k, h, w]`` bool and ``[k, 4]`` of the outlined nuclei, px.
    """
    half = stride // 2
    outlined = masks[:, half::stride, half::stride].any(0)
    state = torch.where(outlined, 0.0, IGNORE)
    nucleus = torch.full(state.shape, -1, dtype=torch.int64, device=state.device)
    if not len(boxes):
        return CentreTargets(state, nucleus)
    middle = (boxes[:, :2] + boxes[:, 2:]) / (2 * stride)
    reach = share * (boxes[:, 2:] - boxes[:, :2]) / (2 * stride)
    low = (middle - reach).floor()
    high = torch.maximum((middle + reach).ceil(), low + 1)
    inside = []
    for axis, length in ((0, state.shape[1]), (1, state.shape[0])):
        at = torch.arange(length, device=state.device)
        inside.append((at >= low[:, axis, None]) & (at < high[:, axis, None]))
    here = inside[1][:, :, None] & inside[0][:, None, :]
    count = len(boxes)
    number = torch.arange(1, count + 1, device=state.device)[:, None, None]
    nucleus = (here * number).amax(0) - 1
    return CentreTargets(torch.where(nucleus >= 0, 1.0, state), nucleus)


def sampled(state: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Numbers of cells that the loss is taken over: up to half of `count` centres, the rest others.

    Parameters
    ----------
    state
        ``[h w]`` as `CentreTargets` has it.
    """
    centres, others = (torch.where(state == value)[0] for value in (1.0, 0.0))
    few = centres[torch.randperm(len(centres), device=state.device)[: count // 2]]
    rest = others[torch.randperm(len(others), device=state.device)[: count - len(few)]]
    return few, rest


def centre_losses(
    said: tuple[Tensor, Tensor],
    targets: list[CentreTargets],
    boxes: list[Tensor],
    anchors: Tensor,
    count: int,
) -> dict[str, Tensor]:
    """Cross-entropy over the sampled cells of the batch, and smooth L1 of the sampled centres'
    boxes by the number of sampled cells; both 0 where nothing is outlined.

    Parameters
    ----------
    said
        Logits ``[n, h w]`` and box regressions ``[n, h w, 4]``.
    targets, boxes
        Of each image.
    anchors
        ``[h w, 4]``.
    count
        Cells sampled of an image.
    """
    coder = BoxCoder(BOX_WEIGHTS)
    logits, wanted, moved, moves = [], [], [], []
    for i, (target, box) in enumerate(zip(targets, boxes, strict=True)):
        few, rest = sampled(target.state.flatten(), count)
        cells = torch.cat([few, rest])
        logits.append(said[0][i, cells])
        wanted.append(target.state.flatten()[cells])
        moved.append(said[1][i, few])
        owner = box[target.nucleus.flatten()[few]] if len(few) else box.new_zeros((0, 4))
        moves.append(coder.encode_single(owner, anchors[few]))
    total = max(1, sum(map(len, wanted)))
    entropy = functional.binary_cross_entropy_with_logits(
        torch.cat(logits), torch.cat(wanted), reduction="sum"
    )
    smooth = functional.smooth_l1_loss(
        torch.cat(moved), torch.cat(moves), beta=1 / 9, reduction="sum"
    )
    return {"loss_centre": entropy / total, "loss_centre_box": smooth / total}


def seen(
    said: tuple[Tensor, Tensor],
    anchors: Tensor,
    extent: tuple[int, int],
    *,
    above: float,
    most: int,
    edge: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Boxes of the nuclei whose centres are seen.

    A centre is a cell more certain than `above` and than its eight neighbours.  (The public code
    takes the most certain cell of each connected part: the same, but for parts with several peaks,
    and no operator of a graph.)

    Parameters
    ----------
    said, anchors
        As `centre_losses` has them.
    extent
        Cells: height, width.
    most
        Of an image, the most certain first.
    edge
        Height and width of the image, px; boxes are clipped to it.

    Returns
    -------
    boxes
        ``[n, k, 4]`` px.
    scores
        ``[n, k]``: 1 and the probability, or -1 where there is no more.
    """
    prob = torch.sigmoid(said[0].detach())
    grid = prob.reshape(-1, 1, *extent)
    peak = (functional.max_pool2d(grid, 3, 1, 1) == grid).flatten(1)
    certain = torch.where(peak & (prob > above), prob, torch.zeros_like(prob))
    best, index = certain.topk(min(most, extent[0] * extent[1]), 1)
    moves = said[1].detach().gather(1, index[..., None].expand(-1, -1, 4))
    boxes = decoded(moves, anchors[index])
    x, y = boxes[..., 0::2].clamp(0, edge[1]), boxes[..., 1::2].clamp(0, edge[0])
    boxes = torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)
    return boxes, torch.where(best > 0, best + 1, -torch.ones_like(best))


def seen_of_each(boxes: Tensor, scores: Tensor, overlap: float) -> list[Tensor]:
    """The boxes ``[k, 4]`` of each image, without those of one plateau of equal certainty twice."""
    out = []
    for box, score in zip(boxes, scores, strict=True):
        there, certain = box[score > 0], score[score > 0]
        out.append(there[nms(there, certain, overlap)])
    return out
