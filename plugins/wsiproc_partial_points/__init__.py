"""Nuclei from points on some of them: a detector that learns the background, then a segmenter.

Qu et al. 2020, "Weakly Supervised Deep Nuclei Segmentation Using Partial Points Annotation in
Histopathology Images".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_partial_points.config import PRESETS, PartialPointsConfig

__all__ = ["METHOD", "MODELS", "PartialPoints", "PartialPointsConfig"]


@dataclass(frozen=True, slots=True)
class PartialPoints:
    """The method ``partial_points``."""

    name: str = "partial_points"
    summary: str = "points on some nuclei: a detector, then outlines without masks (Qu 2020)"
    config: type[MethodConfig] = PartialPointsConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, ``paper`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train on the points, or the centres of the instances, of ``inputs.data``.

        Returns the segmenter and the detector; see `wsiproc.methods.Method`.
        """
        from wsiproc_partial_points.train import train

        assert isinstance(config, PartialPointsConfig)
        return train(config, inputs)


METHOD = PartialPoints()
MODELS = (
    ShippedModel(
        name="partial_points",
        package="wsiproc_partial_points",
        resource="partial_points.onnx",
        sha256="7f50d375bcaef6245ffc6d1122e114b79ed2e4dcfc9551483d2cf0928238aeea",
    ),
    ShippedModel(
        name="partial_points_detector",
        package="wsiproc_partial_points",
        resource="partial_points_detector.onnx",
        sha256="96119048b44bd1410cd83d6a2c256ce50ba32946bb7ab2f03121d445e5ea7727",
    ),
)
