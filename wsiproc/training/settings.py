"""Settings that methods share; neither torch nor arrays, so that listing methods stays quick."""

from __future__ import annotations

import math

from pydantic import Field

from wsiproc.methods import MethodConfig


class Schedule(MethodConfig):
    """How long and how fast to learn."""

    steps: int = Field(default=3000, ge=1)
    """Batches that are learnt from."""
    batch: int = Field(default=8, ge=1)
    """Crops of a step."""
    crop_px: int = Field(default=128, ge=8)
    """Edge of a crop in model px."""
    lr: float = Field(default=2e-3, gt=0)
    """Highest learning rate: reached after `warm_up`, then falling along a cosine to none."""
    warm_up: float = Field(default=0.15, gt=0, lt=1)
    """Part of the steps during which the rate rises."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """How strongly weights are drawn to 0 (AdamW)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """How much the averaged weights keep of themselves at a step; they are what is validated."""
    check_every: int = Field(default=100, ge=1)
    """Steps between validations."""


class Augmentation(MethodConfig):
    """How far crops are changed; 0 turns a part off."""

    scales: tuple[float, ...] = (0.8, 0.9, 1.0, 1.12, 1.25)
    """Enlargements that images are prepared in."""
    stain_gain: float = Field(default=0.35, ge=0, lt=1)
    """Each stain is multiplied by 1 plus or minus up to this."""
    stain_depth: float = Field(default=1.1, ge=0)
    """Half of the crops are made darker, all stains at once, by up to e to the power of this:
    sections are cut thicker and stained longer elsewhere."""
    stain_turn: float = Field(default=0.08, ge=0, lt=1)
    """Each stain's colour vector is moved by up to this in each channel."""
    stain_shift: float = Field(default=0.04, ge=0)
    """Each stain is shifted by up to this optical density."""
    light: float = Field(default=0.1, ge=0, lt=1)
    """Brightness and contrast change by up to this part."""
    blur_px: float = Field(default=1.0, ge=0)
    """Largest standard deviation of the blur that a third of the crops get."""
    noise: float = Field(default=6.0, ge=0)
    """Largest standard deviation of the noise (of 255) that a third of the crops get."""
    jpeg: bool = True
    """Whether a third of the crops are compressed, at qualities 40 to 95."""
    beyond: float = Field(default=0.15, ge=0, le=1)
    """Part of the crops that reach past the image, into the white that a slide ends in."""
    litter: float = Field(default=0.06, ge=0, le=1)
    """Part of the crops on which keratin or ink is drawn, as background."""


class FieldAugmentation(Augmentation):
    """How images with points are changed (`wsiproc.training.turning`).

    Of `scales` the least and the largest count: enlargements are drawn between them.
    """

    turned: float = Field(default=0.5, ge=0, le=1)
    """Part of the crops that are turned by any angle; the others are by right angles."""


UNCHANGED = Augmentation(
    scales=(1.0,),
    stain_gain=0,
    stain_depth=0,
    litter=0,
    stain_turn=0,
    stain_shift=0,
    light=0,
    blur_px=0,
    noise=0,
    jpeg=False,
    beyond=0,
)
"""Images as they are."""

RIGHT_ANGLES = FieldAugmentation(**UNCHANGED.model_dump(), turned=0)
"""Images with points or outlines as they are, but for right angles and mirror images."""


def rate(step: int, schedule: Schedule) -> float:
    """Learning rate of `step`: up in a line, down in half a cosine (Smith 2018, one cycle)."""
    rise = max(1.0, schedule.warm_up * schedule.steps)
    if step < rise:
        return schedule.lr * min(1.0, (step + 1) / rise)
    fall = (step - rise) / max(1.0, schedule.steps - rise)
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
