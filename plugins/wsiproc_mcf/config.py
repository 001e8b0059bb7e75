"""Settings of the mutual-complementing framework; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import UNCHANGED, Augmentation, Schedule
from wsiproc_mcf.filter_config import FilterConfig

Loss = Literal["confidence", "cross_entropy", "weighted"]


class SynthesisConfig(MethodConfig):
    """Samples made of confident nuclei on confident background (sec. 2.2, "Synthetic samples").

    The paper gives no size: all are choices.
    """

    share: float = Field(default=0.5, ge=0, lt=1)
    """Part of a batch that is synthetic; 0 leaves it out (Table 3, "-syn")."""
    grow_um: float = Field(default=0.25, ge=0)
    """How far a confident nucleus is widened: it was cut inside its border."""
    enlarge: tuple[float, float] = (1.0, 1.8)
    """Least and most that a nucleus is enlarged by: so it keeps its own border, and samples have
    nuclei of all sizes."""
    tile_um: float = Field(default=8.0, gt=0)
    """Edge of the squares of pure background that a sample is laid out with."""
    feather_um: float = Field(default=1.0, ge=0)
    """Width over which neighbouring squares pass into one another."""
    soft_um: float = Field(default=0.25, ge=0)
    """Standard deviation of a pasted nucleus' soft edge."""
    nuclei_per_mm2: tuple[float, float] = (3000.0, 12000.0)
    """Fewest and most nuclei of a sample."""


class MiningConfig(MethodConfig):
    """Templates found where the network sees a nucleus and no filter answers (eq. 7).

    Only the 0.65 is the paper's.
    """

    per_round: int = Field(default=2, ge=0)
    """Templates added by a round, at most."""
    most_templates: int = Field(default=24, ge=1)
    """Templates that are enough."""
    certain: float = Field(default=0.65, gt=0, lt=1)
    """t4 of eq. 7: probability above which the network is certain of a nucleus."""
    clear_um: float = Field(default=0.75, ge=0)
    """Detected nuclei are widened by this before they are taken away, lest rings remain."""
    open_um: float = Field(default=0.75, ge=0)
    """Radius of the opening that takes threads away."""
    areas: tuple[float, float] = (0.5, 2.0)
    """Smallest and largest area of a template, against the median nucleus."""
    solidity: float = Field(default=0.85, gt=0, le=1)
    """Smallest part of its convex hull that a template fills."""
    answered: float = Field(default=0.7, gt=0)
    """A template that a filter answers with more than this is not missing."""
    pool: int = Field(default=40, ge=1)
    """Most certain candidates among which the most unlike are chosen."""


class MCFConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that both branches work at."""
    templates: int = Field(default=12, ge=1)
    """N: nuclei whose boxes are the only labels learnt from; ``--templates`` names one's own."""
    rounds: int = Field(default=2, ge=1, le=10)
    """How often the branches complement each other."""
    filters: FilterConfig = FilterConfig()
    mining: MiningConfig = MiningConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    segmentation: bool = True
    """Table 3, "-seg": without it the response of the detection branch is the segmentation."""
    loss: Loss = "confidence"
    """Table 3: ``cross_entropy`` ("CE") takes all that is no confident nucleus for background,
    ``weighted`` ("+weig") weighs by the response."""
    confident_above: float = Field(default=0.5, ge=0, lt=1)
    """Response above which a detected nucleus is taught; one below it is unknown (a choice)."""
    nucleus_weight: float = Field(default=0.3, gt=0)
    """Of the mean over confident nuclei, against that over confident background.  1 outlines nuclei
    too widely; the paper prints sums, by which every pixel would count the same."""
    self_finetuning: bool = True
    """Table 3, "-self": without it a round ends with its first stage."""
    self_nucleus: float = Field(default=0.6, gt=0, lt=1)
    """t2 of eq. 6: probability above which the network believes itself."""
    self_background: float = Field(default=0.4, gt=0, lt=1)
    """t3 of eq. 6: probability below which it does."""
    width: int = Field(default=16, ge=4)
    """Channels of the segmenter at full resolution."""
    poolings: int = Field(default=3, ge=1, le=5)
    learn: Schedule = Schedule(steps=800, check_every=100)
    """The first round's learning from pseudo masks and synthetic samples,"""
    learn_again: Schedule = Schedule(steps=400, lr=1e-3, check_every=100)
    """that of later rounds, which begin with the weights of the one before,"""
    finetune: Schedule = Schedule(steps=120, lr=2e-4, check_every=60)
    """and self-finetuning."""
    augmentation: Augmentation = Augmentation(
        litter=0, stain_depth=0, scales=(0.85, 1.0, 1.2), beyond=0.3
    )
    unlabelled_share: float = Field(default=0.5, ge=0, lt=1)
    """Part of the crops from ``--unlabelled`` sets."""
    unscaled_mpp: float = Field(default=0.27, gt=0.05, lt=5)
    """Assumed of sets that don't say their µm per px."""
    centre_um: float = Field(default=3.5, gt=0)
    """Edge of the square over which probabilities are averaged to find centres."""
    largest_nucleus_um: float = Field(default=25.0, gt=0)
    """Longest nucleus that is outlined whole; longer ones cost halo."""
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the models may be run with, preferred one first."""


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "threshold": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95),
    "seed_radius_um": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
    "seed_threshold": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "levels": ((), (0.5,), (0.6, 0.3), (0.8, 0.65, 0.5, 0.35, 0.2)),
    "min_area_um2": (4.0, 8.0, 12.0, 16.0, 24.0),
}
"""Constants of post-processing that are tried on the val split."""

PRESETS: Mapping[str, MCFConfig] = {
    "default": MCFConfig(),
    "paper": MCFConfig(
        mpp=0.25,
        rounds=3,
        filters=FilterConfig(
            template_um=8.0,
            weighting=True,
            weighting_of_crops=True,
            top_h=3,
            regularisation=0.01,
            background_below=0.4,
            colour_weight=1.0,
        ),
        confident_above=0.0,
        nucleus_weight=1.0,
        synthesis=SynthesisConfig(grow_um=0.75, enlarge=(1.0, 1.3)),
        width=64,
        poolings=4,
        learn=Schedule(steps=4000, crop_px=256, lr=1e-4, check_every=500),
        learn_again=Schedule(steps=1500, crop_px=256, lr=1e-4, check_every=500),
        finetune=Schedule(steps=1000, crop_px=256, lr=1e-5, check_every=500),
        augmentation=UNCHANGED,
        windows=(1024, 512),
    ),
    "smoke": MCFConfig(
        templates=4,
        rounds=2,
        width=8,
        poolings=2,
        learn=Schedule(steps=60, crop_px=64, lr=5e-3, ema=0.95, check_every=30),
        learn_again=Schedule(steps=30, crop_px=64, lr=2e-3, ema=0.95, check_every=30),
        finetune=Schedule(steps=20, crop_px=64, lr=1e-3, ema=0.95, check_every=20),
        augmentation=Augmentation(scales=(1.0,), stain_depth=0, litter=0),
        windows=(256, 512),
    ),
}
