"""The stain of a slide as one 3 x 3 matrix between optical densities.

With source and target stain vectors fixed for a slide, and concentrations by least squares, stain
normalisation is linear in optical density: ``OD' = OD @ A``.  So it is estimated once, on a
thumbnail, and applied inside the network's graph.

Vectors come from Vahadane et al. 2016 (sparse non-negative factorisation) or Macenko et al. 2009
(extreme angles in the plane of the two largest principal components).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import ConfigError

StainMethod = Literal["vahadane", "macenko"]

SAMPLE_UM = 8.0
"""Resolution (µm per px) at which stains are estimated.  Source and target have to share it:
averaging mixes nuclei with what is around them, which takes off the peaks of haematoxylin."""

_ENOUGH_PX = 5_000
"""Fewer pixels of tissue than this (a third of a square millimetre) say too little of a slide."""
_ENOUGH_OF_AN_IMAGE_PX = 100
_MOST_PX = 20_000
"""Pixels that are looked at; more add nothing but time."""
_CLEAR = 0.1
"""Mean optical density of glass and of what is nearly glass."""
_SPARSITY, _ROUNDS = 0.02, 200
"""Weight of the concentrations' L1 norm (Vahadane et al., section III), and updates.  On drawn
mixes of known stains the usual .1 turns haematoxylin by 2 to 5 degrees, this by 1 to 2."""
_TAIL = 1.0
"""Percent of angles left out at either end (Macenko et al., section 3)."""
_LEAST_ANGLE_DEG = 6.0
_LEAST_STAIN, _MOST_RATIO = 0.05, 5.0
"""A stain that is hardly there, or so unlike the target, is a wrong estimate."""


@dataclass(frozen=True, slots=True, eq=False)
class StainResult:
    """How a slide is brought to a model's stain.

    Parameters
    ----------
    matrix
        float32 ``[3, 3]``: ``OD' = OD @ matrix``; the identity where `enough` is False.
    source_vectors
        float64 ``[2, 3]``, haematoxylin then eosin: the slide's unit vectors times the 99th
        percentile of their concentrations, as in a card's `stain_target`.
    enough
        Whether there was enough tissue, in two stains that can be told apart.
    """

    matrix: NDArray[np.float32]
    source_vectors: NDArray[np.float64]
    enough: bool


def stain_matrix(
    pixels: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    target: NDArray[np.float64],
    method: StainMethod = "vahadane",
) -> StainResult:
    """The matrix that brings a slide's stain to `target`.

    ``pinv(M_src) diag(c99_target / c99_src) M_target``, rounded to 1e-6.

    Parameters
    ----------
    pixels
        uint8 ``[h, w, 3]``, RGB thumbnail at about `SAMPLE_UM`.
    tissue
        bool ``[h, w]``: the pixels to look at.
    target
        ``[2, 3]``, see `StainResult.source_vectors`.
    method
        How the slide's vectors are found.

    Raises
    ------
    ConfigError
        If `target` is no pair of vectors that can be told apart.
    """
    aim = np.asarray(target, np.float64)
    if aim.shape != (2, 3) or not _usable(aim):
        raise ConfigError(
            "the stain target must be two different vectors of optical density, 2 x 3; "
            "train the model anew or run with --no-stain"
        )
    identity = np.eye(3, dtype=np.float32)
    density = _stained(pixels[tissue])
    if len(density) < _ENOUGH_PX:
        return StainResult(identity, np.zeros((2, 3)), enough=False)
    vectors, c99 = _estimate(density, method)
    source = vectors * c99[:, None]
    ratio = np.linalg.norm(aim, axis=1) / np.maximum(c99, 1e-9)
    if not _usable(source) or ratio.max() > _MOST_RATIO or ratio.min() < 1 / _MOST_RATIO:
        return StainResult(identity, source, enough=False)
    matrix = np.round(np.linalg.pinv(source) @ aim, 6).astype(np.float32)
    return StainResult(matrix, source, enough=True)


def estimate_stain(
    pixels: NDArray[np.uint8], method: StainMethod = "vahadane"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two stains in `pixels` ``[..., 3]``, RGB.

    Returns
    -------
    vectors
        ``[2, 3]`` unit vectors of optical density in R, G, B; haematoxylin first.
    c99
        ``[2]``: 99th percentiles of their concentrations.

    Raises
    ------
    ConfigError
        If there is nothing stained in `pixels`.
    """
    density = _stained(pixels.reshape(-1, 3))
    if len(density) < 3:
        raise ConfigError("there is no stained tissue to estimate a stain from")
    return _estimate(density, method)


