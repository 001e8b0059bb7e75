"""Settings of ``dots``; no torch."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import UNCHANGED, Augmentation, Schedule


class DotsConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """The network's resolution."""
    width: int = Field(default=16, ge=4)
    """Channels at full resolution."""
    poolings: int = Field(default=3, ge=1, le=5)
    """How often resolution is halved."""
    dot_um: float = Field(default=1.25, gt=0)
    """Standard deviation of the dot that is drawn at a nucleus' centre."""
    dot_weight: float = Field(default=5.0, ge=0)
    """How much more than background a dot counts: most pixels are background."""
    schedule: Schedule = Schedule(steps=2000)
    augmentation: Augmentation = Augmentation()
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the model may be run with, preferred one first."""


PRESETS: Mapping[str, DotsConfig] = {
    "default": DotsConfig(),
    "smoke": DotsConfig(
        width=8,
        poolings=2,
        schedule=Schedule(steps=80, batch=4, crop_px=64, lr=1e-2, ema=0.9, check_every=40),
        augmentation=UNCHANGED,
        windows=(256, 512),
    ),
}
