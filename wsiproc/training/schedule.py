"""How long and how fast a stage learns; no torch, so that settings can be read without it."""

from __future__ import annotations

import math

from pydantic import Field

from wsiproc.methods import MethodConfig


class Schedule(MethodConfig):
    """How long and how fast to learn."""

    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=8, ge=1)
    crop_px: int = Field(default=128, ge=8)
    """Edge of a crop in model px."""
    lr: float = Field(default=2e-3, gt=0)
    """Highest learning rate: reached after `warm_up`, then falling along a cosine to none."""
    warm_up: float = Field(default=0.15, gt=0, lt=1)
    """Part of the steps during which the rate rises."""
    weight_decay: float = Field(default=1e-2, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """How much the averaged weights keep of themselves at a step; they are what is validated."""
    check_every: int = Field(default=100, ge=1)
    """Steps between validations."""


def rate(step: int, schedule: Schedule) -> float:
    """Learning rate of `step`: up in a line, down in half a cosine (Smith 2018, one cycle)."""
    rise = max(1.0, schedule.warm_up * schedule.steps)
    if step < rise:
        return schedule.lr * min(1.0, (step + 1) / rise)
    fall = (step - rise) / max(1.0, schedule.steps - rise)
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
