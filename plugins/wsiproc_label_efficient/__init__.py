"""Which pixels to annotate: a few patches are chosen, outlined, multiplied, and learnt from.

Lou et al. 2022, "Which Pixel to Annotate: a Label-Efficient Nuclei Segmentation Framework".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsiproc.methods import MethodConfig, ShippedModel, TrainingInputs
from wsiproc_label_efficient.config import PRESETS, LabelEfficientConfig

__all__ = ["METHOD", "MODELS", "LabelEfficient", "LabelEfficientConfig"]


@dataclass(frozen=True, slots=True)
class LabelEfficient:
    """The method ``label_efficient``."""

    name: str = "label_efficient"
    summary: str = "outlines in a few chosen patches, multiplied by a GAN (Lou 2022)"
    config: type[MethodConfig] = LabelEfficientConfig

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """``default``, ``paper`` and ``smoke``."""
        return PRESETS

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Choose patches of ``inputs.data``, multiply them, and train; all stages go on.

        See `wsiproc.methods.Method`.
        """
        from wsiproc_label_efficient.train import train

        assert isinstance(config, LabelEfficientConfig)
        return train(config, inputs)

    def select(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Choose patches of ``inputs.data``; see `wsiproc.methods.Selecting`."""
        from wsiproc_label_efficient.selection import select

        assert isinstance(config, LabelEfficientConfig)
        return select(config, inputs)

    def synthesize(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Multiply the patches of ``inputs.data``; see `wsiproc.methods.Synthesizing`."""
        from wsiproc_label_efficient.synthesis import synthesize_sets

        assert isinstance(config, LabelEfficientConfig)
        return synthesize_sets(config, inputs)


METHOD = LabelEfficient()
MODELS: tuple[ShippedModel, ...] = ()
