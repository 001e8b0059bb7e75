"""Tiny models: real ONNX files of a few kilobytes, with cards, made without torch or onnx.

Haematoxylin is told from eosin by fixed filters, well enough to find the nuclei of the drawn
slides, so the whole engine can be tested on results whose truth is known.  All but one are local:
what they say of a pixel depends on no more than `Card.margin` around it.  `instances_model` is not,
and shows it: what it says of a nucleus depends on where the window lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wsiproc.card import (
    METADATA_KEY,
    Card,
    HoverPost,
    InstancesPost,
    Kind,
    MaskPost,
    NucleusClass,
    PointsPost,
    Post,
)
from wsiproc.testing import _onnx
from wsiproc.testing._sketch import (
    DARK,
    HAEMATOXYLIN,
    LEVEL,
    SLOPE,
    STEP,
    Sketch,
    bell_filter,
    centre_map,
    density_map,
    first_peaks,
    margin_px,
    oval_mask,
    pale_and_dark,
    row_filter,
    slope_filter,
    smooth_map,
)

NUCLEUS = (NucleusClass(name="nucleus", color=(0, 120, 255)),)
TWO_CLASSES = (
    NucleusClass(name="pale", color=(0, 120, 255)),
    NucleusClass(name="dark", color=(255, 80, 0)),
)
STAIN_TARGET = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""Haematoxylin and eosin (Ruifrok 2001), for the model with the input `stain`."""

_LEVELS = (0.97, 0.94, 0.9, 0.8, 0.6, 0.4, 0.2)
_HOVER_UM, _HOVER_GAIN = 1.0, 5.0
"""Blur whose slopes stand for distances to the centre, and how steep these are made."""
_BOX_UM = 13.0
"""Edge of the boxes of `instances_model`, before the window's mean makes them larger."""
_LARGEST_UM = 20.0
_WINDOWS = (256, 512)
_CHOSEN_ON = "drawn slides"


def haematoxylin_model(
    *,
    mpp: float = 0.5,
    windows: Sequence[int] = _WINDOWS,
    centre: bool = True,
    classes: bool = False,
    stain: bool = False,
    name: str = "haematoxylin",
) -> bytes:
    """A model of kind ``mask``: `prob`, with `centre`, and with `class` if asked.

    Parameters
    ----------
    mpp
        µm per model px that its card asks for, .25 to .5.
    windows
        The card's, multiples of 8 above 64.
    centre, classes, stain
        Whether it has the outputs `centre` and `class` (pale and dark nuclei), and the input
        `stain`.
    """
    sketch = Sketch()
    channels = {"prob": 1}
    smooth = smooth_map(sketch, mpp, stain=stain)
    sketch.raised("prob", smooth, LEVEL, SLOPE)
    if centre:
        centre_map(sketch, "centre", "prob", mpp)
        channels["centre"] = 1
    if classes:
        pale_and_dark(sketch, "class", smooth)
        channels["class"] = 2
    post = MaskPost(
        threshold=0.5,
        seed_threshold=0.5,
        seed_radius_um=2.0,
        levels=_LEVELS if centre else (),
        min_area_um2=6.0,
        chosen_on=_CHOSEN_ON,
    )
    card = _card(name, "mask", post, mpp=mpp, windows=windows, classes=classes, stain=stain)
    return _finished(sketch, card, channels, stain)


def points_model(
    *,
    mpp: float = 0.5,
    windows: Sequence[int] = _WINDOWS,
    classes: bool = False,
    name: str = "haematoxylin-points",
) -> bytes:
    """A model of kind ``points``: `prob`, one channel a class."""
    sketch = Sketch()
    smooth = smooth_map(sketch, mpp)
    inside = sketch.raised("inside", smooth, LEVEL, SLOPE)
    if classes:
        peak = centre_map(sketch, "peak", inside, mpp)
        sketch.add("prob", "Mul", pale_and_dark(sketch, "both", smooth), peak)
    else:
        centre_map(sketch, "prob", inside, mpp)
    post = PointsPost(threshold=0.3 if classes else 0.5, radius_um=2.5, chosen_on=_CHOSEN_ON)
    card = _card(name, "points", post, mpp=mpp, windows=windows, classes=classes)
    return _finished(sketch, card, {"prob": 2 if classes else 1}, stain=False)


