"""Mask R-CNN for nuclei: torchvision's blocks, put together as small as a CPU wants them.

Regions are pooled from the finest level alone.  That is what assigning regions to levels by their
size does too, as long as they are less than 28 of its cells across (Lin et al. 2017, eq. 1), and
nuclei are.  No image is resized inside: its resolution is the model's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wsiproc.errors import ConfigError
from wsiproc.training.feature_pyramid import FeaturePyramid
from wsiproc.training.mask_rcnn_settings import MaskRCNNSettings
from wsiproc.training.matching import Proposals
from wsiproc.training.vision import (
    AnchorGenerator,
    BoxCoder,
    FastRCNNPredictor,
    ImageList,
    MaskRCNNHeads,
    MaskRCNNPredictor,
    MultiScaleRoIAlign,
    RoIHeads,
    RPNHead,
    TwoMLPHead,
)

Targets = Sequence[Mapping[str, Tensor]]
"""Of each image: ``boxes`` ``[n, 4]`` float32 (x0, y0, x1, y1 in px, pixel edges), ``labels``
``[n]`` int64 from 1, ``masks`` ``[n, h, w]`` bool, and ``complete``, a bool: whether all that is
not annotated is background."""

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""By which both stages scale their box regressions."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What the first stage says of a batch.

    Parameters
    ----------
    objectness, deltas
        A level each: ``[n, a, h, w]`` logits, ``[n, 4 a, h, w]``; float32.
    boxes, scores
        ``[n, k, 4]`` and ``[n, k]``: proposals from elsewhere, valid where the score is above 0
        and ahead of all others where it is above 1; None where there are none.
    """

    objectness: list[Tensor]
    deltas: list[Tensor]
    boxes: Tensor | None = None
    scores: Tensor | None = None


class ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's head in two steps, so that others can look at what its outputs share."""

    def shared(self, features: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        """The 3 x 3 convolution of each level, float32."""
        return OrderedDict((name, self.conv(level).float()) for name, level in features.items())

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box regression of each level from its `shared` feature, float32."""
        return (
            [self.cls_logits(feature).float() for feature in x],
            [self.bbox_pred(feature).float() for feature in x],
        )


class BoxPredictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, with float32 outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits ``[k, 1 + c]`` and box regressions ``[k, 4 (1 + c)]``."""
        scores, boxes = super().forward(x)
        return scores.float(), boxes.float()


class MaskPredictor(MaskRCNNPredictor):  # type: ignore[misc]
    """torchvision's, with float32 outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[k, 1 + c, 28, 28]``."""
        logits: Tensor = super().forward(x)
        return logits.float()


class MaskRCNN(nn.Module):
    """Both stages; methods may have classes of their own for each.

    Parameters
    ----------
    settings, mpp
        Of the network, and µm per px of its images.
    classes
        Of nuclei, background not counted.
    """

    first_stage: ClassVar[type[Proposals]] = Proposals
    second_stage: ClassVar[type[RoIHeads]] = RoIHeads

    def __init__(self, settings: MaskRCNNSettings, mpp: float, classes: int = 1) -> None:
        super().__init__()
        self.settings, self.classes = settings, classes
        self.backbone = FeaturePyramid(settings)
        self.rpn = self.first_stage(**_proposing(settings, mpp))
        self.rpn.box_coder = BoxCoder(BOX_WEIGHTS)
        self.roi_heads = self.second_stage(**_outlining(settings, classes))
        if settings.weights is not None:
            load_weights(self, settings)

    def raw(self, features: Mapping[str, Tensor]) -> Raw:
        """The first stage, before anything is chosen; for inference."""
        return Raw(*self.rpn.head(list(self.rpn.head.shared(features).values())))

    def forward(self, x: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The losses of a batch ``[n, 3, h, w]`` in [-1, 1]; all are means over what is sampled."""
        images = as_images(x)
        features = self.backbone(x)
        proposals, losses = self.rpn(images, self.rpn.head.shared(features), targets)
        _, more = self.roi_heads(features, proposals, images.image_sizes, targets)
        return {**losses, **more}


def _proposing(settings: MaskRCNNSettings, mpp: float) -> dict[str, Any]:
    """What the first stage is put together of; sampling as in Ren et al. 2015, sec. 3.1.3."""
    sizes = tuple((edge / mpp,) for edge in settings.anchors_um)
    return {
        "anchor_generator": AnchorGenerator(sizes, (settings.ratios,) * len(sizes)),
        "head": ProposalHead(settings.channels, len(settings.ratios)),
        "fg_iou_thresh": 0.7,
        "bg_iou_thresh": 0.3,
        "batch_size_per_image": settings.anchors_sampled,
        "positive_fraction": 0.5,
        "pre_nms_top_n": dict.fromkeys(("training", "testing"), settings.candidates),
        "post_nms_top_n": dict.fromkeys(("training", "testing"), settings.proposals),
        "nms_thresh": settings.proposal_overlap,
    }


def _outlining(settings: MaskRCNNSettings, classes: int) -> dict[str, Any]:
    """What the second stage is put together of."""
    channels = settings.channels
    convolutions = (settings.mask_channels,) * settings.mask_convolutions
    return {
        "box_roi_pool": MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(channels * 7 * 7, settings.box_features),
        "box_predictor": BoxPredictor(settings.box_features, 1 + classes),
        "fg_iou_thresh": 0.5,
        "bg_iou_thresh": 0.5,
        "batch_size_per_image": settings.regions_sampled,
        "positive_fraction": 0.25,
        "bbox_reg_weights": BOX_WEIGHTS,
        "score_thresh": settings.least_score,
        "nms_thresh": settings.detection_overlap,
        "detections_per_img": settings.detections,
        "mask_roi_pool": MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=2),
        "mask_head": MaskRCNNHeads(channels, convolutions, 1),
        "mask_predictor": MaskPredictor(
            settings.mask_channels, settings.mask_channels, 1 + classes
        ),
    }


def as_images(x: Tensor) -> ImageList:
    """A batch as torchvision's blocks want it."""
    return ImageList(x, [(x.shape[2], x.shape[3])] * len(x))


def targets_of(labels: Tensor, complete: Tensor, least_px: int = 2) -> list[dict[str, Tensor]]:
    """Boxes and masks from label maps.

    Parameters
    ----------
    labels
        ``[n, h, w]`` integers: a nucleus each from 1, other values are none.
    complete
        ``[n]`` bool: whether all nuclei of the image are annotated.
    least_px
        What a crop's edge left of a nucleus is no nucleus if it is narrower.
    """
    targets = []
    for drawn, whole in zip(labels, complete, strict=True):
        ids = torch.unique(drawn)
        masks = drawn == ids[ids > 0][:, None, None]
        rows, columns = masks.any(2), masks.any(1)
        low = [side.to(torch.uint8).argmax(1) for side in (columns, rows)]
        high = [side.shape[1] - side.flip(1).to(torch.uint8).argmax(1) for side in (columns, rows)]
        boxes = torch.stack([*low, *high], 1).float()
        wide = (boxes[:, 2:] - boxes[:, :2] >= least_px).all(1)
        targets.append(
            {
                "boxes": boxes[wide],
                "labels": torch.ones(int(wide.sum()), dtype=torch.int64, device=labels.device),
                "masks": masks[wide],
                "complete": whole,
            }
        )
    return targets


def load_weights(net: MaskRCNN, settings: MaskRCNNSettings) -> None:
    """Take what fits of a file of torchvision's weights.

    Raises
    ------
    ConfigError
        If the file is no state, or holds no backbone of this kind.
    """
    assert settings.weights is not None
    try:
        state = torch.load(settings.weights, map_location="cpu", weights_only=True)
        named = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except Exception:  # noqa: BLE001  torch raises whatever the damage leads it to
        raise ConfigError(f"{settings.weights.name} holds no state of a network") from None
    whole = any(name.startswith("backbone.") for name in named)
    if not whole:
        named = {f"backbone.body.{name}": value for name, value in named.items()}
    own = net.state_dict()
    fitting = {
        name: value
        for name, value in named.items()
        if name in own and own[name].shape == value.shape
    }
    body = [name for name in own if name.startswith("backbone.body.layer")]
    missing = [name for name in body if name not in fitting and "num_batches" not in name]
    if missing or not body:
        raise ConfigError(
            f"{settings.weights.name} holds no backbone of the kind {settings.backbone}: "
            f"{len(missing) or 'all'} of its parts are missing"
        )
    net.load_state_dict(fitting, strict=False)
