"""Rows of the methods that learn from outlines: `exemplar` and `label_efficient`."""

from __future__ import annotations

from collections.abc import Mapping

from row import Row

_EXEMPLAR_BUDGET = {
    "schedule.steps": "1000",
    "schedule.check_every": "200",
    "schedule.crop_px": "192",
    "window_px": "192",
}
"""A fifth of the preset's steps, on crops of little more than half the area; for every row."""
_HOVER_BUDGET = {
    "hover.schedule.steps": "600",
    "hover.schedule.check_every": "100",
    "hover.schedule.crop_px": "96",
    "synthesis.steps": "150",
}
"""Less than a third of the preset's steps, on crops of half the area, and generators that learn for
less than half as long; likewise."""

_BASE = {"centre": "false", "attention": "none"}
_CROP = {"fraction": "0.25", "keep": "crop"}
_PART = {"fraction": "0.25"}


def _exemplar(title: str, **settings: str) -> Row:
    return Row(title, "exemplar", settings=settings, budget=_EXEMPLAR_BUDGET)


EXEMPLAR: Mapping[str, Row] = {
    "exemplar-all-base": _exemplar("all outlines, base", **_BASE),
    "exemplar-all": Row("all outlines, with the module", "exemplar", budget=_EXEMPLAR_BUDGET),
    "exemplar-crop-base": _exemplar("a quarter of each image, base", **_CROP, **_BASE),
    "exemplar-crop": _exemplar("a quarter of each image, with the module", **_CROP),
    "exemplar-25-base": _exemplar("a quarter of the nuclei, base", **_PART, **_BASE),
    "exemplar-25": _exemplar("a quarter of the nuclei, with the module", **_PART),
}
"""Feng et al. 2019, Table 1, and its base trained on partial labels, which it does not tabulate."""

_PATCHES = {"tnbc": {"select.k": "6"}, "kumar": {"select.k": "9"}}


def _patches(title: str, **settings: str) -> Row:
    return Row(
        title,
        "label_efficient",
        settings=settings,
        per_dataset=_PATCHES,
        budget=_HOVER_BUDGET,
    )


_FIRST = {"rounds.rounds": "0"}
_ALONE = {**_FIRST, "synthesis.how": "naive"}

LABEL_EFFICIENT: Mapping[str, Row] = {
    "patches-random": _patches("random", **_ALONE, **{"select.method": "random"}),
    "patches-centre": _patches("centres", **_ALONE, **{"select.method": "centre"}),
    "patches-kmeans": _patches("k-means", **_ALONE, **{"select.method": "kmeans"}),
    "patches-no-third": _patches("CPS without 3rd term", **_ALONE, **{"select.third": "false"}),
    "patches-no-second": _patches("CPS without 2nd term", **_ALONE, **{"select.second": "false"}),
    "patches-untrained": _patches(
        "CPS by features that learnt nothing", **_ALONE, **{"select.features.steps": "0"}
    ),
    "patches": _patches("CPS", **_ALONE),
    "pairs-singan": _patches("CPS, SinGAN", **_FIRST, **{"synthesis.how": "singan"}),
    "pairs": _patches("CPS, CSinGAN", **_FIRST),
    "rounds": _patches("CPS, CSinGAN, two rounds", **{"rounds.rounds": "2"}),
    "all-outlines": _patches("all outlines", annotated="all"),
}
"""Lou et al. 2022, Tables I, II and IV, with the segmenter `hover`."""
