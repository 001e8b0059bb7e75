"""Location-aware adversarial image reconstruction: a few images with points, many without.

Tian et al. 2022, "Semi-Supervised Nuclei Detection in Histopathology Images via Location-Aware
Adversarial Image Reconstruction".  A detector learns from points; where it detects nuclei in
images without any, a second network has to paint those images again, and what it cannot paint
tells the detector what it missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_lair.config import PRESETS, LAIRConfig

__all__ = ["LAIR", "METHOD", "MODELS", "LAIRConfig"]


@dataclass(frozen=True, slots=True)
class LAIR:
    """The method ``lair``."""

    name: str = "lair"
    summary: str = "points on a few images, many without: adversarial reconstruction (Tian 2022)"
    config: type[MethodConfig] = LAIRConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, ``paper`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train on the points of ``config.labelled`` images of ``inputs.data`` and all pixels.

        See `wsiproc.methods.Method`.
        """
        from wsiproc_lair.train import train

        assert isinstance(config, LAIRConfig)
        return train(config, inputs)


METHOD = LAIR()
MODELS = (
    ShippedModel(
        name="lair",
        package="wsiproc_lair",
        resource="lair.onnx",
        sha256="2b8bb98a372297b11786b28473bda07bcc675daec7cda206e8a2cc9f403d124c",
    ),
)
