"""Nuclei from outlines of some of them: Mask R-CNN that takes unknown nuclei for unknown.

Feng et al. 2019, "Robust Nucleus Detection With Partially Labeled Exemplars", IEEE Access 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_exemplar.config import PRESETS, ExemplarConfig

__all__ = ["METHOD", "MODELS", "Exemplar", "ExemplarConfig"]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """The method ``exemplar``."""

    name: str = "exemplar"
    summary: str = "outlines of some nuclei: Mask R-CNN that ignores what is unknown (Feng 2019)"
    config: type[MethodConfig] = ExemplarConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, ``paper`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train on the outlines of ``inputs.data``, complete or not; see `Method`."""
        from wsiproc_exemplar.train import train

        assert isinstance(config, ExemplarConfig)
        return train(config, inputs)


METHOD = Exemplar()
MODELS = (
    ShippedModel(
        name="exemplar",
        package="wsiproc_exemplar",
        resource="exemplar.onnx",
        sha256="081af09e5afc33a783eb57d0812fc15500f55cfd9984b5ca4a8ac56cb85d4387",
    ),
)
