"""Settings of Mask R-CNN; no torch, so that listing methods stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from wsiproc.methods import MethodConfig


class MaskRCNNSettings(MethodConfig):
    """Mask R-CNN on a feature pyramid (He et al. 2017; Lin et al. 2017); lengths in µm."""

    backbone: Literal["small", "resnet50", "resnext101_64x4d"] = "small"
    """``small`` begins at random, and its levels are 2, 4, 8, ... px apart; the others are
    torchvision's, at 4, 8, 16 and 32 px."""
    weights: Path | None = None
    """File of torchvision's state, of the backbone or of a whole Mask R-CNN: what fits is taken.
    Its normalisation and its first two stages then stay as they are."""
    widths: tuple[int, ...] = Field(default=(32, 64, 128, 160), min_length=1)
    """Channels of the small backbone's levels, finest first."""
    channels: int = Field(default=48, ge=4)
    """Of every level of the pyramid."""
    anchors_um: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    """Edge of the square anchor of each level; one more than there are levels adds a coarser
    level."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height by width of anchors."""
    box_features: int = Field(default=256, ge=8)
    """Width of the two layers behind the 7 x 7 regions."""
    mask_convolutions: int = Field(default=2, ge=1)
    """Before the 14 x 14 regions are enlarged to 28 x 28."""
    mask_channels: int = Field(default=48, ge=4)
    """Of those convolutions."""
    anchors_sampled: int = Field(default=256, ge=2)
    """Anchors of an image that the proposals' loss is taken over, at most half of them nuclei."""
    regions_sampled: int = Field(default=128, ge=4)
    """Proposals of an image that the boxes' loss is over, at most a quarter of them nuclei."""
    candidates: int = Field(default=1000, ge=1)
    """Anchors of a level that become candidates, best first."""
    proposals: int = Field(default=500, ge=1)
    """Of a window, after overlapping candidates were suppressed."""
    proposal_overlap: float = Field(default=0.7, gt=0, lt=1)
    """Candidates with a larger intersection over union suppress each other."""
    detections: int = Field(default=1000, ge=1)
    """Nuclei of a class and a window, at most."""
    detection_overlap: float = Field(default=0.5, gt=0, lt=1)
    """Detections with a larger intersection over union suppress each other."""
    least_score: float = Field(default=0.05, ge=0, lt=1)
    """Detections below are left out of the graph's outputs."""

    @property
    def strides(self) -> tuple[int, ...]:
        """px between the cells of each level of the pyramid."""
        first, count = (2, len(self.widths)) if self.backbone == "small" else (4, 4)
        return tuple(first << level for level in range(max(count, len(self.anchors_um))))

    def margin_px(self, largest_um: float, mpp: float) -> int:
        """The largest nucleus in whole steps of the lattice of windows."""
        step = self.strides[-1]
        return step * -int(-largest_um / mpp // step)

    def check_edge(self, name: str, edge: int) -> None:
        """Hold a setting `name`, an edge in px, to whole cells of the coarsest level.

        Raises
        ------
        ValueError
            If it is none of whole cells.
        """
        coarsest = self.strides[-1]
        if edge % coarsest:
            raise ValueError(f"{name} {edge} is no multiple of the coarsest level, {coarsest}")

    @model_validator(mode="after")
    def _levels_have_anchors(self) -> Self:
        levels = len(self.widths) if self.backbone == "small" else 4
        if len(self.anchors_um) not in (levels, levels + 1):
            raise ValueError(
                f"{levels} levels need as many anchors_um, or one more; not {len(self.anchors_um)}"
            )
        return self


LARGE = MaskRCNNSettings(
    backbone="resnet50",
    channels=256,
    anchors_um=(2.0, 4.0, 8.0, 16.0, 32.0),
    box_features=1024,
    mask_convolutions=4,
    mask_channels=256,
    regions_sampled=512,
    candidates=2000,
    proposals=1000,
)
"""The published network, with anchors for nuclei: 8, 16, 32, 64 and 128 px at .25 µm per px."""

TINY = MaskRCNNSettings(
    widths=(16, 24, 32),
    channels=16,
    anchors_um=(5.0, 10.0, 20.0),
    box_features=48,
    mask_convolutions=1,
    mask_channels=16,
    regions_sampled=64,
    candidates=300,
    proposals=200,
)
"""Large enough for drawn nuclei, and learnt within a minute."""
