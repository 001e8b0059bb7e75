"""Settings of the segmenters and of the rounds of pseudo-labels; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wsiproc.methods import MethodConfig
from wsiproc.training.mask_rcnn_settings import LARGE, TINY, MaskRCNNSettings
from wsiproc.training.settings import RIGHT_ANGLES, FieldAugmentation, Schedule

Segmenter = Literal["hover", "mask_rcnn"]


class HoverConfig(MethodConfig):
    """The segmenter that draws HoVer-Net's maps."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    network: Literal["small", "monai"] = "small"
    """``small``: a residual U-Net with two decoders; ``monai``: HoVer-Net itself."""
    width: int = Field(default=20, ge=4)
    """Channels of the small network at full resolution."""
    poolings: int = Field(default=3, ge=1, le=5)
    """How often the small network halves its resolution."""
    encoder_weights: Path | None = None
    """``monai``: file of ImageNet's ResNet-50 with torchvision's names (``resnet50-*.pth``), where
    there is one; else weights begin at random."""
    schedule: Schedule = Schedule(steps=2000, check_every=200)
    """On patches and synthetic pairs."""
    augmentation: FieldAugmentation = FieldAugmentation()
    synthetic_share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops that are from synthetic pairs, where there are any."""
    distance_weight: float = Field(default=1.0, ge=0)
    """Of the squared error of the distances in the loss."""
    gradient_weight: float = Field(default=1.0, ge=0)
    """Of the squared error of the distances' slopes inside nuclei (2 in HoVer-Net's article, 1 in
    its code)."""
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the model may be run with, preferred one first."""


class MaskRCNNConfig(MethodConfig):
    """The segmenter that is a Mask R-CNN."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    net: MaskRCNNSettings = MaskRCNNSettings()
    schedule: Schedule = Schedule(
        steps=2000, batch=4, crop_px=128, lr=1e-3, clip=5.0, check_every=250
    )
    """On patches and synthetic pairs."""
    augmentation: FieldAugmentation = FieldAugmentation()
    synthetic_share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops that are from synthetic pairs, where there are any."""
    window_px: int = Field(default=256, ge=64)
    """Edge of the fixed windows the model is run with."""

    @model_validator(mode="after")
    def _whole_cells(self) -> Self:
        self.net.check_edge("window_px", self.window_px)
        self.net.check_edge("crop_px", self.schedule.crop_px)
        return self


class RoundsConfig(MethodConfig):
    """Pseudo-labels of what was not annotated (sec. III-D)."""

    rounds: int = Field(default=2, ge=0, le=10)
    """How often the rest is predicted, and learnt from beside the patches."""
    patches: int = Field(default=200, ge=1)
    """Unlabelled patches, as large as those that are annotated, that a round predicts (600 in the
    paper); all, where there are fewer."""
    share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops that are from them."""
    keep_above: float = Field(default=0.7, ge=0, lt=1)
    """Nuclei with a lower score are unknown, neither nucleus nor background (0.5 in the paper's
    code, which takes them for background)."""
    background_below: float = Field(default=0.3, gt=0, le=1)
    """Pixels outside of nuclei that are more probably nuclear are unknown; 1: none is."""
    part: float = Field(default=0.5, gt=0, le=1)
    """Steps of a round, as a part of those of the first training."""
    rate: float = Field(default=0.5, gt=0, le=1)
    """Highest rate of a round, as a part of that of the first training.  It goes on with the
    weights of the round before."""
    export: Literal["best", "last"] = "best"
    """Which weights become the model: those of the round that was best on val, or the last's, as in
    the paper."""


_NAIVE = RIGHT_ANGLES.model_copy(
    update={
        "stain_gain": 0.1,
        "stain_turn": 0.02,
        "stain_shift": 0.02,
        "light": 0.05,
        "blur_px": 1.0,
        "noise": 6.0,
    }
)
"""Right angles, mirror images, blur, noise and some jitter of colours (sec. IV-B)."""

PAPER_HOVER = HoverConfig(
    mpp=0.25,
    network="monai",
    schedule=Schedule(steps=6000, batch=8, crop_px=256, lr=1e-4, weight_decay=0, check_every=500),
    augmentation=_NAIVE,
    windows=(1024, 512),
)
PAPER_MASK_RCNN = MaskRCNNConfig(
    mpp=0.25,
    net=LARGE,
    schedule=Schedule(
        steps=12000,
        batch=6,
        crop_px=256,
        lr=1e-4,
        weight_decay=1e-4,
        clip=5.0,
        check_every=1000,
    ),
    augmentation=_NAIVE,
    window_px=512,
)
PAPER_ROUNDS = RoundsConfig(
    rounds=3, patches=600, keep_above=0.5, background_below=1.0, rate=1.0, export="last"
)

_SMOKE = Schedule(steps=160, batch=6, crop_px=64, lr=5e-3, ema=0.95, check_every=80)
_AS_IT_IS = FieldAugmentation(scales=(1.0,), stain_depth=0, litter=0)
SMOKE_HOVER = HoverConfig(
    width=8, poolings=2, schedule=_SMOKE, augmentation=_AS_IT_IS, windows=(256, 512)
)
SMOKE_MASK_RCNN = MaskRCNNConfig(
    net=TINY,
    schedule=_SMOKE.model_copy(update={"batch": 2, "crop_px": 96, "lr": 4e-3}),
    augmentation=_AS_IT_IS,
    window_px=160,
)
SMOKE_ROUNDS = RoundsConfig(rounds=1, patches=8, part=0.25)

HOVER_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "marker_threshold": (0.1, 0.2, 0.3, 0.4, 0.5),
    "threshold": (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65),
    "slope_um": (0.4, 0.56, 0.8, 1.1),
    "marker_depth_um": (0.0, 0.25, 0.5, 0.75, 1.0),
    "min_area_um2": (4.0, 8.0, 12.0, 16.0),
}
"""Constants of the decoder of `hover` that are tried on the val split."""

MASK_RCNN_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "score_threshold": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "mask_threshold": (0.3, 0.4, 0.5, 0.6),
    "min_area_um2": (4.0, 8.0, 12.0, 16.0),
}
"""Constants of the decoder of `instances` that are tried on the val split."""
