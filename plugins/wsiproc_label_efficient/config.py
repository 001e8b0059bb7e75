"""Settings of all stages; no torch.  Those of the segmenters stand in `segmenter_config`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from wsiproc.methods import MethodConfig
from wsiproc_label_efficient.segmenter_config import (
    PAPER_HOVER,
    PAPER_MASK_RCNN,
    PAPER_ROUNDS,
    SMOKE_HOVER,
    SMOKE_MASK_RCNN,
    SMOKE_ROUNDS,
    HoverConfig,
    MaskRCNNConfig,
    RoundsConfig,
    Segmenter,
)

Way = Literal["cps", "kmeans", "random", "centre"]
Source = Literal["self", "model", "backbone"]
Synthesis = Literal["csingan", "singan", "naive"]


class FeatureConfig(MethodConfig):
    """What patches are compared by."""

    source: Source = "self"
    """``self``: a small network that learns from the pool itself, without labels; ``model``: inner
    features of one of our models; ``backbone``: a classification network, as in the paper."""
    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px that ``self`` and ``backbone`` look at; a model looks at its own."""
    model: str = "partial_points"
    """``model``: its name, or its ONNX file.  One that has learnt from labels of the pool itself
    measures nothing there."""
    node: str | None = None
    """``model``: the value of the graph that is taken; None: the deepest."""
    architecture: str = "resnet50"
    """``backbone``: a name of torchvision, or one of timm as ``timm:NAME``."""
    weights: Path | None = None
    """``backbone``: file of its weights (a state dict).  No weights can be downloaded by this."""
    normalise: bool = True
    """``backbone``: whether colours are normalised as ImageNet's; the paper's code does not."""
    dense: bool = True
    """``backbone``: one convolutional pass an image and means over boxes; else a pass a window, as
    in the paper.  The others are always dense."""
    width: int = Field(default=24, ge=4)
    """``self``: channels at the first of the network's four levels."""
    embedding: int = Field(default=64, ge=4)
    """``self``: numbers a place is described by."""
    steps: int = Field(default=300, ge=0)
    """``self``: steps of learning; 0 leaves the network as it began."""
    batch: int = Field(default=24, ge=4)
    """``self``: pairs of crops in a step."""
    crop_um: float = Field(default=32.0, gt=0)
    """``self``: edge of a crop."""
    lr: float = Field(default=2e-3, gt=0)
    """``self``: highest rate."""


class SelectConfig(MethodConfig):
    """Which patches are annotated (sec. III-A)."""

    method: Way = "cps"
    """``cps``: consistency-based patch selection; ``kmeans``: the patch nearest to the centre of
    each cluster; ``random``: any; ``centre``: the middles of images drawn at random."""
    k: int = Field(default=9, ge=1)
    """Patches to annotate (K1: 6 for TNBC, 9 for Kumar's set, 18 for MoNuSeg)."""
    k2: int = Field(default=4, ge=1)
    """Clusters of the quarters of a cluster's patches."""
    size_um: float = Field(default=64.0, gt=0)
    """Edge of a patch (256 px of 0.25 µm)."""
    stride_um: float = Field(default=4.0, gt=0)
    """Between patches that are looked at.  Quarters have to lie on the same lattice, so half of
    `size_um` is a multiple (the paper's 15 px are none; 16 px are)."""
    second: bool = True
    """``cps``: whether the quarters' distance to what is typical of quarters counts (Table I)."""
    third: bool = True
    """``cps``: whether the largest distance between two quarters counts (Table I)."""
    most_overlap: float = Field(default=0.0, ge=0, lt=1)
    """Largest intersection over union of two chosen patches; not in the paper."""
    starts: int = Field(default=10, ge=1)
    """Of k-means, the best of which is taken."""
    features: FeatureConfig = FeatureConfig()

    @model_validator(mode="after")
    def _on_a_lattice(self) -> Self:
        steps = self.size_um / 2 / self.stride_um
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
            raise ValueError("half of size_um must be a multiple of stride_um")
        return self


