"""Eq. 4: where a response falls on all sides lies a centre."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wsiproc.card import PointsPost  # noqa: E402
from wsiproc.decode.points import decode_points  # noqa: E402
from wsiproc.geometry import Box  # noqa: E402
from wsiproc_mcf.centres import (  # noqa: E402
    DIRECTIONS,
    Certain,
    find_centres,
    gradient_map,
    ray_weights,
)
from wsiproc_mcf.filter_config import FilterConfig  # noqa: E402
from wsiproc_mcf.response import unsquashed  # noqa: E402

MPP = 0.25


def bumps(places: list[tuple[float, float]], sigma: float = 5.0, size: int = 128) -> np.ndarray:
    """The highest of Gaussians of 0.85 at (x, y)."""
    y, x = np.mgrid[:size, :size]
    each = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in places]
    return (0.85 * np.max(each, axis=0)).astype(np.float32)


def test_a_ray_s_double_sum_is_one_filter() -> None:
    assert ray_weights(3, 10).tolist() == [9, 7, 5, -3, -3, -3, -3, -3, -3, -3]


@pytest.mark.parametrize(("inner", "outer"), [(3, 10), (2, 5), (1, 4)])
def test_the_filters_are_the_double_sum_of_the_paper(inner: int, outer: int) -> None:
    rng = np.random.default_rng(0)
    response = rng.uniform(0, 0.85, (31, 31)).astype(np.float32)
    config = FilterConfig(
        centre_um=inner * MPP, area_um=outer * MPP, min_directions=1, least_gradient=1e-6
    )
    y = x = 15
    printed = [
        sum(
            float(response[y + p * dy, x + p * dx] - response[y + q * dy, x + q * dx])
            for p, q in itertools.product(range(1, inner + 1), range(1, outer + 1))
            if p < q
        )
        for dy, dx in DIRECTIONS
    ]
    assert max(printed) > 0
    unit = ray_weights(inner, outer)
    wanted = max(0.0, sum(printed) / 8 / unit[unit > 0].sum())
    gradient = gradient_map(response, config, MPP)
    assert gradient[y, x] == pytest.approx(wanted, abs=1e-5)


def test_touching_bumps_have_a_centre_each() -> None:
    places = [(30, 30), (43, 30), (90, 80), (90, 94)]
    found = find_centres(bumps(places), FilterConfig(), MPP)
    assert found.xy.tolist() == [[x + 0.5, y + 0.5] for x, y in sorted(places, key=lambda p: p[1])]
    assert found.response == pytest.approx([0.85] * 4)
    assert (found.gradient > 0.02).all()


def test_a_ridge_has_no_centre_but_where_it_is_highest() -> None:
    y, x = np.mgrid[:128, :128]
    ridge = 0.8 * np.exp(-((y - 64) ** 2) / 50) * (1 - 0.0001 * np.abs(x - 64))
    falls = gradient_map(ridge.astype(np.float32), FilterConfig(), MPP)
    assert not falls[64, :60].any(), "along the ridge it does not fall both ways"


def test_fewer_directions_find_what_touches_on_a_side() -> None:
    y, x = np.mgrid[:64, :64]
    shelf = np.where(x < 32, 0.8 * np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 50), 0)
    shelf = np.where(x >= 32, 0.8 * np.exp(-((y - 32) ** 2) / 50), shelf).astype(np.float32)
    everywhere = gradient_map(shelf, FilterConfig(), MPP)
    most = gradient_map(shelf, FilterConfig(min_directions=7), MPP)
    assert most[32, 32] > 0
    assert everywhere[32, 32] == pytest.approx(0, abs=1e-5)


def test_a_plateau_and_faint_bumps_are_no_centres() -> None:
    assert len(find_centres(np.full((64, 64), 0.8, np.float32), FilterConfig(), MPP)) == 0
    assert len(find_centres(0.3 * bumps([(64, 64)]), FilterConfig(), MPP)) == 0


def test_without_directions_centres_are_peaks_of_the_response() -> None:
    config = FilterConfig(gradient_directions=False)
    assert find_centres(bumps([(50, 60)]), config, MPP).xy.tolist() == [[50.5, 60.5]]


def test_centres_are_those_that_the_engine_decodes_from_the_graph_s_map() -> None:
    rng = np.random.default_rng(1)
    places = [(float(x), float(y)) for x, y in rng.uniform(15, 113, (14, 2))]
    response = bumps(places, sigma=4.0)
    config = FilterConfig()
    with torch.no_grad():
        loudness = unsquashed(torch.from_numpy(response)[None, None])
        prob = Certain(config, MPP)(loudness)[0].numpy()
    post = PointsPost(threshold=0.3, radius_um=config.peak_radius_um, chosen_on="nothing")
    decoded = decode_points(post, MPP, prob, (0, 0), Box(0, 0, 128, 128))
    found = find_centres(response, config, MPP)
    assert len(found) >= 8
    kept = found.response > 0.35
    theirs = {(a, b) for a, b in zip(decoded.x, decoded.y, strict=True)}
    assert {(a, b) for a, b in found.xy[kept]} <= theirs
