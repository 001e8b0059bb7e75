"""The rows of RESULTS.md: which settings each has, and what the paper says of it."""

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
    model
        A model that is there already, instead of a training.
    """

    title: str
    method: str = "mcf"
    settings: Mapping[str, str] = field(default_factory=dict)
    per_dataset: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    model: str = ""


_BOXES = {"tnbc": {"templates": "12"}, "kumar": {"templates": "10"}}


def _row(title: str, **settings: str) -> Row:
    return Row(title, settings=settings, per_dataset=_BOXES)


def _detection(title: str, **filters: str) -> Row:
    """The detection branch alone: its ablations need no segmenter."""
    changed = {f"filters.{name}": value for name, value in filters.items()}
    return Row(title, settings={"segmentation": "false", **changed}, per_dataset=_BOXES)


ROWS: Mapping[str, Row] = {
    "mcf": _row("MCF"),
    "no-seg": _row("-seg", segmentation="false"),
    "no-self": _row("-self", self_finetuning="false"),
    "no-syn": Row("-syn", settings={"synthesis.share": "0"}, per_dataset=_BOXES),
    "ce": _row("CE", loss="cross_entropy"),
    "weig": _row("+weig", loss="weighted"),
    "no-cff": _detection("-CFF", cropped_fusion="false"),
    "no-mff": _detection("-MFF", scale_fusion="false"),
    "h1": _detection("H=1", top_h="1"),
    "mean": _detection("mean", mean_fusion="true"),
    "no-gdbp": _detection("-GDBP", gradient_directions="false"),
    "unet": Row("unet (all masks)", method="unet", model="unet"),
}
"""Rows of Table 3 (Feng et al. 2022), and the supervised model beside them."""

SEGMENTATION = ("mcf", "no-seg", "no-self", "no-syn", "ce", "weig", "unet")
DETECTION = ("mcf", "no-seg", "no-cff", "no-mff", "h1", "mean", "no-gdbp", "unet")

PAPER_PIXELS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("tnbc", "mcf"): (0.8995, 0.8051, 0.5794, 0.8175, 0.7337),
    ("tnbc", "no-seg"): (0.6283, 0.7252, 0.2463, 0.5303, 0.3953),
    ("kumar", "mcf"): (0.8639, 0.8143, 0.5366, 0.7730, 0.6984),
    ("kumar", "no-seg"): (0.7250, 0.7670, 0.4105, 0.6033, 0.5821),
    ("kumar", "no-self"): (0.8556, 0.7871, 0.5001, 0.7595, 0.6668),
    ("kumar", "no-syn"): (0.8438, 0.7962, 0.4971, 0.7463, 0.6641),
    ("kumar", "ce"): (0.8632, 0.6947, 0.3863, 0.6139, 0.5573),
    ("kumar", "weig"): (0.7369, 0.7752, 0.4099, 0.6198, 0.5814),
}
"""PA, MPA, IoU, FWIoU, Dice: Tables 1 and 3, "normal" images; kumar is the paper's MICCAI18."""

PAPER_DETECTION: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("tnbc", "mcf"): (0.6402, 0.7143, 0.6752),
    ("kumar", "mcf"): (0.6540, 0.7899, 0.7156),
    ("kumar", "no-cff"): (0.5992, 0.7957, 0.6836),
    ("kumar", "no-mff"): (0.5027, 0.8968, 0.6443),
    ("kumar", "h1"): (0.5512, 0.7716, 0.6430),
    ("kumar", "mean"): (0.5384, 0.7633, 0.6314),
    ("kumar", "no-gdbp"): (0.6436, 0.7182, 0.6789),
}
"""Precision, recall, F: Tables 2 and 3."""
