"""Tiny models: real ONNX files of a few kilobytes, with cards, made without torch or onnx.

Haematoxylin is told from eosin by fixed filters, well enough to find the nuclei of the drawn
slides, so the whole engine can be tested on results whose truth is known.  All but one are local:
what they say of a pixel depends on no more than `Card.margin` around it.  `instances_model` is not,
and shows it: what it says of a nucleus depends on where the window lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import (
    METADATA_KEY,
    Card,
    HoverPost,
    InstancesPost,
    MaskPost,
    NucleusClass,
    PointsPost,
)
from wsiproc.testing import _onnx

NUCLEUS = (NucleusClass(name="nucleus", color=(0, 120, 255)),)
TWO_CLASSES = (
    NucleusClass(name="pale", color=(0, 120, 255)),
    NucleusClass(name="dark", color=(255, 80, 0)),
)
STAIN_TARGET = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))
"""Haematoxylin and eosin (Ruifrok 2001), for the model with the input `stain`."""

_HAEMATOXYLIN = (1.25, -0.55, 0.0)
"""Weights of optical density in red, green, blue: red is absorbed by haematoxylin alone, green by
both stains, so their difference is large in nuclei and negative in pink."""
_LEVEL, _SLOPE = 0.17, 18.0
"""Where, on that scale, a nucleus begins, and how steep the map rises there."""
_SMOOTH_UM = 0.6
_NARROW_UM, _WIDE_UM, _WIDE_SHARE = 0.85, 2.5, 0.6
"""Centres are the peaks of two blurs added up: the narrow one parts nuclei that touch, the wide
one keeps a large nucleus from having several peaks."""
_CENTRE_LEVEL, _CENTRE_SLOPE = 0.4, 8.0
_LEVELS = (0.97, 0.94, 0.9, 0.8, 0.6, 0.4, 0.2)
_DARK = 0.5
_HOVER_UM, _HOVER_GAIN = 1.0, 5.0
"""Blur whose slopes stand for distances to the centre, and how steep these are made."""
_BOX_UM = 13.0
"""Edge of the boxes of `instances_model`, before the window's mean makes them larger."""
_WINDOWS = (256, 512)
_STEP = 8
_CHOSEN_ON = "drawn slides"


