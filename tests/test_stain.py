"""Stains are found in what they were mixed into, and slides are brought to the target."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiproc.errors import ConfigError
from wsiproc.slide._drawn import Drawing, render
from wsiproc.stain import (
    StainMethod,
    apply_stain,
    estimate_stain,
    optical_density,
    stain_matrix,
    stain_target,
)

H, E = np.array([0.65, 0.70, 0.29]), np.array([0.16, 0.93, 0.33])
STAINS = np.stack([H / np.linalg.norm(H), E / np.linalg.norm(E)])
OTHER = np.array([[0.70, 1.15, 0.62], [0.22, 0.80, 0.42]])
FAR = np.array([[0.45, 0.95, 0.80], [0.10, 0.60, 0.75]])
METHODS: tuple[StainMethod, ...] = ("vahadane", "macenko")


def concentrations(n: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Stain amounts as in tissue: nuclei with much haematoxylin, stroma with next to none."""
    rng = np.random.default_rng(seed)
    h = rng.gamma(2, 0.3, n) * (rng.random(n) < 0.4)
    e = rng.gamma(3, 0.15, n) * (rng.random(n) < 0.85)
    return np.stack([h + 0.02, e + 0.02], axis=1)


def coloured(amounts: NDArray[np.float64], stains: NDArray[np.float64]) -> NDArray[np.uint8]:
    light = 256 * np.exp(-amounts @ stains) - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8).reshape(100, -1, 3)


def degrees_apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stains", [STAINS, OTHER])
def test_known_stains_are_found_haematoxylin_first(
    method: StainMethod, stains: NDArray[np.float64]
) -> None:
    amounts = concentrations()
    vectors, c99 = estimate_stain(coloured(amounts, stains), method)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    assert degrees_apart(vectors[0], stains[0]) < 3
    assert degrees_apart(vectors[1], stains[1]) < 3
    expected = np.percentile(amounts, 99, axis=0) * np.linalg.norm(stains, axis=1)
    np.testing.assert_allclose(c99, expected, rtol=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_in_other_colours_comes_back_to_the_target(method: StainMethod) -> None:
    amounts = concentrations()
    wanted, seen = coloured(amounts, STAINS), coloured(0.8 * amounts, FAR)
    vectors, c99 = estimate_stain(wanted, method)
    everywhere = np.ones(seen.shape[:2], bool)
    found = stain_matrix(seen, everywhere, vectors * c99[:, None], method)
    assert found.enough
    before = np.abs(seen.astype(float) - wanted).mean()
    after = np.abs(apply_stain(seen, found.matrix) - wanted).mean()
    assert before > 15
    assert after < 4


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_that_is_its_own_target_keeps_its_colours(method: StainMethod) -> None:
    pixels = coloured(concentrations(), STAINS)
    everywhere = np.ones(pixels.shape[:2], bool)
    own = stain_matrix(pixels, everywhere, OTHER, method).source_vectors
    matrix = stain_matrix(pixels, everywhere, own, method).matrix
    assert np.abs(apply_stain(pixels, matrix) - pixels).mean() < 1.5


def test_the_matrix_is_the_one_of_least_squares_concentrations() -> None:
    pixels = coloured(concentrations(), OTHER)
    found = stain_matrix(pixels, np.ones(pixels.shape[:2], bool), STAINS)
    amounts = optical_density(pixels) @ np.linalg.pinv(found.source_vectors)
    np.testing.assert_allclose(optical_density(pixels) @ found.matrix, amounts @ STAINS, atol=2e-5)


def test_the_same_pixels_give_the_same_matrix_on_a_grid_of_1e_6() -> None:
    pixels = coloured(concentrations(30_000), OTHER)
    everywhere = np.ones(pixels.shape[:2], bool)
    one, two = (stain_matrix(pixels, everywhere, STAINS).matrix for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(np.round(one.astype(float), 6).astype(np.float32), one)


def test_only_tissue_is_looked_at() -> None:
    pixels = coloured(concentrations(), OTHER)
    tissue = np.ones((pixels.shape[0], pixels.shape[1] * 2), bool)
    tissue[:, pixels.shape[1] :] = False
    ink = np.full_like(pixels, (20, 40, 200))
    alone = stain_matrix(pixels, tissue[:, : pixels.shape[1]], STAINS).matrix
    beside = stain_matrix(np.concatenate([pixels, ink], axis=1), tissue, STAINS).matrix
    np.testing.assert_array_equal(alone, beside)


@pytest.mark.parametrize(
    "pixels",
    [
        coloured(concentrations(2_000), STAINS),
        np.full((100, 100, 3), 245, np.uint8),
        coloured(concentrations() * (1, 0), STAINS),
        np.full((100, 100, 3), (180, 90, 150), np.uint8),
    ],
    ids=["too small", "glass", "one stain", "one colour"],
)
@pytest.mark.parametrize("method", METHODS)
def test_too_little_to_go_by_leaves_the_colours_alone(
    pixels: NDArray[np.uint8], method: StainMethod
) -> None:
    found = stain_matrix(pixels, np.ones(pixels.shape[:2], bool), STAINS, method)
    assert not found.enough
    np.testing.assert_array_equal(found.matrix, np.eye(3, dtype=np.float32))


def test_identity_leaves_every_grey_level_as_it_is() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_allclose(apply_stain(grey, np.eye(3, dtype=np.float32)), grey, atol=1e-3)


def test_a_target_is_taken_at_the_resolution_of_slides() -> None:
    drawing = Drawing(2048, 2048, seed=3, mpp=0.5, glass=False)
    pixels = render(drawing, drawing.box)
    target = np.array(stain_target([pixels], 0.5))
    small = pixels.reshape(128, 16, 128, 16, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    found = stain_matrix(small, np.ones((128, 128), bool), target)
    assert found.enough
    np.testing.assert_allclose(found.source_vectors, target, atol=1e-5)
    assert np.linalg.norm(target[0]) < np.linalg.norm(stain_of_full_resolution(pixels)[0])


def test_a_target_is_the_stain_of_most_images() -> None:
    usual = [coloured(concentrations(seed=s), STAINS) for s in range(3)]
    odd = coloured(concentrations(seed=9), FAR)
    target = np.array(stain_target([odd, *usual, np.full((90, 90, 3), 250, np.uint8)], 8.0))
    assert degrees_apart(target[0], STAINS[0]) < 4
    assert degrees_apart(target[1], STAINS[1]) < 4


def stain_of_full_resolution(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    vectors, c99 = estimate_stain(pixels)
    return vectors * c99[:, None]


@pytest.mark.parametrize(
    "target", [np.eye(3), np.ones((2, 3)), np.zeros((2, 3)), np.array([[1, 0, np.nan], [0, 1, 0]])]
)
def test_a_target_that_is_none_is_refused(target: NDArray[np.float64]) -> None:
    pixels = coloured(concentrations(), STAINS)
    with pytest.raises(ConfigError, match="stain"):
        stain_matrix(pixels, np.ones(pixels.shape[:2], bool), target)


def test_there_is_no_stain_in_glass() -> None:
    with pytest.raises(ConfigError):
        estimate_stain(np.full((10, 10, 3), 250, np.uint8))
    with pytest.raises(ConfigError):
        stain_target([], 0.5)
