"""Settings of the U-Net; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import Augmentation, Schedule


class UNetConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that the network works at."""
    width: int = Field(default=24, ge=4)
    """Channels at full resolution."""
    poolings: int = Field(default=3, ge=1, le=5)
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    unscaled_share: float = Field(default=0.3, ge=0, lt=1)
    """Part of the crops from data sets that don't say their mpp; it is assumed such that their
    median nucleus is as large as that of the others."""
    touch_um: float = Field(default=0.75, gt=0)
    """Within this distance of two nuclei at once, errors count more,"""
    touch_weight: float = Field(default=3.0, ge=0)
    """by this much, added to 1."""
    centre_weight: float = Field(default=2.0, gt=0)
    """Of the loss of the centre map against that of the foreground."""
    smooth_um: float = Field(default=2.5, ge=0)
    """Edge of the square over which the finished centre map is averaged."""
    largest_nucleus_um: float = Field(default=25.0, gt=0)
    """Longest nucleus that is outlined whole; longer ones cost halo."""
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the model may be run with, preferred one first."""


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "seed_radius_um": (2.0, 2.5, 3.0, 3.5, 4.0),
    "seed_threshold": (0.3, 0.4, 0.5, 0.6, 0.7),
    "threshold": (0.4, 0.45, 0.5, 0.55, 0.6, 0.65),
    "levels": ((), (0.5,), (0.6, 0.3), (0.7, 0.5, 0.3), (0.8, 0.65, 0.5, 0.35, 0.2)),
    "min_area_um2": (4.0, 6.0, 8.0, 12.0, 16.0),
}
"""Constants of post-processing that are tried on the val splits."""

PRESETS: Mapping[str, UNetConfig] = {
    "default": UNetConfig(),
    "smoke": UNetConfig(
        width=8,
        schedule=Schedule(steps=300, batch=6, crop_px=96, lr=5e-3, ema=0.98, check_every=100),
        augmentation=Augmentation(scales=(1.0,), stain_depth=0, litter=0),
        windows=(256, 512),
    ),
}
