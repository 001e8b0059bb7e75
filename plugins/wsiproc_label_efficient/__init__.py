"""Which pixels to annotate: a few patches are chosen, outlined, multiplied, and learnt from.

Lou et al. 2022, "Which Pixel to Annotate: a Label-Efficient Nuclei Segmentation Framework".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsiproc.datasets import Sample
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

    def select(
        self, config: MethodConfig, samples: Sequence[Sample], inputs: TrainingInputs
    ) -> tuple[Path, ...]:
        """Choose patches of `samples`; see `wsiproc.cli.select.Selecting`."""
        from wsiproc_label_efficient.selection import select

        assert isinstance(config, LabelEfficientConfig)
        return select(config, samples, inputs)

    def synthesize(
        self, config: MethodConfig, samples: Sequence[Sample], inputs: TrainingInputs
    ) -> tuple[Path, ...]:
        """Multiply annotated patches; see `wsiproc.cli.synthesize.Synthesizing`."""
        from wsiproc_label_efficient.synthesis import multiply

        assert isinstance(config, LabelEfficientConfig)
        return multiply(config, samples, inputs)


METHOD = LabelEfficient()
MODELS: tuple[ShippedModel, ...] = ()