@dataclass(slots=True)
class _Sketch:
    """A graph under way: its nodes and weights."""

    nodes: list[bytes] = field(default_factory=list)
    weights: list[bytes] = field(default_factory=list)

    def weight(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.weights.append(_onnx.tensor(name, values))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.weight(name, np.full((1,), value, np.float32))

    def add(self, output: str, op: str, *inputs: str, **attributes: _onnx.Attribute) -> str:
        self.nodes.append(_onnx.node(op, inputs, output, attributes))
        return output

    def filtered(self, output: str, source: str, kernel: NDArray[np.float32]) -> str:
        """`source` under filters ``[out, in, h, w]``, the borders padded with zeros."""
        rows, columns = (edge // 2 for edge in kernel.shape[2:])
        name = self.weight(f"{output}.kernel", kernel)
        return self.add(output, "Conv", source, name, pads=(rows, columns, rows, columns))

    def blurred(self, output: str, source: str, sigma: float) -> str:
        """`source` under a Gaussian of `sigma` px, down the columns and then along the rows."""
        down = self.filtered(f"{output}.down", source, _bell(sigma))
        return self.filtered(output, down, _bell(sigma).swapaxes(2, 3))

    def raised(self, output: str, source: str, level: float, slope: float) -> str:
        """1 / (1 + exp(-slope (source - level)))."""
        above = self.add(f"{output}.above", "Sub", source, self.scalar(f"{output}.level", level))
        steep = self.add(f"{output}.steep", "Mul", above, self.scalar(f"{output}.slope", slope))
        return self.add(output, "Sigmoid", steep)


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
    sketch = _Sketch()
    likeness = _likeness(sketch, stain)
    outputs = ["prob"]
    channels = {"prob": 1, "centre": 1, "class": 2}
    smooth = sketch.filtered("smooth", likeness, _disc(_SMOOTH_UM / mpp))
    sketch.raised("prob", smooth, _LEVEL, _SLOPE)
    if centre:
        _centre(sketch, "centre", "prob", mpp)
        outputs.append("centre")
    if classes:
        dark = sketch.raised("dark", smooth, _DARK, _SLOPE)
        one = sketch.scalar("one", 1.0)
        pale = sketch.add("pale", "Sub", one, dark)
        sketch.add("class", "Concat", pale, dark, axis=1)
        outputs.append("class")
    card = Card(
        name=name,
        method="drawn",
        kind="mask",
        mpp=mpp,
        step=_STEP,
        windows=tuple(windows),
        margin=_margin(mpp),
        largest_nucleus_um=20.0,
        classes=TWO_CLASSES if classes else NUCLEUS,
        post=MaskPost(
            threshold=0.5,
            seed_threshold=0.5,
            seed_radius_um=2.0,
            levels=_LEVELS if centre else (),
            min_area_um2=6.0,
            chosen_on=_CHOSEN_ON,
        ),
        local=True,
        stain_target=STAIN_TARGET if stain else None,
        licence="Apache-2.0",
    )
    return _finished(sketch, card, {output: channels[output] for output in outputs}, stain)


def points_model(
    *,
    mpp: float = 0.5,
    windows: Sequence[int] = _WINDOWS,
    classes: bool = False,
    name: str = "haematoxylin-points",
) -> bytes:
    """A model of kind ``points``: `prob`, one channel a class."""
    sketch = _Sketch()
    likeness = _likeness(sketch, stain=False)
    smooth = sketch.filtered("smooth", likeness, _disc(_SMOOTH_UM / mpp))
    inside = sketch.raised("inside", smooth, _LEVEL, _SLOPE)
    if classes:
        peak = _centre(sketch, "peak", inside, mpp)
        dark = sketch.raised("dark", smooth, _DARK, _SLOPE)
        pale = sketch.add("pale", "Sub", sketch.scalar("one", 1.0), dark)
        both = sketch.add("both", "Concat", pale, dark, axis=1)
        sketch.add("prob", "Mul", both, peak)
    else:
        _centre(sketch, "prob", inside, mpp)
    card = Card(
        name=name,
        method="drawn",
        kind="points",
        mpp=mpp,
        step=_STEP,
        windows=tuple(windows),
        margin=_margin(mpp),
        largest_nucleus_um=20.0,
        classes=TWO_CLASSES if classes else NUCLEUS,
        post=PointsPost(threshold=0.3 if classes else 0.5, radius_um=2.5, chosen_on=_CHOSEN_ON),
        local=True,
        licence="Apache-2.0",
    )
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
    sketch = _Sketch()
    smooth = sketch.filtered("smooth", _likeness(sketch, stain=False), _disc(_SMOOTH_UM / mpp))
    sketch.raised("np", smooth, _LEVEL, _SLOPE)
    slopes = []
    for axis in "xy":
        bell, slope = _bell(_HOVER_UM / mpp), _slope(_HOVER_UM / mpp)
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
        dark = sketch.raised("dark", smooth, _DARK, _SLOPE)
        pale = sketch.add("pale", "Sub", sketch.scalar("one", 1.0), dark)
        sketch.add("tp", "Concat", pale, dark, axis=1)
        channels["tp"] = 2
    card = Card(
        name=name,
        method="drawn",
        kind="hover",
        mpp=mpp,
        step=_STEP,
        windows=tuple(windows),
        margin=_margin(mpp),
        largest_nucleus_um=20.0,
        classes=TWO_CLASSES if classes else NUCLEUS,
        post=HoverPost(min_area_um2=6.0, chosen_on=_CHOSEN_ON),
        local=True,
        licence="Apache-2.0",
    )
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
    sketch = _Sketch()
    smooth = sketch.filtered("smooth", _likeness(sketch, stain=False), _disc(_SMOOTH_UM / mpp))
    inside = sketch.raised("inside", smooth, _LEVEL, _SLOPE)
    centre = _centre(sketch, "centre", inside, mpp)
    peak = _first_peaks(sketch, centre, round(2.0 / mpp))
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
    sketch.add("masks", "Mul", sampled, sketch.weight("oval", _oval(28)))
    if classes:
        looks = sketch.raised("looks", smooth, _DARK, _SLOPE)
        kind = sketch.add("kind", "GatherND", looks, rows)
        is_dark = sketch.add("is_dark", "Greater", kind, sketch.scalar("half_way", 0.5))
        sketch.add("labels", "Cast", is_dark, to=7)
    else:
        sketch.add("labels", "Mul", "tile", sketch.weight("nought", np.zeros(1, np.int64)))
    card = Card(
        name=name,
        method="drawn",
        kind="instances",
        mpp=mpp,
        step=_STEP,
        windows=tuple(windows),
        margin=-(-math.ceil(20.0 / mpp) // _STEP) * _STEP,
        largest_nucleus_um=20.0,
        classes=TWO_CLASSES if classes else NUCLEUS,
        post=InstancesPost(score_threshold=0.35, min_area_um2=6.0, chosen_on=_CHOSEN_ON),
        local=False,
        licence="Apache-2.0",
    )
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
    sketch = _Sketch()
    density = _density(sketch)
    likeness = sketch.filtered("likeness", density, _row(_HAEMATOXYLIN))
    sketch.raised("prob", likeness, _LEVEL, _SLOPE)
    card = Card(
        name=name,
        method="drawn",
        kind="mask",
        mpp=mpp,
        step=_STEP,
        windows=(window,),
        margin=_STEP,
        largest_nucleus_um=20.0,
        classes=NUCLEUS,
        post=MaskPost(threshold=0.5, min_area_um2=6.0, chosen_on=_CHOSEN_ON),
        local=True,
        licence="Apache-2.0",
    )
    return _finished(sketch, card, {"prob": 1}, stain=False)


def _likeness(sketch: _Sketch, stain: bool) -> str:
    """How much each pixel looks like haematoxylin, ``[N, 1, H, W]``."""
    density = _density(sketch)
    if stain:
        # OD' = OD @ stain for every pixel: the 3 x 3 matrix as a 1 x 1 convolution.
        turned = sketch.add("stain.turned", "Transpose", "stain", perm=(1, 0))
        shape = sketch.weight("stain.shape", np.array([3, 3, 1, 1], np.int64))
        kernel = sketch.add("stain.kernel", "Reshape", turned, shape)
        density = sketch.add("stained", "Conv", density, kernel)
    return sketch.filtered("likeness", density, _row(_HAEMATOXYLIN))


def _density(sketch: _Sketch) -> str:
    """Optical density ``[N, 3, H, W]`` of the uint8 pixels: -ln((I + 1) / 256)."""
    pixels = sketch.add("pixels", "Cast", "image", to=1)
    planes = sketch.add("planes", "Transpose", pixels, perm=(0, 3, 1, 2))
    lit = sketch.add("lit", "Add", planes, sketch.scalar("dark_level", 1.0))
    share = sketch.add("share", "Div", lit, sketch.scalar("white", 256.0))
    return sketch.add("density", "Neg", sketch.add("log", "Log", share))


def _finished(sketch: _Sketch, card: Card, channels: dict[str, int], stain: bool) -> bytes:
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


def _row(weights: Sequence[float]) -> NDArray[np.float32]:
    return np.array(weights, np.float32).reshape(1, len(weights), 1, 1)


def _centre(sketch: _Sketch, output: str, inside: str, mpp: float) -> str:
    """A map with one peak a nucleus, from the one of their pixels."""
    narrow = sketch.blurred("narrow", inside, _NARROW_UM / mpp)
    wide = sketch.blurred("wide", inside, _WIDE_UM / mpp)
    shares = [
        sketch.add(f"{name}.part", "Mul", blur, sketch.scalar(f"{name}.share", share))
        for name, blur, share in (
            ("narrow", narrow, 1 - _WIDE_SHARE),
            ("wide", wide, _WIDE_SHARE),
        )
    ]
    spread = sketch.add("spread", "Add", *shares)
    return sketch.raised(output, spread, _CENTRE_LEVEL, _CENTRE_SLOPE)


def _first_peaks(sketch: _Sketch, source: str, reach: int) -> str:
    """Where `source` is above .4 and the largest within a square, the first of equal ones."""
    edge = 2 * reach + 1
    around = sketch.add(
        "around", "MaxPool", source, kernel_shape=(edge, edge), pads=(reach, reach, reach, reach)
    )
    one = np.zeros((2, 1, 1, 3, 3), np.float32)
    one[0, 0, 0, 0, 1] = one[1, 0, 0, 1, 0] = 1
    up = sketch.filtered("up", source, one[0])
    above = sketch.add(
        "above", "MaxPool", up, kernel_shape=(reach, edge), pads=(reach - 1, reach, 0, reach)
    )
    aside = sketch.filtered("aside", source, one[1])
    left = sketch.add("left", "MaxPool", aside, kernel_shape=(1, reach), pads=(0, reach - 1, 0, 0))
    before = sketch.add("before", "Max", above, left, sketch.scalar("sure.level", 0.4))
    first = sketch.add("first", "Greater", source, before)
    return sketch.add("peak", "And", first, sketch.add("top", "Equal", source, around))


def _margin(mpp: float) -> int:
    """Radius of the receptive field in px, rounded up to a multiple of the step."""
    reach = math.ceil(_SMOOTH_UM / mpp) + _cut(_WIDE_UM / mpp)
    return -(-reach // _STEP) * _STEP


def _cut(sigma: float) -> int:
    """Where a Gaussian of `sigma` px ends."""
    return math.ceil(2.2 * sigma)


def _disc(radius: float) -> NDArray[np.float32]:
    """A mean over a disc of `radius` px, its rim weighted by how far it is inside."""
    edge = int(np.ceil(radius))
    y, x = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    weights = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _kernel(weights)


def _bell(sigma: float) -> NDArray[np.float32]:
    """A Gaussian of `sigma` px down a column."""
    radius = _cut(sigma)
    return _kernel(np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)[:, None])


def _slope(sigma: float) -> NDArray[np.float32]:
    """The slope under a Gaussian of `sigma` px down a column, turned round, per sigma."""
    radius = _cut(sigma)
    at = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(-at / sigma * bell / bell.sum(), np.float32)[None, None, :, None]


def _oval(edge: int) -> NDArray[np.float32]:
    """1 in the disc that fills a square, falling off at its rim: ``[1, 1, edge, edge]``."""
    at = (np.arange(edge) + 0.5) / edge * 2 - 1
    return np.asarray(np.clip(4 * (1.1 - np.hypot(*np.meshgrid(at, at))), 0, 1), np.float32)[
        None, None
    ]


def _kernel(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """A filter ``[1, 1, h, w]`` that keeps a flat image as it is."""
    return np.asarray(weights / weights.sum(), np.float32)[None, None]
