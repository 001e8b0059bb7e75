"""Markers where the maps of distance rise, borders where they fall; by constants, not by tiles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from drawn_maps import distances, hover_maps, nuclei
from scipy import ndimage
from slow_decoders import flooded, hovernet

from wsiproc.decode import decode, reach_px
from wsiproc.decode._markers import calm
from wsiproc.decode._runs import foreground
from wsiproc.decode.hover import STAGES, slope_filters, stage_steps
from wsiproc.errors import ModelError
from wsiproc.geometry import Box
from wsiproc.metrics import instances

MPP = 0.25


def hover_card(make_card, **post):
    post = {"threshold": 0.5, "min_area_um2": 0, **post}
    return make_card("hover", mpp=MPP, largest=post.pop("largest", 10), **post)


def labels_of(found, size: int) -> np.ndarray:
    """Outlines of the frame's first `size` px as a label map."""
    labels = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size] + 0.5
    for n, (a, b) in enumerate(pairwise(found.ring_start), 1):
        polygon = shapely.Polygon(found.ring[a:b])
        assert polygon.is_valid
        labels[shapely.contains_xy(polygon, x.ravel(), y.ravel()).reshape(size, size)] = n
    return labels


def decoded(card, maps) -> np.ndarray:
    height, width = maps["np"].shape[1:]
    box = Box(0, 0, width, height)
    return labels_of(decode(card, maps, box, box), width)


def scores(true, found):
    compact = np.unique(true, return_inverse=True)[1].reshape(true.shape).astype(np.int32)
    return instances(compact, found.astype(np.int32)).scores()


@pytest.mark.parametrize(
    ("blur", "noise", "agree"), [(0, 0, 0.98), (1.5, 0.05, 0.97), (3, 0.1, 0.93)]
)
def test_the_nuclei_are_those_of_hover_nets_own_post_processing(make_card, blur, noise, agree):
    """Drawn nuclei, four in ten of which touch; maps from perfect to rather bad ones."""
    rng = np.random.default_rng(1)
    true = nuclei(400, rng, spacing=24)
    maps = hover_maps(true, rng, blur=blur, noise=noise)
    found = decoded(hover_card(make_card), maps)
    theirs = hovernet(maps["np"][0], maps["hv"])
    said = scores(theirs, found)
    assert said["dq"] > 0.98
    assert said["pq"] > agree
    assert scores(true, found)["pq"] > scores(true, theirs)["pq"] - 0.02


def test_touching_nuclei_are_parted_where_they_touch(make_card):
    v, u = np.mgrid[:60, :80] + 0.5
    true = np.zeros((60, 80), np.int32)
    true[np.hypot(u - 26, v - 30) <= 14] = 1
    true[(np.hypot(u - 50, v - 30) <= 12) & (true == 0)] = 2
    maps = {"np": (true > 0).astype(np.float32)[None], "hv": distances(true)}
    box = Box(0, 0, 80, 60)
    found = decode(hover_card(make_card), maps, box, box)
    assert len(found) == 2
    y, x = np.mgrid[:60, :80] + 0.5
    for a, b in pairwise(found.ring_start):
        mask = shapely.contains_xy(shapely.Polygon(found.ring[a:b]), x.ravel(), y.ravel())
        shares = [(mask.reshape(60, 80) & (true == n)).sum() / (true == n).sum() for n in (1, 2)]
        assert max(shares) > 0.97
        assert min(shares) < 0.05


