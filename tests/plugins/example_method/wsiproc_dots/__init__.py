"""Centres of outlined nuclei: a small U-Net that learns to point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, TrainingInputs
from wsiproc_dots.config import PRESETS, DotsConfig


@dataclass(frozen=True, slots=True)
class Dots:
    """The method ``dots``."""

    name: str = "dots"
    summary: str = "outlined nuclei (instance masks): a small U-Net points at their centres"
    config: type[MethodConfig] = DotsConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train, or go on training; see `wsiproc.methods.Method`."""
        from wsiproc_dots.train import train

        assert isinstance(config, DotsConfig)
        return train(config, inputs)


METHOD = Dots()
