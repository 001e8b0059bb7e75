"""Mask R-CNN as it is deployed: windows of one size in, columns of nuclei out, tensors alone.

torchvision's own inference walks over lists of images, which no graph of a batch can.  Here every
window has as many proposals as any other, those that are none with a score below 0, so that all
shapes but the last are known; the last, the number of nuclei, is that of ONNX's
``NonMaxSuppression``.  One dummy row stands behind the nuclei, so that nothing is ever empty.

What is found is what torchvision's blocks find (tests hold it to that), for a batch as for each of
its windows alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wsiproc.training.mask_rcnn import BOX_WEIGHTS, MaskRCNN, Raw, as_images
from wsiproc.training.nets import as_input
from wsiproc.training.vision import BoxCoder, nms, roi_align

OUTPUTS = ("boxes", "scores", "labels", "tile", "masks")
"""Names of what `WindowDetector` gives, in order."""

_LEAST_PROPOSAL, _LEAST_BOX = 1e-3, 1e-2
"""Narrower boxes are none, px; as torchvision has it."""
_DUMMY = (0.0, 0.0, 4.0, 4.0)


class WindowDetector(nn.Module):
    """A `MaskRCNN` for windows of `edge` px.

    Parameters
    ----------
    net
        In evaluation mode.
    edge
        A multiple of the coarsest stride.
    """

    def __init__(self, net: MaskRCNN, edge: int) -> None:
        super().__init__()
        self.net, self.edge = net, edge
        self.stride = net.settings.strides[0]
        for level, anchors in enumerate(_anchors(net, edge)):
            # torchvision rounds anchors to whole px: two bytes are enough, and the file is smaller.
            self.register_buffer(f"anchors_{level}", anchors.to(torch.int16), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Windows ``[n, edge, edge, 3]`` uint8 -> nuclei, by window, class, and falling score.

        Returns
        -------
        boxes
            ``[m, 4]`` float32: x0, y0, x1, y1 in px of the window, pixel (0, 0) covering [0, 1).
        scores
            ``[m]`` float32; 0 for the last row, which is no nucleus.
        labels
            ``[m]`` int64, the class, from 0.
        tile
            ``[m]`` int64, the window's number in the batch.
        masks
            ``[m, 1, 28, 28]`` float32, probability of each part of the box.
        """
        return self.look(as_input(image))

    def look(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The same of windows ``[n, 3, edge, edge]`` in [-1, 1]."""
        features = self.net.backbone(x)
        finest = features["0"]
        proposals, scores = self.proposals(self.net.raw(features))
        boxes, scores, labels, tile = self.detections(finest, proposals, scores)
        dummy = boxes.new_tensor([_DUMMY])
        boxes = torch.cat([boxes, dummy])
        scores = torch.cat([scores, scores.new_zeros(1)])
        labels = torch.cat([labels, labels.new_zeros(1)])
        tile = torch.cat([tile, tile.new_zeros(1)])
        heads = self.net.roi_heads
        regions = torch.cat([tile[:, None].to(boxes.dtype), boxes], 1)
        pooled = roi_align(finest, regions, (14, 14), 1 / self.stride, 2)
        logits = heads.mask_predictor(heads.mask_head(pooled))
        chosen = (labels + 1)[:, None, None, None].expand(-1, 1, 28, 28)
        return boxes, scores, labels, tile, torch.sigmoid(logits.gather(1, chosen))

    def proposals(self, raw: Raw) -> tuple[Tensor, Tensor]:
        """Boxes ``[n, p, 4]`` and scores ``[n, p]``, falling; below 0 there is none."""
        s = self.net.settings
        boxes, scores, levels = [], [], []
        for level, (objectness, deltas) in enumerate(zip(raw.objectness, raw.deltas, strict=True)):
            kinds, high, wide = (int(n) for n in objectness.shape[1:])
            flat = objectness.permute(0, 2, 3, 1).flatten(1)
            moved = deltas.reshape(-1, kinds, 4, high, wide).permute(0, 3, 4, 1, 2)
            moved = moved.reshape(-1, kinds * high * wide, 4)
            most = min(s.candidates, kinds * high * wide)
            best, index = flat.topk(most, 1)
            moved = moved.gather(1, index[..., None].expand(-1, -1, 4))
            anchors = getattr(self, f"anchors_{level}")[index]
            boxes.append(decoded(moved, anchors.to(moved.dtype)))
            scores.append(torch.sigmoid(best))
            levels += [level] * most
        if raw.boxes is not None and raw.scores is not None:
            boxes.append(raw.boxes)
            scores.append(raw.scores)
            levels += [len(raw.objectness)] * int(raw.boxes.shape[1])
        box = torch.cat(boxes, 1).clamp(0, self.edge)
        score = wide_enough(box, torch.cat(scores, 1), _LEAST_PROPOSAL)
        own = torch.tensor(levels)[None] == torch.arange(max(levels) + 1)[:, None]
        own = own.to(score.device)[None]
        by_level = torch.where(own, score[:, None], -torch.ones_like(score)[:, None])
        rows = suppress(box, by_level, s.proposals, s.proposal_overlap, 0.0)
        kept = torch.zeros_like(score).flatten()
        place = rows[:, 0] * len(levels) + rows[:, 2]
        kept = kept.scatter(0, place, torch.ones_like(place, dtype=score.dtype))
        score = torch.where(kept.reshape(-1, len(levels)) > 0, score, -torch.ones_like(score))
        score, index = score.topk(min(s.proposals, len(levels)), 1)
        return box.gather(1, index[..., None].expand(-1, -1, 4)), score

    def detections(
        self, finest: Tensor, proposals: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes ``[m, 4]``, scores, labels and tiles ``[m]`` of the second stage."""
        s, heads, classes = self.net.settings, self.net.roi_heads, self.net.classes
        count = int(proposals.shape[1])
        tile = torch.zeros_like(scores) + _counted(scores)[:, None]
        regions = torch.cat([tile[..., None], proposals], 2).reshape(-1, 5)
        pooled = roi_align(finest, regions, (7, 7), 1 / self.stride, 2)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        prob = logits.softmax(1)[:, 1:] * (scores.reshape(-1, 1) > 0)
        box = decoded(
            deltas.reshape(-1, 1 + classes, 4)[:, 1:], regions[:, 1:].reshape(-1, 1, 4)
        ).clamp(0, self.edge)
        prob = wide_enough(box, prob, _LEAST_BOX)
        box = box.reshape(-1, count, classes, 4).permute(0, 2, 1, 3).reshape(-1, count, 4)
        prob = prob.reshape(-1, count, classes).permute(0, 2, 1).reshape(-1, 1, count)
        rows = suppress(box, prob, s.detections, s.detection_overlap, s.least_score)
        place = rows[:, 0] * count + rows[:, 2]
        return (
            box.reshape(-1, 4)[place],
            prob.reshape(-1)[place],
            rows[:, 0] % classes,
            torch.div(rows[:, 0], classes, rounding_mode="floor"),
        )


class _Suppress(torch.autograd.Function):
    """Non-maximum suppression of every batch and class, which is one node of ONNX."""

    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, most: int, overlap: float, least: float
    ) -> Tensor:
        rows = []
        for i in range(len(scores)):
            for j in range(scores.shape[1]):
                there = (scores[i, j] > least).nonzero()[:, 0]
                stay = there[nms(boxes[i][there], scores[i, j][there], overlap)[:most]]
                place = torch.tensor([i, j], device=stay.device).expand(len(stay), 2)
                rows.append(torch.cat([place, stay[:, None]], 1))
        return torch.cat(rows)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, most: int, overlap: float, least: float) -> Any:
        limits = [
            g.op("Constant", value_t=torch.tensor([most], dtype=torch.int64)),
            g.op("Constant", value_t=torch.tensor([overlap], dtype=torch.float32)),
            g.op("Constant", value_t=torch.tensor([least], dtype=torch.float32)),
        ]
        return g.op("NonMaxSuppression", boxes, scores, *limits)


