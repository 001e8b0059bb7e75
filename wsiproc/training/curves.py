"""A training's history as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsiproc.training import checkpoint


def draw_curves(history: Sequence[Mapping[str, float]], path: Path, best_step: int) -> None:
    """Losses on the left, what validation measured on the right, and a line where it was best.

    Parameters
    ----------
    history
        Rows of `wsiproc.training.loop.Fitted`: ``step``, ``loss`` of training, ``val_loss``, and
        any other measure.
    path
        A PNG file.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in history]
    names = [name for name in (history[0] if history else ()) if name != "step"]
    for name in names:
        axes = left if "loss" in name else right
        axes.plot(steps, [row[name] for row in history], marker=".", label=name)
    left.set_ylabel("loss")
    right.set_ylabel("on the validation split")
    for axes in (left, right):
        axes.axvline(best_step, color="0.7", linewidth=1, zorder=0)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.lines[:-1]:
            axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    checkpoint.write_atomically(path, buffer.getvalue())
