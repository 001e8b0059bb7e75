"""Mask R-CNN that takes unknown nuclei for unknown (Feng 2019, fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wsiproc.training.mask_rcnn import MaskRCNN, Raw, Targets, as_images
from wsiproc.training.matching import Proposals
from wsiproc.training.vision import RoIHeads, box_iou
from wsiproc_exemplar.attention import attend
from wsiproc_exemplar.centres import (
    CentreHead,
    centre_losses,
    centre_targets,
    seen,
    seen_of_each,
)
from wsiproc_exemplar.config import ExemplarConfig


class PartialProposals(Proposals):
    """The first stage; an anchor on something ``seen`` in an image's targets is no background."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels of anchors: 1 nucleus, 0 background, -1 unknown; and the boxes they are for.

        A background anchor becomes unknown if the matcher that compares anchors with nuclei finds
        it on, or between its thresholds of, what is seen.  Nuclei stay nuclei.  Of an image that
        is outlined in part, and in this crop nowhere, nothing is known.
        """
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            found = target["seen"]
            if len(found):
                on = self.matched(found, anchor) != self.proposal_matcher.BELOW_LOW_THRESHOLD
                label[(label == 0) & on] = -1
            if unknown(target):
                label[:] = -1
        return labels, matched


class PartialRegions(RoIHeads):  # type: ignore[misc]
    """The second stage; a proposal on something ``seen`` in an image's targets is no background."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> Any:
        """As torchvision samples, of the proposals about which something is known.

        One that is on no outlined nucleus, and has an intersection over union of at least one half
        with what is seen, is unknown.
        """
        known = [self.known(p, t) for p, t in zip(proposals, targets, strict=True)]
        return super().select_training_samples(known, targets)

    def known(self, proposals: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """The proposals of one image that may be sampled."""
        if unknown(target):
            return proposals[:0]
        found, outlined = target["seen"], target["boxes"]
        if not len(found) or not len(proposals):
            return proposals
        on_seen = box_iou(found, proposals).amax(0) >= self.proposal_matcher.high_threshold
        if len(outlined):
            overlap = box_iou(outlined, proposals).amax(0)
            on_seen &= overlap < self.proposal_matcher.high_threshold
        return proposals[~on_seen]


class ExemplarNet(MaskRCNN):
    """The network.

    Parameters
    ----------
    config
        Its settings.
    anchor
        Width and height that centres' boxes are relative to, px.
    """

    first_stage = PartialProposals
    second_stage = PartialRegions
    steps: Tensor

    def __init__(self, config: ExemplarConfig, anchor: tuple[float, float]) -> None:
        super().__init__(config.net, config.mpp)
        self.config = config
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if config.attention != "none":
            attend(self, config.attention_channels, stages=config.attention == "all")
        self.centre = None
        if config.centre:
            self.centre = CentreHead(config.net.channels, config.net.strides[0], anchor)

    def raw(self, features: Mapping[str, Tensor]) -> Raw:
        """The first stage, with what the centre head sees ahead of all other proposals."""
        shared = self.rpn.head.shared(features)
        raw = Raw(*self.rpn.head(list(shared.values())))
        if self.centre is None or not self.config.inject:
            return raw
        boxes, scores = self._seen(self.centre, shared["0"], self.centre(shared["0"]))
        return Raw(raw.objectness, raw.deltas, boxes, scores)

    def forward(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The losses of a batch; their sum is what is minimised, all weights being 1."""
        config, images = self.config, as_images(x)
        begun = self.training and int(self.steps) < config.centre_only
        self.steps += int(self.training)
        features = self.backbone(x)
        shared = self.rpn.head.shared(features)
        losses: dict[str, Tensor] = {}
        found = [target["boxes"][:0] for target in targets]
        if self.centre is not None:
            said = self.centre(shared["0"])
            losses = self._centre_losses(self.centre, shared["0"], said, targets)
            if begun:
                return losses
            boxes, scores = self._seen(self.centre, shared["0"], said)
            found = seen_of_each(boxes, scores, config.net.proposal_overlap)
        if all(unknown(target) for target in targets):
            return {**losses, "loss_nothing": shared["0"].sum() * 0}
        none = [boxes[:0] for boxes in found]
        known = [
            {**target, "seen": boxes}
            for target, boxes in zip(targets, found if config.ignore else none, strict=True)
        ]
        proposals, more = self.rpn(images, shared, known)
        losses |= more
        if config.inject:
            proposals = [torch.cat(pair) for pair in zip(proposals, found, strict=True)]
        _, more = self.roi_heads(features, proposals, images.image_sizes, known)
        losses |= more
        return losses

    def _seen(
        self, centre: CentreHead, shared: Tensor, said: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        height, width = int(shared.shape[2]), int(shared.shape[3])
        return seen(
            said,
            centre.anchors(height, width),
            (height, width),
            above=self.config.centre_above,
            most=self.config.most_seen,
            edge=(height * centre.stride, width * centre.stride),
        )

    def _centre_losses(
        self, centre: CentreHead, shared: Tensor, said: tuple[Tensor, Tensor], targets: Targets
    ) -> dict[str, Tensor]:
        cells = [
            centre_targets(t["masks"], t["boxes"], centre.stride, self.config.centre_share)
            for t in targets
        ]
        anchors = centre.anchors(shared.shape[2], shared.shape[3])
        boxes = [target["boxes"] for target in targets]
        return centre_losses(said, cells, boxes, anchors, self.config.centre_sampled)


def unknown(target: Mapping[str, Tensor]) -> bool:
    """Whether nothing is known of an image: it has no outline, and need not have all."""
    return not len(target["boxes"]) and not bool(target["complete"])