def hover_model(
    *,
    mpp: float = 0.5,
    windows: Sequence[int] = _WINDOWS,
    classes: bool = False,
    name: str = "haematoxylin-hover",
) -> bytes:
    """A model of kind ``hover``: `np`, `hv`, and with `tp` if asked (pale and dark nuclei).

    Its maps of distance are the slopes of a blurred `np`, turned round: they rise from edge to
    edge through a nucleus, and fall from one to the next.
    """
    sketch = Sketch()
    smooth = smooth_map(sketch, mpp)
    sketch.raised("np", smooth, LEVEL, SLOPE)
    slopes = []
    for axis in "xy":
        bell, slope = bell_filter(_HOVER_UM / mpp), slope_filter(_HOVER_UM / mpp)
        if axis == "x":
            slope = slope.swapaxes(2, 3)
        else:
            bell = bell.swapaxes(2, 3)
        across = sketch.filtered(f"{axis}.across", "np", bell)
        along = sketch.filtered(f"{axis}.along", across, slope)
        steep = sketch.add(f"{axis}.gain", "Mul", along, sketch.scalar(f"{axis}.by", _HOVER_GAIN))
        slopes.append(sketch.add(f"{axis}.distance", "Tanh", steep))
    sketch.add("hv", "Concat", *slopes, axis=1)
    channels = {"np": 1, "hv": 2}
    if classes:
        pale_and_dark(sketch, "tp", smooth)
        channels["tp"] = 2
    post = HoverPost(min_area_um2=6.0, chosen_on=_CHOSEN_ON)
    card = _card(name, "hover", post, mpp=mpp, windows=windows, classes=classes)
    return _finished(sketch, card, channels, stain=False)


