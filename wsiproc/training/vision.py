"""torchvision's detection blocks, importable wherever torch is.

torchvision's binary operators load only beside the build of torch that they were compiled for; with
a torch for CPUs from another index they don't, and then ``import torchvision`` itself fails.  Here
the two operators that detection needs, non-maximum suppression and RoIAlign, are registered in pure
torch under torchvision's own names where its binaries are missing, and nothing is done where they
load.  Importing this module does that, so detection code imports torchvision's blocks from here and
from nowhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_NMS = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_QNMS = "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_ROI_ALIGN = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, "
    "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
)


def suppressed(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression, as ``torchvision.ops.nms`` defines it.

    Parameters
    ----------
    boxes
        ``[n, 4]`` x0, y0, x1, y1.
    scores
        ``[n]``; of equal ones the first counts as the higher.
    iou_threshold
        A box goes if its intersection over union with a higher one that stays exceeds this.

    Returns
    -------
    Tensor
        int64 indices of those that stay, highest first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    ranked = boxes.detach()[order].float()
    x0, y0, x1, y1 = ranked.unbind(1)
    area = (x1 - x0) * (y1 - y0)
    one, other = overlapping(ranked, ranked)
    width = torch.minimum(x1[one], x1[other]) - torch.maximum(x0[one], x0[other])
    height = torch.minimum(y1[one], y1[other]) - torch.maximum(y0[one], y0[other])
    both = width * height
    above = both / (area[one] + area[other] - both) > iou_threshold
    over = np.zeros((len(ranked), len(ranked)), bool)
    over[one[above].cpu().numpy(), other[above].cpu().numpy()] = True
    gone = np.zeros(len(over), bool)
    stay = np.zeros(len(over), bool)
    for i in range(len(over)):
        if not gone[i]:
            stay[i] = True
            gone |= over[i]
    return order[torch.from_numpy(stay).to(order.device)]


def overlapping(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of ``[m, 4]`` and of ``[n, 4]`` boxes whose insides meet, pair by pair, in order."""
    meet = a[:, 0, None] < b[:, 2]
    meet &= a[:, 2, None] > b[:, 0]
    meet &= a[:, 1, None] < b[:, 3]
    meet &= a[:, 3, None] > b[:, 1]
    of_a, of_b = meet.nonzero().unbind(1)
    return of_a, of_b


