"""Settings of the segmenters and of the rounds of pseudo-labels; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import Augmentation, Schedule

Segmenter = Literal["hover", "mask_rcnn"]


class HoverConfig(MethodConfig):
    """The segmenter that draws HoVer-Net's maps."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    network: Literal["small", "monai"] = "small"
    """``small``: a residual U-Net with two outputs; ``monai``: HoVer-Net itself."""
    width: int = Field(default=24, ge=4)
    """Channels of the small network at full resolution."""
    poolings: int = Field(default=3, ge=1, le=5)
    schedule: Schedule = Schedule(steps=2000, check_every=250)
    """On patches and synthetic pairs."""
    augmentation: Augmentation = Augmentation()
    synthetic_share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops that are from synthetic pairs, where there are any."""
    distance_weight: float = Field(default=1.0, ge=0)
    """Of the squared error of the distances;"""
    gradient_weight: float = Field(default=1.0, ge=0)
    """of that of their gradients inside nuclei (2 in HoVer-Net's article)."""
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the model may be run with, preferred one first."""


class MaskRCNNConfig(MethodConfig):
    """The segmenter that is a Mask R-CNN."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    width: int = Field(default=24, ge=4)
    """Channels of the backbone's first level."""
    schedule: Schedule = Schedule(steps=1500, batch=4, check_every=250)
    augmentation: Augmentation = Augmentation()
    synthetic_share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops that are from synthetic pairs, where there are any."""
    window: int = Field(default=256, ge=64)
    """Edge of the fixed windows the model is run with."""


class RoundsConfig(MethodConfig):
    """Pseudo-labels of what was not annotated (sec. III-D)."""

    rounds: int = Field(default=2, ge=0, le=10)
    """Of predicting, and of learning from that beside the patches."""
    patches: int = Field(default=200, ge=1)
    """Unlabelled patches that a round predicts (600 in the paper)."""
    keep_above: float = Field(default=0.7, ge=0, lt=1)
    """Nuclei with a lower score are unknown, neither nucleus nor background (0.5 in the paper's
    code, which takes them for background)."""
    part: float = Field(default=0.5, gt=0, le=1)
    """Of the steps of the first training that a round takes."""


PAPER_HOVER = HoverConfig(
    mpp=0.25,
    network="monai",
    schedule=Schedule(steps=6000, batch=16, crop_px=256, lr=1e-4, weight_decay=0, check_every=500),
    windows=(256,),
)
PAPER_MASK_RCNN = MaskRCNNConfig(
    mpp=0.25,
    width=64,
    schedule=Schedule(steps=12000, batch=6, crop_px=256, lr=5e-3, weight_decay=1e-4),
)
PAPER_ROUNDS = RoundsConfig(rounds=3, patches=600, keep_above=0.5)

_SMOKE = Schedule(steps=120, batch=6, crop_px=64, lr=5e-3, ema=0.95, check_every=60)
_AS_IT_IS = Augmentation(scales=(1.0,), stain_depth=0, litter=0)
SMOKE_HOVER = HoverConfig(
    width=8, poolings=2, schedule=_SMOKE, augmentation=_AS_IT_IS, windows=(256, 512)
)
SMOKE_MASK_RCNN = MaskRCNNConfig(
    width=8, schedule=_SMOKE.model_copy(update={"batch": 2}), augmentation=_AS_IT_IS
)
SMOKE_ROUNDS = RoundsConfig(rounds=1, patches=8)

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "threshold": (0.3, 0.4, 0.5, 0.6, 0.7),
}
"""Constants of post-processing that are tried on the val split."""
