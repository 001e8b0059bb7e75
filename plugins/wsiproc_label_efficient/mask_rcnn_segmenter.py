"""The segmenter that is a Mask R-CNN (sec. IV of the paper; He et al. 2017).

Where nothing is known, nothing is background: neither stage learns from an anchor or a proposal
that lies on unknown pixels, unless a nucleus is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiproc.card import Card, InstancesPost
from wsiproc.methods import TrainingInputs
from wsiproc.training.choose import choose, measure
from wsiproc.training.deliver import scored, tell
from wsiproc.training.export_instances import export_instances
from wsiproc.training.fields import Field
from wsiproc.training.judging import JudgedWindows, judge
from wsiproc.training.loop import Batch, Stage
from wsiproc.training.mask_rcnn import MaskRCNN, targets_of
from wsiproc.training.mask_rcnn_windows import WindowDetector
from wsiproc.training.matching import Proposals
from wsiproc.training.nets import as_input
from wsiproc.training.settings import Schedule
from wsiproc.training.vision import RoIHeads, box_iou
from wsiproc_label_efficient.images import UNKNOWN, Bytes, Labels, Learnt, draw_cuts
from wsiproc_label_efficient.segmenter_config import MASK_RCNN_CHOICES, MaskRCNNConfig
from wsiproc_label_efficient.segmenting import BY, Said

MOST_UNKNOWN = 0.3
"""A box of which more is unknown says nothing of background; a nucleus has to overlap an anchor
as much to keep it from being background."""


class KnownProposals(Proposals):
    """The first stage; an anchor on unknown pixels is no background."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels of anchors: 1 nucleus, 0 background, -1 unknown; and the boxes they are for."""
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            away = unknown_share(anchor, target["unknown"]) > MOST_UNKNOWN
            label[(label == 0) & away] = -1
        return labels, matched


class KnownRegions(RoIHeads):  # type: ignore[misc]
    """The second stage; a proposal on unknown pixels, and on no nucleus, is not sampled."""

    def select_training_samples(
        self, proposals: list[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> Any:
        """As torchvision samples, of the proposals about which something is known."""
        known = []
        for boxes, target in zip(proposals, targets, strict=True):
            away = unknown_share(boxes, target["unknown"]) > MOST_UNKNOWN
            if len(target["boxes"]) and len(boxes):
                on_nucleus = box_iou(target["boxes"], boxes).amax(0)
                away &= on_nucleus < self.proposal_matcher.high_threshold
            known.append(boxes[~away])
        return super().select_training_samples(known, targets)


class KnownMaskRCNN(MaskRCNN):
    """Mask R-CNN whose targets also say what is ``unknown``, as `summed` has it."""

    first_stage = KnownProposals
    second_stage = KnownRegions


def summed(unknown: Tensor) -> Tensor:
    """``[n, h, w]`` bool -> ``[n, h + 1, w + 1]``: how many px above and left of each corner."""
    return functional.pad(unknown.float(), (1, 0, 1, 0)).cumsum(1).cumsum(2)


def unknown_share(boxes: Tensor, corners: Tensor) -> Tensor:
    """Part of each box ``[k, 4]`` that is unknown, by `summed`'s table of its image; ``[k]``.

    Boxes are widened to whole px and cut to the image; of one that lies outside nothing is known.
    """
    height, width = corners.shape[0] - 1, corners.shape[1] - 1
    x0, y0 = (boxes[:, i].floor().long().clamp(0, n) for i, n in ((0, width), (1, height)))
    x1, y1 = (boxes[:, i].ceil().long().clamp(0, n) for i, n in ((2, width), (3, height)))
    inside = corners[y1, x1] - corners[y0, x1] - corners[y1, x0] + corners[y0, x0]
    area = ((x1 - x0) * (y1 - y0)).to(corners.dtype)
    return torch.where(area > 0, inside / area.clamp(min=1), torch.ones_like(inside))


@dataclass(frozen=True, slots=True)
class MaskRCNNSegmenter:
    """See `wsiproc_label_efficient.segmenting.Segmenter`; `largest_um` decides its windows."""

    config: MaskRCNNConfig
    largest_um: float

    @property
    def schedule(self) -> Schedule:
        return self.config.schedule

    @property
    def synthetic_share(self) -> float:
        return self.config.synthetic_share

    @property
    def margin(self) -> int:
        """The largest nucleus in whole steps of the windows' lattice, px."""
        return self.config.net.margin_px(self.largest_um, self.config.mpp)

    def network(self) -> nn.Module:
        return KnownMaskRCNN(self.config.net, self.config.mpp)

    def about(self, net: nn.Module, chosen_on: str) -> dict[str, Any]:
        return {
            "kind": "instances",
            "mpp": self.config.mpp,
            "step": self.config.net.strides[-1],
            "margin": self.margin,
            "windows": (self.config.window_px,),
            "post": InstancesPost(chosen_on=chosen_on).model_dump(),
            "local": False,
        }

    def stage(self, name: str, learnt: Learnt, seen: Sequence[Field], card: Card) -> Stage:
        schedule, augmentation = self.config.schedule, self.config.augmentation

        def batch(rng: np.random.Generator) -> Batch:
            count, size = schedule.batch, schedule.crop_px
            cuts = draw_cuts(learnt, rng, count=count, size=size, augmentation=augmentation)
            return {
                "image": np.stack([cut.pixels for cut in cuts]),
                "labels": np.stack([cut.instances for cut in cuts]),
            }

        def loss(net: nn.Module, tensors: Mapping[str, Tensor]) -> Tensor:
            labels = tensors["labels"]
            complete = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
            tables = summed(labels == UNKNOWN)
            targets = [
                {**target, "unknown": table}
                for target, table in zip(targets_of(labels, complete), tables, strict=True)
            ]
            losses: Mapping[str, Tensor] = net(as_input(tensors["image"]), targets)
            return torch.stack(list(losses.values())).sum()

        def check(net: nn.Module) -> dict[str, float]:
            scores = measure(card, self._judged(net, seen))
            return {key: scores.get(key, 0.0) for key in ("aji", "dice", "f1")}

        return Stage(name, batch, loss, check, better=("aji", True))

    def chosen(
        self, net: nn.Module, card: Card, check: Sequence[Field]
    ) -> tuple[Card, dict[str, float]]:
        return choose(card, self._judged(net, check), MASK_RCNN_CHOICES, by=BY)

    def said(self, net: nn.Module, card: Card, pixels: Bytes) -> Said:
        nothing = np.zeros(pixels.shape[:2], np.int32)
        return Said(self._look(net, pixels, self.config.mpp, nothing).nuclei(card), None)

    def deliver(
        self, net: nn.Module, card: Card, check: Sequence[Field], inputs: TrainingInputs
    ) -> Path:
        card, metrics = scored(card, self._judged(net, check), {}, BY)
        path = inputs.out / f"{card.name}.onnx"
        exported = export_instances(self._windows(net), card, path, check[0].pixels)
        tell(exported, metrics, inputs)
        return exported.path

    def _judged(self, net: nn.Module, fields: Sequence[Field]) -> list[JudgedWindows]:
        return [self._look(net, f.pixels, f.mpp, f.sample.instances()) for f in fields]

    def _look(self, net: nn.Module, pixels: Bytes, mpp: float, true: Labels) -> JudgedWindows:
        return judge(self._windows(net), pixels, margin=self.margin, mpp=mpp, true=true)

    def _windows(self, net: nn.Module) -> WindowDetector:
        assert isinstance(net, MaskRCNN)
        return WindowDetector(net.eval(), self.config.window_px)