def aligned_regions(
    features: Tensor,
    rois: Tensor,
    scale: float,
    height: int,
    width: int,
    sampling: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign (He et al. 2017, sec. 3), as ``torchvision.ops.roi_align`` defines it.

    Every output is a weighted sum of feature vectors, four for each sampling point, so it is taken
    as one `embedding_bag` over the table of all vectors of the batch: exact, differentiable in the
    features, and on a CPU six times as fast as `grid_sample`.

    Parameters
    ----------
    features
        ``[n, c, h, w]``.
    rois
        ``[k, 5]``: index in the batch, then x0, y0, x1, y1 in px of the image.
    scale
        Feature px per image px.
    height, width
        Of the result.
    sampling
        Points along each axis of a cell; 0 or less takes as many as whole feature px fit.
    aligned
        Whether pixel centres lie at +.5; False is what torchvision's detection uses.

    Returns
    -------
    Tensor
        ``[k, c, height, width]``; 0 from points more than one px outside of the features.
    """
    count, channels = len(rois), features.shape[1]
    if not count:
        return features.new_zeros((0, channels, height, width)) + features.sum() * 0
    corner = rois[:, 1:3].detach().float() * scale - (0.5 if aligned else 0.0)
    size = rois[:, 3:5].detach().float() * scale - (0.5 if aligned else 0.0) - corner
    if not aligned:
        size = size.clamp(min=1.0)
    table = features.float().permute(0, 2, 3, 1).reshape(-1, channels)
    image = rois[:, 0].long()
    if sampling > 0:
        points = torch.full((count, 2), sampling, dtype=torch.int64)
    else:
        cell = size / size.new_tensor([width, height])
        points = cell.ceil().long().clamp(min=1).cpu()
    out = table.new_empty((count, channels, height, width))
    for pair in torch.unique(points, dim=0):
        rows = (points == pair).all(1).nonzero()[:, 0].to(rois.device)
        index, weight = _samples(
            image[rows],
            corner[rows],
            size[rows],
            (int(pair[0]), int(pair[1])),
            (width, height),
            (features.shape[3], features.shape[2]),
        )
        pooled = functional.embedding_bag(index, table, mode="sum", per_sample_weights=weight)
        part = pooled.view(len(rows), height, width, channels).permute(0, 3, 1, 2)
        if len(rows) == count:
            return part.to(features.dtype)
        out = out.index_copy(0, rows, part)
    return out.to(features.dtype)


def _samples(
    image: Tensor,
    corner: Tensor,
    size: Tensor,
    points: tuple[int, int],
    cells: tuple[int, int],
    extent: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Rows of the table and their weights, ``[k height width, samples]`` each; pairs are x, y."""
    near, share = [], []
    for axis in (0, 1):
        steps = cells[axis] * points[axis]
        at = (torch.arange(steps, device=size.device) + 0.5) / steps
        where = corner[:, axis, None] + at * size[:, axis, None]
        seen = (where >= -1) & (where <= extent[axis])
        where = where.clamp(0, extent[axis] - 1)
        low = where.floor()
        high = (low + 1).clamp(max=extent[axis] - 1)
        part = where - low
        near.append(torch.stack([low, high], -1).long().view(len(size), cells[axis], -1))
        share.append(torch.stack([(1 - part) * seen, part * seen], -1).view_as(near[-1]))
    x, y = near[0][:, None, :, None, :], near[1][:, :, None, :, None]
    by_x, by_y = share[0][:, None, :, None, :], share[1][:, :, None, :, None]
    index = (image.view(-1, 1, 1, 1, 1) * extent[1] + y) * extent[0] + x
    weight = by_y * by_x / (points[0] * points[1])
    bags = len(size) * cells[0] * cells[1]
    return index.reshape(bags, -1), weight.reshape(bags, -1)


def _binaries_load() -> bool:
    """Whether torchvision's compiled operators are there and fit this torch."""
    found = importlib.util.find_spec("torchvision")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for file in (*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(str(file))  # type: ignore[no-untyped-call]
            except OSError:
                continue
            return True
    return False


def _register() -> torch.library.Library:
    """Give torch the two operators; they live as long as the library that is returned."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in (_NMS, _QNMS, _ROI_ALIGN):
        library.define(schema)  # type: ignore[no-untyped-call]
    for name, kernel, key in (
        ("nms", suppressed, "CompositeExplicitAutograd"),
        ("roi_align", aligned_regions, "CompositeImplicitAutograd"),
    ):
        library.impl(name, kernel, key)  # type: ignore[no-untyped-call]
    # They look for binaries when they are called, and would refuse, or compile a slow RoIAlign.
    # Both are loaded first: while it loads torchvision asks them, too, and would then register
    # shapes for operators that are not there.
    names = ("torchvision.extension", "torchvision.ops.roi_align")
    for module in [importlib.import_module(name) for name in names]:
        module._has_ops = _has_ops  # type: ignore[attr-defined]
    return library


def _has_ops() -> bool:
    return True


BINARY = _binaries_load()
"""Whether the operators are torchvision's own."""
if not BINARY:
    _LIBRARY = _register()

from torchvision.models.detection._utils import BoxCoder  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor  # noqa: E402
from torchvision.models.detection.roi_heads import RoIHeads  # noqa: E402
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead  # noqa: E402
from torchvision.models.resnet import resnet50, resnext101_64x4d  # noqa: E402
from torchvision.ops import (  # noqa: E402
    FeaturePyramidNetwork,
    FrozenBatchNorm2d,
    MultiScaleRoIAlign,
    box_iou,
    clip_boxes_to_image,
    nms,
    roi_align,
)

__all__ = [
    "BINARY",
    "AnchorGenerator",
    "BoxCoder",
    "FastRCNNPredictor",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "ImageList",
    "MaskRCNNHeads",
    "MaskRCNNPredictor",
    "MultiScaleRoIAlign",
    "RPNHead",
    "RegionProposalNetwork",
    "RoIHeads",
    "TwoMLPHead",
    "aligned_regions",
    "box_iou",
    "clip_boxes_to_image",
    "nms",
    "overlapping",
    "resnet50",
    "resnext101_64x4d",
    "roi_align",
    "suppressed",
]