def suppress(boxes: Tensor, scores: Tensor, most: int, overlap: float, least: float) -> Tensor:
    """Greedy suppression within each image and class.

    Parameters
    ----------
    boxes
        ``[n, k, 4]``.
    scores
        ``[n, c, k]``; only what exceeds `least` takes part.
    most
        Of an image and class, best first.
    overlap
        A larger intersection over union suppresses.

    Returns
    -------
    Tensor
        ``[m, 3]`` int64: image, class, box; images and classes in order, scores falling.
    """
    rows: Tensor = _Suppress.apply(boxes, scores, most, overlap, least)  # type: ignore[no-untyped-call]
    return rows


def decoded(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes ``[..., 4]`` from regressions and what they are relative to, as `BoxCoder` has it."""
    limit = BoxCoder(BOX_WEIGHTS).bbox_xform_clip
    wx, wy, ww, wh = BOX_WEIGHTS
    size = anchors[..., 2:] - anchors[..., :2]
    middle = anchors[..., :2] + 0.5 * size
    moved = deltas[..., :2] / deltas.new_tensor([wx, wy]) * size + middle
    grown = (deltas[..., 2:] / deltas.new_tensor([ww, wh])).clamp(max=limit).exp() * size
    return torch.cat([moved - 0.5 * grown, moved + 0.5 * grown], -1)


def wide_enough(boxes: Tensor, scores: Tensor, least_px: float) -> Tensor:
    """The scores, and -1 where a box is narrower than `least_px`."""
    wide = ((boxes[..., 2:] - boxes[..., :2]) >= least_px).all(-1)
    return torch.where(wide, scores, -torch.ones_like(scores))


def _counted(rows: Tensor) -> Tensor:
    """0, 1, ... for the rows of a tensor, as floats; of any number of rows in a graph."""
    return torch.ones_like(rows[:, 0]).cumsum(0) - 1


@torch.no_grad()
def _anchors(net: MaskRCNN, edge: int) -> list[Tensor]:
    """Anchors ``[cells * kinds, 4]`` of each level."""
    strides = net.settings.strides
    device = next(net.parameters()).device
    blank = torch.zeros(1, 3, edge, edge, device=device)
    levels = [torch.zeros(1, 1, edge // s, edge // s, device=device) for s in strides]
    (every,) = net.rpn.anchor_generator(as_images(blank), levels)
    kinds = len(net.settings.ratios)
    return list(every.split([(edge // s) ** 2 * kinds for s in strides]))
