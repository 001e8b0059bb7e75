"""Settings of segmentation from partial points; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wsiproc.methods import MethodConfig
from wsiproc.training.settings import FieldAugmentation, Schedule

Detection = Literal["self_training", "extended", "gaussian", "positives", "full"]
Centre = Literal["best", "head", "mean", "none"]


class LabelConfig(MethodConfig):
    """Voronoi and cluster labels (sec. IV-A).

    The preset ``paper`` has the sizes of the paper's code, which are px of 0.25 µm there.
    """

    edge_um: float = Field(default=0.5, gt=0)
    """Width of the lines between cells."""
    dot_um: float = Field(default=0.5, ge=0)
    """Around a point, what the Voronoi label takes for nucleus."""
    furthest_um: float = Field(default=7.0, gt=0)
    """Distances to the nearest point that are larger count as this; it weighs as much in the
    clustering as 200 of 255 in a colour."""
    around_um: float = Field(default=1.25, ge=0)
    """The cluster that has least of what lies so near to points is background."""
    speck_um2: float = Field(default=1.9, ge=0)
    """Smaller parts of the nuclear cluster are left out;"""
    widen_um: float = Field(default=1.25, ge=0)
    """the rest is widened by this, cell by cell,"""
    narrow_um: float = Field(default=1.5, ge=0)
    """its holes are filled, and it is narrowed by this."""
    clear_um: float = Field(default=2.5, ge=0)
    """Nearer to a point nothing is background."""
    lighter: bool = True
    """Whether the third cluster is background, too, where it is lighter than that: then it is
    glass or pale tissue and not what lies around nuclei.  Not in the paper, nor is the next."""
    far_um: float = Field(default=10.0, gt=0)
    """Further from every point all is background."""


class CRFConfig(MethodConfig):
    """The dense-CRF loss (sec. IV-C)."""

    on: bool = True
    """Table III: without it the training ends before `refine`."""
    weight: float = Field(default=0.005, ge=0)
    """beta of eq. 10, against the mean over pixels, as the paper's code has it; a pixel counts as
    many as it covers of 0.25 µm."""
    position_um: float = Field(default=2.25, gt=0)
    """sigma_pq of eq. 8."""
    colour: float = Field(default=0.1, gt=0)
    """sigma_rgb of eq. 8, for colours of 0 to 1."""
    reach: float = Field(default=3.0, gt=0)
    """Pixels further apart than this many `position_um`, along an axis, are left out."""


class PartialPointsConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that both networks work at."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Part of each image's points that is given (``--fraction``); a smaller part lies inside a
    larger one of the same seed."""
    complete: bool = True
    """Whether the data's own points are all nuclei that there are.  Then a `fraction` of 1 leaves
    nothing to propagate: `detection` is ``full``, and no detection is added to the points."""
    detection: Detection = "self_training"
    """Table I: ``self_training`` (ST-bg), ``extended`` (ext-GM), ``gaussian`` (GM), ``positives``
    (ST-nu), ``full`` (all points, whatever `fraction` is)."""
    rounds: int = Field(default=3, ge=0, le=10)
    """Of self-training, after the initial one."""
    restart: bool = False
    """Whether each round begins with the first weights again, as in the paper's code; else it goes
    on with those of the one before."""
    radius_um: float = Field(default=2.75, gt=0)
    """r1, the nuclei's mean radius; r2 is twice and sigma a quarter of it."""
    nucleus_weight: float = Field(default=10.0, gt=0)
    """w of eq. 2, near points."""
    background_below: float = Field(default=0.1, ge=0, lt=1)
    """eq. 3: less is background;"""
    background_above: float = Field(default=0.7, gt=0, le=1)
    """so is more than this over more area than a nucleus has."""
    detected_by: Literal["peaks", "components"] = "peaks"
    """What counts as a detection in training images: peaks, with the constants that are chosen on
    the val split, or components of the probability, as in the paper's code,"""
    detected_above: float = Field(default=0.35, gt=0, lt=1)
    """which are of more than this"""
    detected_um2: tuple[float, float] = (0.75, 12.5)
    """and larger than the first area, and no larger than the second."""
    labels: LabelConfig = LabelConfig()
    alpha: float = Field(default=0.5, ge=0, le=1)
    """eq. 6, figure 6: the Voronoi label's part of the loss; 1 leaves the cluster label out, and 0
    the Voronoi label."""
    crf: CRFConfig = CRFConfig()
    centre: Centre = "best"
    """What separates nuclei that touch: ``head``, a second output that is taught Gaussians of the
    points; ``mean``, the mean of the probability; ``none``, the outlines' own thickness; ``best``
    takes that which is best on the val split."""
    centre_weight: float = Field(default=1.0, ge=0)
    """Of the loss of the second output."""
    centre_sigma_um: float = Field(default=1.25, gt=0)
    """Standard deviation of those Gaussians; where two meet, the nearer point's holds."""
    centre_um: float = Field(default=1.5, ge=0)
    """Edge of the square over which the second output is averaged;"""
    mean_um: float = Field(default=3.5, ge=0)
    """that over which the probability is."""
    channels: tuple[int, ...] = Field(default=(24, 48, 96), min_length=1)
    """Of each layer of the encoder, the first also at the stem; ResNet-34 has 64, 128, 256, 512."""
    blocks: tuple[int, ...] = Field(default=(2, 2, 2), min_length=1)
    """Of two convolutions, in each layer; ResNet-34 has 3, 4, 6, 3.  More see further and cost
    margin."""
    stem_stride: Literal[1, 2] = 1
    """2 in ResNet; 1 keeps as fine a first layer at twice the µm per px."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Part of the decoders' channels that a step leaves out."""
    encoder_weights: Path | None = None
    """File of ImageNet's ResNet-34 with torchvision's names (``resnet34-*.pth``), where there is
    one; else weights begin at random."""
    detect: Schedule = Schedule(steps=450, check_every=150)
    """The detector's initial training, and each round of self-training; a strategy without rounds
    learns as long as all of these together, unless `restart`."""
    segment: Schedule = Schedule(steps=1500, check_every=150)
    """The segmenter's training on both labels,"""
    refine: Schedule = Schedule(steps=150, lr=2e-4, check_every=50)
    """and with the dense-CRF loss beside them."""
    augmentation: FieldAugmentation = FieldAugmentation()
    checked: int = Field(default=8, ge=1)
    """Val images that are looked at during training; thresholds are chosen on all."""
    largest_nucleus_um: float = Field(default=25.0, gt=0)
    """Longest nucleus that is outlined whole; longer ones cost halo."""
    windows: tuple[int, ...] = (1280, 512, 1024)
    """Edges of the windows the models may be run with, preferred one first."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.channels) != len(self.blocks):
            raise ValueError("channels and blocks need one number for each layer")
        return self

    @property
    def strategy(self) -> Detection:
        """How the detector learns; see `complete`."""
        everything = self.fraction == 1 and self.complete
        return "full" if everything and self.detection != "gaussian" else self.detection

    @property
    def repeats(self) -> int:
        """Rounds after the initial training of the detector."""
        return self.rounds if self.strategy in ("self_training", "positives") else 0


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "seed_radius_um": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
    "seed_threshold": (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "levels": ((), (0.5,), (0.6, 0.3), (0.4, 0.2), (0.8, 0.65, 0.5, 0.35, 0.2)),
    "min_area_um2": (4.0, 8.0, 12.0, 16.0),
}
"""Constants of the segmenter's post-processing that are tried on the val split."""
UNSEEN = ("threshold", "min_area_um2")
"""Those of them that points cannot choose."""
DETECTOR_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "threshold": tuple(round(0.1 + 0.05 * i, 2) for i in range(15)),
    "radius_um": (1.5, 2.0, 2.5, 3.0, 3.5),
}
"""Those of the detector's."""

