"""Settings of ``exemplar``; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wsiproc.methods import MethodConfig
from wsiproc.training.mask_rcnn_settings import LARGE, TINY, MaskRCNNSettings
from wsiproc.training.settings import RIGHT_ANGLES, FieldAugmentation, Schedule


class ExemplarConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``.

    The paper's five settings: everything (``fraction=1``), with the module or without
    (``module.centre=false``, ``module.attention="none"``); a quarter of each image
    (``keep="crop"``), with it or without; and a quarter of the nuclei, with it.
    """

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Part of the outlines that are looked at; what is left out is unknown.  A smaller part of
    the same seed lies inside a larger one."""
    keep: Literal["nuclei", "crop"] = "nuclei"
    """Whether `fraction` is of each image's nuclei, or of its area: a rectangle, complete."""
    net: MaskRCNNSettings = MaskRCNNSettings()
    attention: Literal["none", "levels", "all"] = "all"
    """Decomposed self-attention behind no layer, behind the levels of the pyramid, or there and
    behind the last two stages of the backbone."""
    attention_channels: int = Field(default=32, ge=1)
    """Of its bases and its values."""
    centre: bool = True
    """Whether a head learns centres from the outlined pixels alone, so that it sees nuclei that
    nobody outlined.  Without it they are background, and `ignore` and `inject` do nothing."""
    ignore: bool = True
    """Whether anchors and proposals on nuclei that the centre head sees are no background."""
    inject: bool = True
    """Whether what the centre head sees is proposed to the second stage."""
    centre_above: float = Field(default=0.95, gt=0, lt=1)
    """Centres more certain than this are seen."""
    centre_anchor_um: float | None = Field(default=None, gt=0)
    """Edge of the square that centres' boxes are relative to; the median box of the outlines if
    none (the public code has 32 px)."""
    centre_share: float = Field(default=0.3, gt=0, le=1)
    """Of a nucleus' box, along each axis, that is its centre."""
    centre_sampled: int = Field(default=128, ge=2)
    """Cells of an image that the centre loss is taken over, at most half of them centres."""
    centre_only: int = Field(default=100, ge=0)
    """First steps, in which the centre head alone learns: later it can tell what is unknown."""
    most_seen: int = Field(default=256, ge=1)
    """Centres of a window, at most."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` is the paper's: momentum .9, a rate that rises from a third in `schedule.warm_up` and
    then stays, twice as high for biases, which don't decay."""
    schedule: Schedule = Schedule(
        steps=5000, batch=2, crop_px=256, lr=1e-3, clip=5.0, check_every=250
    )
    augmentation: FieldAugmentation = FieldAugmentation(scales=(0.8, 1.25), turned=0.3)
    largest_nucleus_um: float = Field(default=24.0, gt=0)
    """Longest nucleus that is outlined whole; windows overlap by twice as much."""
    window_px: int = Field(default=256, ge=32)
    """Edge of the windows of the model.  Attention looks at a whole window, so it should be that of
    the crops."""

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        self.net.check_edge("window_px", self.window_px)
        self.net.check_edge("crop_px", self.schedule.crop_px)
        if self.window_px <= 2 * self.margin_px:
            raise ValueError("window_px leaves nothing between margins of largest_nucleus_um")
        if self.largest_nucleus_um / self.mpp > 28 * self.net.strides[0]:
            raise ValueError("nuclei are larger than 28 cells of the finest level: raise mpp")
        return self

    @property
    def margin_px(self) -> int:
        """The largest nucleus in whole steps of the windows' lattice."""
        return self.net.margin_px(self.largest_nucleus_um, self.mpp)


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "score_threshold": (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "mask_threshold": (0.3, 0.4, 0.5, 0.6),
    "dilation_um": (0.0, 0.5),
    "min_area_um2": (4.0, 8.0, 12.0, 16.0),
}
"""Constants of post-processing that are tried on the val splits."""

PRESETS: Mapping[str, ExemplarConfig] = {
    "default": ExemplarConfig(),
    # The paper's network, rate and steps on a GPU; its H&E images are at .25 µm per px.
    "paper": ExemplarConfig(
        mpp=0.25,
        net=LARGE.model_copy(
            update={"backbone": "resnext101_64x4d", "candidates": 4000, "proposals": 2000}
        ),
        attention_channels=64,
        centre_anchor_um=8.0,
        centre_only=0,
        optimiser="sgd",
        schedule=Schedule(
            steps=1000,
            batch=8,
            crop_px=512,
            lr=0.01,
            warm_up=0.5,
            weight_decay=1e-4,
            clip=5.0,
            ema=0.0,
            check_every=50,
        ),
        augmentation=RIGHT_ANGLES,
        window_px=512,
    ),
    "smoke": ExemplarConfig(
        net=TINY,
        attention_channels=8,
        centre_only=10,
        schedule=Schedule(
            steps=160, batch=2, crop_px=128, lr=4e-3, clip=5.0, ema=0.97, check_every=80
        ),
        augmentation=RIGHT_ANGLES,
        window_px=160,
    ),
}
