"""Settings of the method; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import UNCHANGED, FieldAugmentation, Schedule

Strategy = Literal["lair", "supervised", "self_training", "mean_teacher"]
Sparsifier = Literal["peaks", "stamped", "maxpool"]


class LAIRConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    mpp: float = Field(default=0.55, gt=0.05, lt=5)
    """µm per px that the detector works at."""
    labelled: int | None = Field(default=None, ge=1)
    """Images of the train split whose points are learnt from, drawn by the seed such that a small
    draw lies inside a larger one; the others give their pixels alone.  None: all of them."""
    strategy: Strategy = "lair"
    """What the second stage does with images without points: ``lair`` reconstructs them,
    ``supervised`` leaves them out, ``self_training`` believes the first stage on them, and
    ``mean_teacher`` follows the average of its own weights on them."""

    width: int = Field(default=24, ge=4)
    """Channels of the detector at full resolution (the paper names none)."""
    poolings: int = Field(default=3, ge=1, le=5)
    reconstruction_width: int = Field(default=16, ge=8, multiple_of=8)
    """Channels of the reconstruction network at full resolution (64 in the paper)."""
    critic_width: int = Field(default=16, ge=4)
    """Channels of the discriminators' first layer (64 in the paper)."""

    label_um: float = Field(default=2.75, gt=0)
    """Edge of the square that a point becomes (5 px in the paper)."""
    positive_weight: float = Field(default=1.0, gt=0)
    """Of the squares against the background in the loss; the paper has 1."""
    smooth_um: float = Field(default=1.65, ge=0)
    """Edge of the square over which probabilities are averaged before peaks are looked for: inside
    a square that was taught as one they are level."""

    use_rec: bool = True
    """Table 3, "Rec": images without points are reconstructed."""
    use_dimg: bool = True
    """Table 3, "D_img": a discriminator of images judges the reconstruction."""
    use_dins: bool = True
    """Table 3, "D_ins": another one judges it around nuclei."""
    rec_input: Literal["map", "features"] = "map"
    """Table 4: what the reconstruction begins with, detections or the encoder's last features."""
    sparsify: Sparsifier = "peaks"
    """How the map of probabilities is thinned out first: ``peaks`` keeps what no neighbour exceeds,
    ``stamped`` widens that to squares again, ``maxpool`` is the paper's word for word, a dilation
    that thins nothing out."""
    sparsify_um: float = Field(default=4.95, gt=0)
    """Edge of the square in which a peak is the largest (9 px in the paper)."""
    least_peak: float = Field(default=0.02, ge=0, lt=1)
    """Peaks below this are left out: level background has one in every square.  What is left out
    learns nothing from the reconstruction, so nuclei that are missed must not be."""
    instance_um: float = Field(default=6.05, gt=0)
    """Table 5, p: edge of the square around what is certain that D_ins sees (11 px)."""
    instance_threshold: float = Field(default=0.85, gt=0, lt=1)
    """Table 6, T_p: probability from which on a pixel is certain."""
    instance_mask: Literal["shared", "own"] = "shared"
    """Whether image and reconstruction are cut out by the detections on the image, or each by
    those on itself."""
    reconstruction_weight: float = Field(default=0.1, ge=0)
    """Alpha of eq. 4."""
    adversarial_weight: float = Field(default=0.005, ge=0)
    """Beta of eq. 4."""
    instance_weight: float = Field(default=0.1, ge=0)
    """Lambda of eq. 3."""
    given_colour: bool = True
    """Whether what is painted is given the mean colour of its crop (a choice).  No map tells the
    stain, and where that is all that differs, a nucleus more or less changes nothing."""
    adversarial: Literal["non_saturating", "saturating"] = "non_saturating"
    """What deceives the discriminators: that they call the reconstruction real, or, as printed,
    that they don't call it made, which has no gradient as long as they are right."""
    ramp: float = Field(default=0.1, ge=0, le=1)
    """Part of the second stage over which the weights of what is learnt without points rise."""

    theta: float = Field(default=0.9, gt=0.5, lt=1)
    """``self_training``: probability from which on the first stage is believed; background is
    believed below 1 - theta, and the rest is unknown."""
    consistency_weight: float = Field(default=10.0, ge=0)
    """``mean_teacher``: of the squared difference to the teacher."""

    pretrain: Schedule = Schedule(steps=1000, batch=8, crop_px=128, lr=2e-3, check_every=250)
    """First stage: the detector learns from points."""
    joint: Schedule = Schedule(steps=1500, batch=8, crop_px=128, lr=1e-3, check_every=250)
    """Second stage: of points, and beside them of as many crops without."""
    rates: Literal["cycle", "steps"] = "cycle"
    """How rates change: as `Schedule` says, or as in the paper, level but for a short rise at the
    beginning, and a tenth after three sevenths of the second stage."""
    reconstruction_lr: float = Field(default=3e-3, gt=0)
    """The paper's 0.1 is more than Adam and normalised convolutions can do with."""
    critics_lr: float = Field(default=1e-4, gt=0)
    """At the paper's 1e-5 discriminators are still at chance after 900 steps."""
    augmentation: FieldAugmentation = FieldAugmentation(litter=0.0, beyond=0.05)
    """Of all crops.  What is reconstructed is never restained, since no map tells the stain."""

    unscaled_mpp: float = Field(default=0.27, gt=0.05, lt=5)
    """Assumed of sets that don't say their µm per px, where nothing tells it."""
    largest_nucleus_um: float = Field(default=25.0, gt=0)
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the model may be run with, preferred one first."""


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "radius_um": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5),
    "threshold": (0.03, 0.05, 0.075, *(round(0.1 + 0.025 * i, 3) for i in range(33))),
}
"""Constants of post-processing that are tried on the val splits."""

PRESETS: Mapping[str, LAIRConfig] = {
    "default": LAIRConfig(),
    "paper": LAIRConfig(
        width=64,
        reconstruction_width=64,
        critic_width=64,
        pretrain=Schedule(
            steps=3000, batch=4, crop_px=256, lr=1e-2, weight_decay=0, check_every=500
        ),
        joint=Schedule(steps=7000, batch=4, crop_px=256, lr=1e-3, weight_decay=0, check_every=500),
        rates="steps",
        given_colour=False,
        least_peak=0.1,
        reconstruction_lr=1e-3,
        critics_lr=1e-5,
        ramp=0.07,
        augmentation=FieldAugmentation(**UNCHANGED.model_dump()),
        windows=(1024, 512),
    ),
    "smoke": LAIRConfig(
        labelled=4,
        width=8,
        poolings=2,
        reconstruction_width=8,
        critic_width=4,
        pretrain=Schedule(steps=120, batch=4, crop_px=64, lr=5e-3, ema=0.95, check_every=60),
        joint=Schedule(steps=60, batch=4, crop_px=64, lr=2e-3, ema=0.95, check_every=30),
        augmentation=FieldAugmentation(scales=(1.0,), stain_depth=0, litter=0, beyond=0.1),
        windows=(256, 512),
    ),
}
