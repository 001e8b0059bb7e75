"""A U-Net trained on instance masks: the supervised upper line and the worked example.

A method of your own needs no more than this package has: settings with presets, a ``train`` that
ends in a carded ONNX file, and two entry points.  `train.py` imports torch, so it is imported
only when something is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_unet.config import PRESETS, UNetConfig

__all__ = ["METHOD", "MODELS", "UNet", "UNetConfig"]


@dataclass(frozen=True, slots=True)
class UNet:
    """The method ``unet``."""

    name: str = "unet"
    summary: str = "U-Net on outlined nuclei (instance masks): foreground and centres"
    config: type[MethodConfig] = UNetConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, which made the model that ships, and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train on the instance masks of `inputs.data`; see `wsiproc.methods.Method`."""
        from wsiproc_unet.train import train

        assert isinstance(config, UNetConfig)
        return train(config, inputs)


METHOD = UNet()
MODELS = (
    ShippedModel(
        name="unet",
        package="wsiproc_unet",
        resource="unet.onnx",
        sha256="8da3a2945ad73e17407c1ca1ce5bb9719c90c6a1ce02a2d49ac104b8857a33c6",
    ),
)
