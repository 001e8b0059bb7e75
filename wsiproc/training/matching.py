"""Which anchor is for which nucleus, by looking at those alone that overlap.

torchvision compares every nucleus with every anchor: ten million pairs for 150 nuclei and the
65,000 anchors of 256 px, of which one in two hundred overlaps.  Here the others are left out, and
the same is said of each anchor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from wsiproc.training.vision import RegionProposalNetwork, overlapping


class Proposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's first stage, whose anchors are matched by `match`."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels of anchors, float32: 1 nucleus, 0 background, -1 between; and boxes they are for.

        As in Ren et al. 2015, sec. 3.1.2; boxes mean nothing but for nuclei.
        """
        labels, boxes = [], []
        for anchor, target in zip(anchors, targets, strict=True):
            found = self.matched(target["boxes"], anchor)
            label = torch.where(found >= 0, 1.0, 0.0)
            label[found == self.proposal_matcher.BETWEEN_THRESHOLDS] = -1.0
            labels.append(label)
            whose = target["boxes"] if len(target["boxes"]) else torch.zeros_like(anchor[:1])
            boxes.append(whose[found.clamp(min=0)])
        return labels, boxes

    def matched(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """`match` by this stage's thresholds."""
        rule = self.proposal_matcher
        return match(boxes, anchors, above=rule.high_threshold, below=rule.low_threshold)


def match(boxes: Tensor, anchors: Tensor, *, above: float, below: float) -> Tensor:
    """What torchvision's ``Matcher`` says of anchors, with its low-quality matches.

    Parameters
    ----------
    boxes, anchors
        ``[m, 4]``, ``[n, 4]``: x0, y0, x1, y1.
    above, below
        An anchor whose largest intersection over union is `above` or more is for that box; below
        `below` it is background.  Those that no anchor overlaps a box more than are for that box
        in any case.

    Returns
    -------
    Tensor
        ``[n]`` int64: the box, -1 for background, -2 for what is between.
    """
    box, anchor = overlapping(boxes, anchors)
    overlap = _iou(boxes[box], anchors[anchor])
    best = overlap.new_zeros(len(anchors)).scatter_reduce(0, anchor, overlap, "amax")
    first = overlap == best[anchor]
    of = torch.full_like(best, len(boxes), dtype=torch.int64).scatter_reduce(
        0, anchor[first], box[first], "amin"
    )
    found = torch.where(best < below, -1, torch.where(best < above, -2, of))
    most = overlap.new_zeros(len(boxes)).scatter_reduce(0, box, overlap, "amax")
    top = anchor[overlap == most[box]]
    found[top] = of[top]
    return found


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """``[k]``: intersection over union, pair by pair, to torchvision's last digit."""
    size = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    both = size.clamp(min=0).prod(1)
    areas = [(each[:, 2] - each[:, 0]) * (each[:, 3] - each[:, 1]) for each in (a, b)]
    return both / (areas[0] + areas[1] - both)