_SMOKE = Schedule(steps=40, batch=6, crop_px=64, lr=5e-3, ema=0.9, check_every=20)

PRESETS: Mapping[str, PartialPointsConfig] = {
    "default": PartialPointsConfig(),
    "paper": PartialPointsConfig(
        mpp=0.25,
        restart=True,
        detected_by="components",
        labels=LabelConfig(furthest_um=5.0, narrow_um=1.75, lighter=False, far_um=1000.0),
        centre="none",
        channels=(64, 128, 256, 512),
        blocks=(3, 4, 6, 3),
        stem_stride=2,
        detect=Schedule(
            steps=960, batch=16, crop_px=224, lr=1e-4, weight_decay=1e-4, check_every=60
        ),
        segment=Schedule(
            steps=2400, batch=8, crop_px=224, lr=1e-4, weight_decay=1e-4, check_every=120
        ),
        refine=Schedule(
            steps=480, batch=8, crop_px=224, lr=1e-5, weight_decay=1e-4, check_every=120
        ),
        augmentation=FieldAugmentation(
            stain_gain=0.1,
            stain_depth=0,
            stain_turn=0.02,
            stain_shift=0.02,
            light=0.05,
            noise=0,
            blur_px=0,
            jpeg=False,
            litter=0,
            beyond=0,
        ),
        windows=(2048, 1536),
    ),
    "smoke": PartialPointsConfig(
        fraction=0.5,
        rounds=1,
        channels=(8, 16, 32),
        blocks=(1, 1, 1),
        detect=_SMOKE,
        segment=Schedule(steps=120, batch=6, crop_px=64, lr=5e-3, ema=0.95, check_every=40),
        refine=Schedule(steps=10, batch=4, crop_px=64, lr=1e-3, ema=0.9, check_every=10),
        augmentation=FieldAugmentation(scales=(1.0,), stain_depth=0, litter=0),
        windows=(256, 512),
    ),
}