class SynthesisConfig(MethodConfig):
    """Pairs of images and masks made from each patch (sec. III-B)."""

    how: Synthesis = "csingan"
    """Table II: ``csingan``: a conditional SinGAN with critics of the nuclei and of what lies
    between; ``singan``: without those two; ``naive``: none, only the patches themselves."""
    mpp: float = Field(default=0.5, gt=0.05, lt=5)
    """µm per px of what is made."""
    per_patch: int = Field(default=50, ge=1)
    """Pairs made from each patch."""
    denser: tuple[float, float] = (0.2, 0.6)
    """Nuclei are this much more numerous than in the patch, where there is room."""
    margin_um: float = Field(default=5.5, ge=0)
    """Masks are drawn on a larger field, and cropped by this, so that nuclei are cut at edges."""
    gap_um: tuple[float, float] = (0.0, 0.5)
    """Between nuclei, beside the radius of the one that is laid down."""
    scales: int = Field(default=4, ge=1)
    """Of the pyramid of generators."""
    coarsest: float = Field(default=0.5, gt=0, le=1)
    """Edge of the first scale, as a part of the patch's."""
    width: int = Field(default=16, ge=4)
    """Channels of generators and critics at the first scale."""
    widen_every: int = Field(default=4, ge=1)
    """Scales after which `width` is doubled."""
    widest: int = Field(default=128, ge=4)
    """Most channels, however often `width` was doubled."""
    blocks: int = Field(default=5, ge=2)
    """Convolutions of each network."""
    critic_norm: Literal["none", "batch"] = "none"
    """Of critics.  Over a batch it couples samples, which the gradient penalty does not mean."""
    tinted: bool = True
    """Whether the first scale begins from the mean colours of the patch's nuclei and of what lies
    between them, so as not to spend its steps on these; the paper begins from nothing."""
    steps: int = Field(default=400, ge=1)
    """Of the generator, at each scale."""
    batch: int = Field(default=1, ge=1)
    """Masks in a step."""
    critic_steps: int = Field(default=1, ge=1)
    """Of the critics in each of the generator's (3 in the paper's code)."""
    lr: float = Field(default=5e-4, gt=0)
    """Of both (Adam, betas 0.5 and 0.999)."""
    reconstruction: float = Field(default=10.0, ge=0)
    """Alpha, of the difference of the patch made anew from its own mask."""
    penalty: float = Field(default=0.1, ge=0)
    """Lambda of the gradient penalty (WGAN-GP)."""
    penalty_every: int = Field(default=4, ge=1)
    """Steps of the critics between penalties, which then count so many times more."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the noise, as a part of the error of the scale before."""
    first_noise: float = Field(default=0.2, gt=0)
    """Standard deviation of the noise at the first scale, of images from -1 to 1 (1 in the paper's
    code)."""
    whole_weight: float = Field(default=1.0, ge=0)
    """Beta, of the critic of the whole image."""
    nuclei_weight: float = Field(default=1.0, ge=0)
    """Gamma, of the critic of the nuclei."""
    between_weight: float = Field(default=1.0, ge=0)
    """Delta, of the critic of what lies between nuclei."""
    own_colours: bool = True
    """Whether a painted pixel takes the nearest colour that the patch has, in its nuclei or between
    them: after a few steps, places unlike all of the patch come out in colours that no stain has.
    Not in the paper."""
    tries: int = Field(default=5, ge=1)
    """Images made of a mask until its nuclei are darker than what lies between; then none is."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for low, high in (self.denser, self.gap_um):
            if not 0 <= low <= high:
                raise ValueError("ranges have to begin at 0 or more, and may not fall")
        return self


class LabelEfficientConfig(MethodConfig):
    """Lengths in µm, except where a name ends in ``_px``."""

    annotated: Literal["patches", "all"] = "patches"
    """Whether chosen patches of the train split are learnt from, or all of it: full supervision, to
    compare with, in which nothing is chosen or synthesised."""
    select: SelectConfig = SelectConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    segmenter: Segmenter = "hover"
    """``hover`` (HoVer-Net's maps) or ``mask_rcnn``."""
    hover: HoverConfig = HoverConfig()
    mask_rcnn: MaskRCNNConfig = MaskRCNNConfig()
    rounds: RoundsConfig = RoundsConfig()
    largest_nucleus_um: float = Field(default=25.0, gt=0)
    """Longest nucleus that is outlined whole; longer ones cost halo."""


PRESETS: Mapping[str, LabelEfficientConfig] = {
    "default": LabelEfficientConfig(),
    "paper": LabelEfficientConfig(
        select=SelectConfig(
            most_overlap=0.0,
            features=FeatureConfig(source="backbone", mpp=0.25, dense=False),
        ),
        synthesis=SynthesisConfig(
            mpp=0.25,
            scales=5,
            width=32,
            critic_norm="batch",
            penalty_every=1,
            tinted=False,
            first_noise=1.0,
            own_colours=False,
            steps=3000,
            batch=8,
            critic_steps=3,
        ),
        hover=PAPER_HOVER,
        mask_rcnn=PAPER_MASK_RCNN,
        rounds=PAPER_ROUNDS,
    ),
    "smoke": LabelEfficientConfig(
        select=SelectConfig(
            k=4,
            size_um=48.0,
            stride_um=8.0,
            starts=2,
            features=FeatureConfig(width=4, embedding=16, steps=10, batch=6),
        ),
        synthesis=SynthesisConfig(per_patch=4, scales=2, width=6, blocks=3, steps=12, batch=1),
        hover=SMOKE_HOVER,
        mask_rcnn=SMOKE_MASK_RCNN,
        rounds=SMOKE_ROUNDS,
    ),
}
