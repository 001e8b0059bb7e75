"""A small ONNX graph under way, and the filters that tell nuclei in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsiproc.testing import _onnx

HAEMATOXYLIN = (1.25, -0.55, 0.0)
"""Weights of optical density in red, green, blue: red is absorbed by haematoxylin alone, green by
both stains, so their difference is large in nuclei and negative in pink."""
LEVEL, SLOPE = 0.17, 18.0
"""Where, on that scale, a nucleus begins, and how steep the map rises there."""
SMOOTH_UM = 0.6
_NARROW_UM, _WIDE_UM, _WIDE_SHARE = 0.85, 2.5, 0.6
"""Centres are the peaks of two blurs added up: the narrow one parts nuclei that touch, the wide
one keeps a large nucleus from having several peaks."""
_CENTRE_LEVEL, _CENTRE_SLOPE = 0.4, 8.0
DARK = 0.5
STEP = 8


@dataclass(slots=True)
class Sketch:
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
        down = self.filtered(f"{output}.down", source, bell_filter(sigma))
        return self.filtered(output, down, bell_filter(sigma).swapaxes(2, 3))

    def raised(self, output: str, source: str, level: float, slope: float) -> str:
        """1 / (1 + exp(-slope (source - level)))."""
        above = self.add(f"{output}.above", "Sub", source, self.scalar(f"{output}.level", level))
        steep = self.add(f"{output}.steep", "Mul", above, self.scalar(f"{output}.slope", slope))
        return self.add(output, "Sigmoid", steep)


def likeness_map(sketch: Sketch, stain: bool) -> str:
    """How much each pixel looks like haematoxylin, ``[N, 1, H, W]``."""
    density = density_map(sketch)
    if stain:
        # OD' = OD @ stain for every pixel: the 3 x 3 matrix as a 1 x 1 convolution.
        turned = sketch.add("stain.turned", "Transpose", "stain", perm=(1, 0))
        shape = sketch.weight("stain.shape", np.array([3, 3, 1, 1], np.int64))
        kernel = sketch.add("stain.kernel", "Reshape", turned, shape)
        density = sketch.add("stained", "Conv", density, kernel)
    return sketch.filtered("likeness", density, row_filter(HAEMATOXYLIN))


def smooth_map(sketch: Sketch, mpp: float, *, stain: bool = False) -> str:
    """`likeness_map`, averaged over a disc."""
    likeness = likeness_map(sketch, stain)
    return sketch.filtered("smooth", likeness, disc_filter(SMOOTH_UM / mpp))


def pale_and_dark(sketch: Sketch, output: str, smooth: str) -> str:
    """Two maps ``[N, 2, H, W]``: how pale a nucleus would be, and how dark."""
    dark = sketch.raised("dark", smooth, DARK, SLOPE)
    pale = sketch.add("pale", "Sub", sketch.scalar("one", 1.0), dark)
    return sketch.add(output, "Concat", pale, dark, axis=1)


def density_map(sketch: Sketch) -> str:
    """Optical density ``[N, 3, H, W]`` of the uint8 pixels: -ln((I + 1) / 256)."""
    pixels = sketch.add("pixels", "Cast", "image", to=1)
    planes = sketch.add("planes", "Transpose", pixels, perm=(0, 3, 1, 2))
    lit = sketch.add("lit", "Add", planes, sketch.scalar("dark_level", 1.0))
    share = sketch.add("share", "Div", lit, sketch.scalar("white", 256.0))
    return sketch.add("density", "Neg", sketch.add("log", "Log", share))


def row_filter(weights: Sequence[float]) -> NDArray[np.float32]:
    return np.array(weights, np.float32).reshape(1, len(weights), 1, 1)


def centre_map(sketch: Sketch, output: str, inside: str, mpp: float) -> str:
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


def first_peaks(sketch: Sketch, source: str, reach: int) -> str:
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


def margin_px(mpp: float) -> int:
    """Radius of the receptive field in px, rounded up to a multiple of the step."""
    reach = math.ceil(SMOOTH_UM / mpp) + _cut(_WIDE_UM / mpp)
    return -(-reach // STEP) * STEP


def _cut(sigma: float) -> int:
    """Where a Gaussian of `sigma` px ends."""
    return math.ceil(2.2 * sigma)


def disc_filter(radius: float) -> NDArray[np.float32]:
    """A mean over a disc of `radius` px, its rim weighted by how far it is inside."""
    edge = int(np.ceil(radius))
    y, x = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    weights = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _kernel(weights)


def bell_filter(sigma: float) -> NDArray[np.float32]:
    """A Gaussian of `sigma` px down a column."""
    radius = _cut(sigma)
    return _kernel(np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)[:, None])


def slope_filter(sigma: float) -> NDArray[np.float32]:
    """The slope under a Gaussian of `sigma` px down a column, turned round, per sigma."""
    radius = _cut(sigma)
    at = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(-at / sigma * bell / bell.sum(), np.float32)[None, None, :, None]


def oval_mask(edge: int) -> NDArray[np.float32]:
    """1 in the disc that fills a square, falling off at its rim: ``[1, 1, edge, edge]``."""
    at = (np.arange(edge) + 0.5) / edge * 2 - 1
    return np.asarray(np.clip(4 * (1.1 - np.hypot(*np.meshgrid(at, at))), 0, 1), np.float32)[
        None, None
    ]


def _kernel(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """A filter ``[1, 1, h, w]`` that keeps a flat image as it is."""
    return np.asarray(weights / weights.sum(), np.float32)[None, None]