def instances_model(
    *,
    mpp: float = 0.5,
    windows: Sequence[int] = _WINDOWS,
    classes: bool = False,
    name: str = "haematoxylin-instances",
) -> bytes:
    """A model of kind ``instances``: a box and a mask for each peak of the map of centres.

    What it says depends on the window, as attention over all of its positions would: boxes are
    larger and scores lower where the window's mean is darker.  One row of each call is a dummy of
    score 0, as real exports have it.
    """
    sketch = Sketch()
    smooth = smooth_map(sketch, mpp)
    inside = sketch.raised("inside", smooth, LEVEL, SLOPE)
    centre = centre_map(sketch, "centre", inside, mpp)
    peak = first_peaks(sketch, centre, round(2.0 / mpp))
    found = sketch.add("found", "NonZero", peak)  # [4, m]: window, channel, y, x
    at = sketch.add("at", "Transpose", found, perm=(1, 0))
    # The dummy: a place that is always there.
    nowhere = sketch.weight("nowhere", np.zeros((1, 4), np.int64))
    rows = sketch.add("rows", "Concat", at, nowhere, axis=0)
    mean = sketch.add("mean", "GlobalAveragePool", inside)
    column = [
        sketch.add(
            f"column{k}", "Gather", rows, sketch.weight(f"k{k}", np.full((1,), k, np.int64)), axis=1
        )
        for k in range(4)
    ]
    flat = sketch.weight("flat", np.array([-1], np.int64))
    window = sketch.add("tile", "Reshape", column[0], flat)
    means = sketch.add("means", "Reshape", mean, flat)
    dark = sketch.add("own_mean", "Gather", means, window, axis=0)
    half = sketch.scalar("half", _BOX_UM / 2 / mpp)
    share = sketch.add("share_of_dark", "Mul", dark, sketch.scalar("more", 0.3))
    grown = sketch.add("grown", "Mul", share, half)
    radius = sketch.add("radius", "Add", grown, half)
    radius = sketch.add(
        "radius.column", "Reshape", radius, sketch.weight("upright", np.array([-1, 1], np.int64))
    )
    middles = sketch.add("middles", "Concat", column[3], column[2], axis=1)
    middle = sketch.add("middle", "Cast", middles, to=1)
    middle = sketch.add("middle.centre", "Add", middle, sketch.scalar("pixel", 0.5))
    low = sketch.add("low", "Sub", middle, radius)
    high = sketch.add("high", "Add", middle, radius)
    sketch.add("boxes", "Concat", low, high, axis=1)
    says = sketch.add("says", "GatherND", centre, rows)
    doubt = sketch.add("doubt", "Mul", dark, sketch.scalar("doubt.share", 0.2))
    scored = sketch.add("scored", "Sub", says, doubt)
    # 0 for the last row, which is the dummy; 1 for the rest.
    real = sketch.add("real", "Cast", sketch.add("any", "GatherND", peak, at), to=1)
    there = sketch.add("there", "Concat", real, sketch.scalar("none", 0.0), axis=0)
    sketch.add("scores", "Mul", scored, there)
    sampled = sketch.add(
        "sampled",
        "RoiAlign",
        inside,
        "boxes",
        "tile",
        output_height=28,
        output_width=28,
        sampling_ratio=2,
        coordinate_transformation_mode="half_pixel",
    )
    sketch.add("masks", "Mul", sampled, sketch.weight("oval", oval_mask(28)))
    if classes:
        looks = sketch.raised("looks", smooth, DARK, SLOPE)
        kind = sketch.add("kind", "GatherND", looks, rows)
        is_dark = sketch.add("is_dark", "Greater", kind, sketch.scalar("half_way", 0.5))
        sketch.add("labels", "Cast", is_dark, to=7)
    else:
        sketch.add("labels", "Mul", "tile", sketch.weight("nought", np.zeros(1, np.int64)))
    post = InstancesPost(score_threshold=0.35, min_area_um2=6.0, chosen_on=_CHOSEN_ON)
    margin = -(-math.ceil(_LARGEST_UM / mpp) // STEP) * STEP
    card = _card(name, "instances", post, mpp=mpp, windows=windows, classes=classes, margin=margin)
    return _onnx.model(
        nodes=sketch.nodes,
        weights=sketch.weights,
        inputs=[_onnx.port("image", "uint8", ("batch", "height", "width", 3))],
        outputs=[
            _onnx.port("boxes", "float32", ("m", 4)),
            _onnx.port("scores", "float32", ("m",)),
            _onnx.port("labels", "int64", ("m",)),
            _onnx.port("tile", "int64", ("m",)),
            _onnx.port("masks", "float32", ("m", 1, 28, 28)),
        ],
        metadata={METADATA_KEY: card.to_json()},
    )


def one_layer_model(*, mpp: float = 0.5, window: int = 1024, name: str = "one-layer") -> bytes:
    """A model of kind ``mask`` that costs next to nothing: one 1 x 1 filter.

    For measuring the memory and the time of everything but the network.
    """
    sketch = Sketch()
    density = density_map(sketch)
    likeness = sketch.filtered("likeness", density, row_filter(HAEMATOXYLIN))
    sketch.raised("prob", likeness, LEVEL, SLOPE)
    post = MaskPost(threshold=0.5, min_area_um2=6.0, chosen_on=_CHOSEN_ON)
    card = _card(name, "mask", post, mpp=mpp, windows=(window,), margin=STEP)
    return _finished(sketch, card, {"prob": 1}, stain=False)


def _card(
    name: str,
    kind: Kind,
    post: Post,
    *,
    mpp: float,
    windows: Sequence[int],
    classes: bool = False,
    stain: bool = False,
    margin: int | None = None,
) -> Card:
    """`margin` is that of the drawn maps if None."""
    return Card(
        name=name,
        method="drawn",
        kind=kind,
        mpp=mpp,
        step=STEP,
        windows=tuple(windows),
        margin=margin_px(mpp) if margin is None else margin,
        largest_nucleus_um=_LARGEST_UM,
        classes=TWO_CLASSES if classes else NUCLEUS,
        post=post,
        local=kind != "instances",
        stain_target=STAIN_TARGET if stain else None,
        licence="Apache-2.0",
    )


def _finished(sketch: Sketch, card: Card, channels: dict[str, int], stain: bool) -> bytes:
    inputs = [_onnx.port("image", "uint8", ("batch", "height", "width", 3))]
    if stain:
        inputs.append(_onnx.port("stain", "float32", (3, 3)))
    return _onnx.model(
        nodes=sketch.nodes,
        weights=sketch.weights,
        inputs=inputs,
        outputs=[
            _onnx.port(output, "float32", ("batch", count, "height", "width"))
            for output, count in channels.items()
        ],
        metadata={METADATA_KEY: card.to_json()},
    )
