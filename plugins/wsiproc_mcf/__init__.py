"""Mutual complementing: a dozen boxed nuclei teach two branches, and these teach each other.

Feng et al. 2022, "Mutual-Complementing Framework for Nuclei Detection and Segmentation in Pathology
Image".  Correlation filters of a few nuclei find others; a U-Net learns from what they are certain
of; what it sees and they don't becomes a filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_mcf.config import PRESETS, MCFConfig

__all__ = ["MCF", "METHOD", "MODELS", "MCFConfig"]


@dataclass(frozen=True, slots=True)
class MCF:
    """The method ``mcf``."""

    name: str = "mcf"
    summary: str = "a dozen boxed nuclei: correlation filters and a U-Net in turn (Feng 2022)"
    config: type[MethodConfig] = MCFConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, which made the model that ships, ``paper`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train on N boxes of ``inputs.data``, or on those of ``inputs.templates``.

        Returns the segmenter and the detector; see `wsiproc.methods.Method`.
        """
        from wsiproc_mcf.train import train

        assert isinstance(config, MCFConfig)
        return train(config, inputs)


METHOD = MCF()
MODELS = (
    ShippedModel(
        name="mcf",
        package="wsiproc_mcf",
        resource="mcf.onnx",
        sha256="b6a2767f63e75039e6917d1661dc505debeb47cec35c785513bcf7a00a4b74f3",
    ),
    ShippedModel(
        name="mcf_detector",
        package="wsiproc_mcf",
        resource="mcf_detector.onnx",
        sha256="43aa826dd3d34679592777061fcc290f95cc9f79047d70911e7a4773c9b308fc",
    ),
)
