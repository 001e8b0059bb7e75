"""What a row of a table is, and a run of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Parameters
    ----------
    title
        As the paper names it.
    method
        What trains it.
    settings, per_dataset
        Changed in the method's preset, as ``--set`` takes them; the second by data set.
    budget
        Changed in the preset ``default`` beside them, so that this machine can do the row; other
        presets have sizes of their own.
    model
        By data set, a model that is there already, instead of a training.
    radius_um
        The paper's distance within which a detection counts, where it is not 3 µm.
    """

    title: str
    method: str = "mcf"
    settings: Mapping[str, str] = field(default_factory=dict)
    per_dataset: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    budget: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, str] = field(default_factory=dict)
    radius_um: float | None = None

    def changes(self, dataset: str, preset: str) -> dict[str, str]:
        """All settings that differ from the preset's."""
        budget = self.budget if preset == "default" else {}
        return {**budget, **self.settings, **self.per_dataset.get(dataset, {})}


@dataclass(frozen=True)
class Run:
    """A row on a data set, with a seed: what one JSON is of."""

    dataset: str
    row: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its JSON, and of the folder of its training."""
        return f"{self.dataset}-{self.row}-{self.seed}"
