"""Rows of the methods that learn from points and boxes: `mcf`, `lair`, `partial_points`."""

from __future__ import annotations

from collections.abc import Mapping

from row import Row

_BOXES = {"tnbc": {"templates": "12"}, "kumar": {"templates": "10"}}


def _mcf(title: str, **settings: str) -> Row:
    return Row(title, settings=settings, per_dataset=_BOXES)


def _mcf_detection(title: str, **filters: str) -> Row:
    """The detection branch alone: its ablations need no segmenter."""
    changed = {f"filters.{name}": value for name, value in filters.items()}
    return _mcf(title, segmentation="false", **changed)


_LAIR_BUDGET = {
    "width": "16",
    "reconstruction_width": "8",
    "critic_width": "8",
    "pretrain.crop_px": "96",
    "joint.crop_px": "96",
}
"""Two thirds of the preset's widths, crops of 96 px, and as many steps: a quarter of an hour on a
core, where the preset takes one.  The same for every row, and so for both sides of a gain."""
_POINTS_BUDGET = {
    "channels": "[16,32,64]",
    "detect.steps": "200",
    "segment.steps": "800",
    "refine.steps": "80",
}
"""Two thirds of the preset's widths and two fifths to half of its steps, likewise."""


def _lair(title: str, labelled: int | None, **settings: str) -> Row:
    """6 px of .55 µm count as detected in the paper."""
    few = {} if labelled is None else {"labelled": str(labelled)}
    changed = {**few, **settings}
    return Row(title, "lair", settings=changed, budget=_LAIR_BUDGET, radius_um=3.3)


def _points(title: str, fraction: str, **settings: str) -> Row:
    """11 px of .25 µm count as detected in the paper."""
    changed = {"fraction": fraction, **settings}
    return Row(title, "partial_points", settings=changed, budget=_POINTS_BUDGET, radius_um=2.75)


MCF: Mapping[str, Row] = {
    "mcf": _mcf("MCF"),
    "no-seg": _mcf("-seg", segmentation="false"),
    "no-self": _mcf("-self", self_finetuning="false"),
    "no-syn": _mcf("-syn", **{"synthesis.share": "0"}),
    "ce": _mcf("CE", loss="cross_entropy"),
    "weig": _mcf("+weig", loss="weighted"),
    "no-cff": _mcf_detection("-CFF", cropped_fusion="false"),
    "no-mff": _mcf_detection("-MFF", scale_fusion="false"),
    "h1": _mcf_detection("H=1", top_h="1"),
    "mean": _mcf_detection("mean", mean_fusion="true"),
    "no-gdbp": _mcf_detection("-GDBP", gradient_directions="false"),
}
"""Feng et al. 2022, Table 3."""

LABELLED = (5, 10, 20, 40)

LAIR: Mapping[str, Row] = {
    **{f"lair-{n}": _lair(f"LAIR, {n} images", n) for n in LABELLED},
    **{
        f"supervised-{n}": _lair(f"supervised, {n} images", n, strategy="supervised")
        for n in LABELLED
    },
    "self-training-5": _lair("self-training, .9", 5, strategy="self_training"),
    "mean-teacher-5": _lair("Mean Teacher", 5, strategy="mean_teacher"),
    "lair-5-rec": _lair("+Rec", 5, use_dimg="false", use_dins="false"),
    "lair-5-dimg": _lair("+Rec +D_img", 5, use_dins="false"),
    "lair-5-features": _lair("Rec of features", 5, rec_input="features"),
    **{
        f"lair-5-p{px}": _lair(f"p={px}", 5, instance_um=f"{px * 0.55:g}") for px in (7, 15, 19, 23)
    },
    **{
        f"lair-5-t{percent}": _lair(f"T_p=.{percent}", 5, instance_threshold=f"0.{percent}")
        for percent in (75, 80, 90, 95)
    },
    "supervised-all": _lair("supervised, all images", None, strategy="supervised"),
}
"""Tian et al. 2022, Tables 1 to 6; p in px of .55 µm."""

POINTS: Mapping[str, Row] = {
    "points-5": _points("5 % of the points", "0.05"),
    "points-10": _points("10 % (ST-bg)", "0.1"),
    "points-25": _points("25 %", "0.25"),
    "points-50": _points("50 %", "0.5"),
    "points-100": _points("all points", "1"),
    "points-10-gaussian": _points("10 %, GM", "0.1", detection="gaussian"),
    "points-10-extended": _points("10 %, ext-GM", "0.1", detection="extended"),
    "points-10-positives": _points("10 %, ST-nu", "0.1", detection="positives"),
    "points-10-full": _points("10 %, detector of all points", "0.1", detection="full"),
    "points-10-voronoi": _points("10 %, Voronoi label alone", "0.1", alpha="1"),
    "points-10-cluster": _points("10 %, cluster label alone", "0.1", alpha="0"),
    "points-10-no-crf": _points("10 %, no CRF", "0.1", **{"crf.on": "false"}),
}
"""Qu et al. 2020, Tables I to III, figures 6 and 7."""