def stain_target(
    images: Iterable[NDArray[np.uint8]], mpp: float, method: StainMethod = "vahadane"
) -> tuple[tuple[float, float, float], ...]:
    """What a card says as `stain_target`: the median stain of a model's training images.

    Images of several slides have several stains, and one estimate over all of them would find
    the most extreme ones.

    Parameters
    ----------
    images
        uint8 ``[h, w, 3]``, RGB, all at `mpp` µm per px.
    mpp
        Their resolution; they are averaged to `SAMPLE_UM` first, as slides are.

    Raises
    ------
    ConfigError
        If their stain cannot be told.
    """
    step = max(1, round(SAMPLE_UM / mpp))
    found = []
    for image in images:
        density = _stained(_averaged(image, step).reshape(-1, 3))
        if len(density) >= _ENOUGH_OF_AN_IMAGE_PX:
            vectors, c99 = _estimate(density, method)
            found.append(vectors * c99[:, None])
    if not found:
        raise ConfigError("a stain target needs at least one image with enough stained tissue")
    aim = np.round(np.median(found, axis=0), 6)
    if not _usable(aim):
        raise ConfigError("haematoxylin and eosin cannot be told apart in these images")
    return tuple((float(r), float(g), float(b)) for r, g, b in aim)


def apply_stain(pixels: NDArray[np.uint8], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network's graph makes of `pixels` ``[..., 3]``: float32 in 0 to 255, not rounded."""
    restained = 256 * np.exp(-(optical_density(pixels) @ np.asarray(matrix, np.float32))) - 1
    return np.asarray(np.clip(restained, 0, 255), np.float32)


def optical_density(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``-log((I + 1) / 256)``, float32, elementwise."""
    table = -np.log((np.arange(256, dtype=np.float64) + 1) / 256)
    return np.asarray(table.astype(np.float32)[pixels])


def _averaged(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Means of squares of `step` px; what is left over at the right and below is dropped."""
    height, width = (n // step for n in image.shape[:2])
    squares = image[: height * step, : width * step].reshape(height, step, width, step, 3)
    return np.asarray(np.rint(squares.mean(axis=(1, 3), dtype=np.float64)), np.uint8)


def _stained(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Optical density ``[n, 3]`` of an even sample of what is not clear."""
    thinned = pixels[:: 1 + len(pixels) // (20 * _MOST_PX)]
    density = optical_density(thinned).astype(np.float64)
    density = density[density.mean(axis=1) > _CLEAR]
    if len(density) > _MOST_PX:
        density = density[np.linspace(0, len(density) - 1, _MOST_PX).astype(np.intp)]
    return np.asarray(density)


def _estimate(
    density: NDArray[np.float64], method: StainMethod
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    vectors = _macenko(density)
    if method == "vahadane":
        vectors = _vahadane(density, vectors)
    # Of the two, haematoxylin takes away the larger share of red.
    vectors = vectors[np.argsort(-vectors[:, 0], kind="stable")]
    concentration = density @ np.linalg.pinv(vectors)
    return vectors, np.maximum(np.percentile(concentration, 99, axis=0), 0)


def _macenko(density: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors at the extreme angles of the densities' principal plane, clipped at 0."""
    _, axes = np.linalg.eigh(np.cov(density.T))
    plane = axes[:, [2, 1]]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    along, across = (density @ plane).T
    angles = np.percentile(np.arctan2(across, along), [_TAIL, 100 - _TAIL])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T
    return _unit(vectors)


def _vahadane(density: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sparse factorisation ``density = C @ W``, both non-negative, by multiplicative updates.

    Minimises ``|D - C W|^2 / 2 + sparsity |C|_1`` over unit rows of W (updates of Eggert and
    Körner 2004, eq. 8 to 10, which respect the norm), from `start` on: no random numbers, so the
    same slide always has the same stain.
    """
    tiny = 1e-12
    w = _unit(np.maximum(start, 0.02))
    c = np.maximum(density @ np.linalg.pinv(w), 1e-3)
    for _ in range(_ROUNDS):
        c *= (density @ w.T) / (c @ (w @ w.T) + _SPARSITY + tiny)
        pull, push = c.T @ density, (c.T @ c) @ w
        up = pull + w * (push * w).sum(axis=1, keepdims=True)
        down = push + w * (pull * w).sum(axis=1, keepdims=True)
        w = _unit(w * up / (down + tiny))
    return w


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.maximum(vectors, 0)
    norm = np.linalg.norm(clipped, axis=1, keepdims=True)
    return np.asarray(clipped / np.maximum(norm, 1e-12))


def _usable(vectors: NDArray[np.float64]) -> bool:
    """Whether both stains are there, and point into different directions."""
    length = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or length.min() < _LEAST_STAIN:
        return False
    cosine = float(vectors[0] @ vectors[1] / (length[0] * length[1]))
    return cosine < math.cos(math.radians(_LEAST_ANGLE_DEG))