@pytest.mark.parametrize("sigma", [1.7, 2.24, 4.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_border_has_a_unit(sigma, axis):
    """A fall from 1 to -1 is a border of 1 and one from 1 to 0 half of that, whatever the sigma;
    a steady fall of s per px is s sigma sqrt(pi / 2); a rise is less than none."""
    x = np.arange(121)
    everywhere = foreground(np.ones((121, 121), np.float32), 0.5)
    row = (slice(None),) if axis == 0 else (slice(None), None)

    def border(along, across):
        hv = np.empty((2, 121, 121), np.float32)
        hv[axis], hv[1 - axis] = along[row], across
        return 1 - calm(hv, everywhere, *slope_filters(sigma))[60, 60]

    steady = 0.01 * sigma * np.sqrt(np.pi / 2)
    assert border(np.where(x <= 60, 1.0, -1.0), 0) == pytest.approx(1, abs=1e-5)
    assert border(np.where(x <= 60, 1.0, 0.0), 0) == pytest.approx(0.5, abs=1e-5)
    assert border(-0.01 * x, 0) == pytest.approx(steady, rel=0.06)
    rising = 0.01 * x[None, :] if axis else 0.01 * x[:, None]
    assert border(0.01 * x, rising) == pytest.approx(-steady, rel=0.06)


def test_the_border_is_the_same_by_scipy():
    rng = np.random.default_rng(3)
    hv = ndimage.gaussian_filter(rng.standard_normal((2, 90, 110)), (0, 2, 2)).astype(np.float32)
    inside = ndimage.gaussian_filter(rng.standard_normal((90, 110)), 3) > 0
    bell, fall = slope_filters(2.24)
    ours = calm(hv, foreground(inside.astype(np.float32), 0.5), bell, fall)
    falls = [
        ndimage.correlate1d(
            ndimage.correlate1d(hv[axis], fall, 1 - axis, mode="constant"),
            bell,
            axis,
            mode="constant",
        )
        for axis in (0, 1)
    ]
    np.testing.assert_allclose(ours, np.where(inside, 1 - np.maximum(*falls), 0), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_growth_is_that_of_a_plain_loop_over_pixels(make_card, seed):
    rng = np.random.default_rng(seed)
    maps = hover_maps(nuclei(110, rng, spacing=22), rng, blur=1.0, noise=0.1)
    post = {"marker_threshold": 0.25, "marker_depth_um": 0.6}
    card = hover_card(make_card, **post)
    inside = maps["np"][0] > 0.5
    inner = calm(maps["hv"], foreground(maps["np"][0], 0.5), *slope_filters(0.56 / MPP))
    thick = ndimage.distance_transform_edt(np.pad(inner > 1 - post["marker_threshold"], 1))
    core = thick[1:-1, 1:-1] > post["marker_depth_um"] / MPP
    radius = 20
    slow = flooded(
        inside, inner, core, post["marker_threshold"], STAGES, stage_steps(radius), radius
    )
    ours = decoded(card, maps)
    assert slow.max() > 10
    np.testing.assert_array_equal(ours > 0, slow > 0)
    pairs = np.unique(np.stack([ours.ravel(), slow.ravel()]), axis=1)
    assert pairs.shape[1] == ours.max() + 1, "a nucleus is not the same in both"


def test_the_class_is_voted_by_the_pixels_and_the_score_is_their_mean(make_card):
    rng = np.random.default_rng(0)
    true = nuclei(64, rng, spacing=40)[:48, :48]
    maps = hover_maps(true)
    maps["np"] = np.where(true > 0, 0.75, 0.0).astype(np.float32)[None]
    types = np.zeros((3, *true.shape), np.float32)
    types[1] = 0.6
    types[2, :, :20] = 0.7
    card = make_card("hover", mpp=MPP, largest=10, classes=3, min_area_um2=0)
    box = Box(0, 0, 48, 48)
    found = decode(card, {**maps, "tp": types}, box, box)
    assert len(found) == 1
    inside = labels_of(found, 48) > 0
    sums = [types[c][inside].sum() for c in range(3)]
    assert found.class_id[0] == np.argmax(sums)
    assert found.score[0] == np.float32(0.75)
    assert decode(card, maps, box, box).class_id[0] == 0


def test_markers_that_ran_together_are_taken_apart_by_their_thickness(make_card):
    """No marker is larger than the largest nucleus: here maps say nothing, and discs overlap."""
    v, u = np.mgrid[:80, :140] + 0.5
    inside = np.any([np.hypot(u - x, v - 40) <= 18 for x in (25, 57, 89, 117)], axis=0)
    maps = {"np": inside.astype(np.float32)[None], "hv": np.zeros((2, 80, 140), np.float32)}
    box = Box(0, 0, 140, 80)
    found = decode(hover_card(make_card, largest=10), maps, box, box)
    assert len(found) == 4
    assert np.abs(np.sort(found.x) - [25, 57, 89, 117]).max() < 3


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_maps_without_nuclei_give_none(make_card, value):
    maps = {"np": np.full((1, 30, 30), value), "hv": np.full((2, 30, 30), value)}
    maps = {name: m.astype(np.float32) for name, m in maps.items()}
    found = decode(hover_card(make_card), maps, Box(0, 0, 30, 30), Box(0, 0, 30, 30))
    assert (len(found), found.ring.shape) == (0, (0, 2))


def test_maps_that_are_not_those_of_the_kind_are_refused(make_card):
    prob, hv = np.ones((1, 8, 8), np.float32), np.ones((3, 8, 8), np.float32)
    box = Box(0, 0, 8, 8)
    with pytest.raises(ModelError, match="no map `hv`"):
        decode(hover_card(make_card), {"np": prob}, box, box)
    with pytest.raises(ModelError, match="3 channels where its card needs 2"):
        decode(hover_card(make_card), {"np": prob, "hv": hv}, box, box)


def test_the_reach_is_the_nucleus_its_growth_and_its_marker(make_card):
    card = hover_card(make_card, slope_um=0.5, marker_depth_um=0.5)
    radius, depth = 20, 3
    assert reach_px(card) == 2 * radius + (4 * 3 + radius) + (2 * radius + 1 + depth) + 6
