from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from scipy import ndimage

from wsiproc.decode import decode, reach_px
from wsiproc.errors import ModelError
from wsiproc.geometry import Box

SLIDE = Box(0, 0, 10_000, 10_000)


def ellipse(size, x, y, a, b=None, turn=0.0):
    v, u = np.mgrid[:size, :size] + 0.5
    u, v = u - x, v - y
    along, across = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    return (along / a) ** 2 + (across / (b or a)) ** 2 <= 1


def found_in(card, prob, at=(1000, 2000), **maps):
    maps = {"prob": prob, **maps}
    maps = {
        name: np.asarray(m, np.float32).reshape(-1, *prob.shape[-2:]) for name, m in maps.items()
    }
    box = Box.of_size(*at, prob.shape[-1], prob.shape[-2])
    return decode(card, maps, box, SLIDE)


def masks(nuclei, size, at=(1000, 2000)):
    """The pixels of each, from its outline."""
    y, x = np.mgrid[:size, :size] + 0.5
    out = []
    for a, b in pairwise(nuclei.ring_start):
        polygon = shapely.Polygon(nuclei.ring[a:b] - at)
        assert polygon.is_valid
        out.append(shapely.contains_xy(polygon, x.ravel(), y.ravel()).reshape(size, size))
    return out


def test_columns_of_one_nucleus_are_those_of_its_pixels(make_card):
    mask = ellipse(40, 18.3, 21.4, 9, 5, 0.4)
    rng = np.random.default_rng(0)
    prob = np.where(mask, rng.uniform(0.6, 1, mask.shape), 0.1).astype(np.float32)
    classes = np.stack([prob * 0.2, prob * 0.5, prob * 0.3])
    found = found_in(make_card("mask", largest=30, classes=3), prob, **{"class": classes})
    assert len(found) == 1
    assert np.array_equal(masks(found, 40)[0], mask)
    y, x = np.nonzero(mask)
    assert found.x[0] == pytest.approx(1000.5 + x.mean(), abs=1e-9)
    assert found.y[0] == pytest.approx(2000.5 + y.mean(), abs=1e-9)
    assert (found.ref_x[0], found.ref_y[0]) == (1000 + x[0], 2000 + y[0])
    assert found.score[0] == np.float32(prob[mask].astype(float).sum() / mask.sum())
    assert found.class_id[0] == 1
    assert not found.cut[0]


@pytest.mark.parametrize("turn", [0.0, 0.3, 0.8, 1.4])
@pytest.mark.parametrize("axes", [(14, 14), (14, 8), (14, 4)])
def test_without_centres_a_convex_nucleus_stays_whole(make_card, axes, turn):
    mask = ellipse(40, 20.2, 19.7, *axes, turn)
    found = found_in(make_card("mask", largest=40), mask)
    assert [m.sum() for m in masks(found, 40)] == [mask.sum()]


@pytest.mark.parametrize("small", [6, 9, 12])
def test_without_centres_touching_nuclei_part_at_the_neck(make_card, small):
    """The two circles cross at one x, and that is where the border lies."""
    distance = 12 + 0.6 * small
    one, other = ellipse(60, 20, 30, 12), ellipse(60, 20 + distance, 30, small)
    found = found_in(make_card("mask", largest=40), one | other)
    assert len(found) == 2
    left, right = masks(found, 60) if found.x[0] < found.x[1] else masks(found, 60)[::-1]
    neck = 20 + (distance**2 + 12**2 - small**2) / (2 * distance)
    assert left.any(axis=0).nonzero()[0].max() + 1 == pytest.approx(neck, abs=2)
    assert right.any(axis=0).nonzero()[0].min() == pytest.approx(neck, abs=2)
    assert np.array_equal(left | right, one | other)


def test_levels_put_the_border_into_the_valley_of_the_centre_map(make_card):
    prob = np.zeros((60, 80), np.float32)
    prob[20:40, 10:70] = 0.9
    x = np.arange(80) + 0.5
    # A wide hill and a narrow one; the valley lies at 50, halfway between the seeds at 43.
    hills = np.maximum(1 - np.abs(x - 30) / 25, 1 - np.abs(x - 57) / 9)
    centre = np.where(prob > 0, np.clip(hills, 0, 1), 0) * (
        1 - np.abs(np.arange(60) - 29)[:, None] / 99
    )
    plain = found_in(make_card("mask", largest=60), prob, centre=centre)
    levels = make_card("mask", largest=60, levels=(0.8, 0.6, 0.4, 0.2))
    valley = found_in(levels, prob, centre=centre)
    assert len(plain) == len(valley) == 2
    assert plain.ring[plain.ring_start[1] :, 0].min() == pytest.approx(1043.5, abs=1)
    assert valley.ring[valley.ring_start[1] :, 0].min() == pytest.approx(1050, abs=2)


def test_with_centres_foreground_without_one_is_dropped(make_card):
    one, other = ellipse(60, 15, 15, 6), ellipse(60, 40, 40, 6)
    centre = 0.9 * ellipse(60, 15, 15, 2) + 0.3 * ellipse(60, 40, 40, 2)
    found = found_in(make_card("mask"), one | other, centre=centre)
    assert [np.array_equal(m, one) for m in masks(found, 60)] == [True]


def test_a_flat_centre_seeds_one_nucleus(make_card):
    mask = ellipse(40, 20, 20, 7)
    flat = ellipse(40, 20, 20, 2)
    found = found_in(make_card("mask", largest=20, seed_radius_um=5), mask, centre=flat)
    assert [np.array_equal(m, mask) for m in masks(found, 40)] == [True]


def test_no_nucleus_is_larger_than_the_largest(make_card):
    prob = np.ones((90, 90), np.float32)
    centre = np.zeros((90, 90), np.float32)
    centre[45, 45] = 1
    found = found_in(make_card("mask", largest=31), prob, centre=centre)
    assert len(found) == 1
    mask = masks(found, 90)[0]
    y, x = np.nonzero(mask)
    assert (np.hypot(y - 45, x - 45) <= 16).all()
    assert mask.sum() == pytest.approx(np.pi * 16**2, rel=0.04)


def test_what_a_nucleus_encloses_is_its_own(make_card):
    prob = 0.9 * (ellipse(60, 30, 30, 14) & ~ellipse(60, 30, 30, 9) | ellipse(60, 30, 30, 4))
    centre = np.zeros((60, 60))
    centre[30, 18], centre[30, 30] = 0.9, 0.8
    found = found_in(make_card("mask", largest=64), prob, centre=centre)
    assert len(found) == 1
    assert np.array_equal(masks(found, 60)[0], ellipse(60, 30, 30, 14))
    assert found.score[0] < 0.9


def test_what_hangs_at_a_nucleus_by_a_corner_is_not_its_own(make_card):
    prob = np.zeros((30, 30))
    prob[5:12, 5:12] = 1
    prob[12:19, 12:19] = 1
    centre = np.zeros((30, 30))
    centre[8, 8] = 1
    found = found_in(make_card("mask", largest=40), prob, centre=centre)
    assert [m.sum() for m in masks(found, 30)] == [49]


def test_small_nuclei_are_dropped_by_their_area(make_card):
    prob = np.zeros((30, 30))
    prob[5:8, 5:8] = 1  # 9 px of .25 µm²
    prob[15:18, 15:19] = 1  # 12 px
    card = make_card("mask", mpp=0.5, min_area_um2=3.0)
    assert found_in(card, prob).ref_x.tolist() == [1015]
    card = make_card("mask", mpp=0.5, min_area_um2=2.25)
    assert found_in(card, prob).ref_x.tolist() == [1005, 1015]


def test_a_nucleus_at_the_edge_is_cut_unless_the_slide_ends_there(make_card):
    prob = np.zeros((1, 40, 40), np.float32)
    for x, y in [(0, 20), (37, 20), (20, 0), (20, 37), (20, 20)]:
        prob[0, y : y + 3, x : x + 3] = 1
    card = make_card("mask", min_area_um2=0)
    cut = decode(card, {"prob": prob}, Box(100, 0, 140, 40), Box(0, 0, 140, 400)).cut
    assert cut.tolist() == [False, True, False, False, True]


def test_nothing_outside_of_the_slide_is_looked_at(make_card):
    prob = np.ones((1, 40, 40), np.float32)
    card = make_card("mask", largest=80, min_area_um2=0)
    found = decode(card, {"prob": prob}, Box(-10, -10, 30, 30), Box(0, 0, 20, 15))
    assert len(found) >= 1
    assert found.ring.min() == 0
    assert found.ring.max(axis=0).tolist() == [20, 15]
    assert not found.cut.any()
    nothing = decode(card, {"prob": prob}, Box(-40, 0, 0, 40), Box(0, 0, 20, 15))
    assert (len(nothing), nothing.polygons) == (0, True)


def test_with_a_stride_everything_is_in_model_px(make_card):
    mask = ellipse(40, 20, 20, 7, 5)
    fine = found_in(make_card("mask", mpp=0.5), mask, at=(100, 60))
    card = make_card("mask", mpp=0.125, stride=4)
    box = Box(400, 240, 560, 400)
    coarse = decode(card, {"prob": mask[None].astype(np.float32)}, box, SLIDE)
    assert np.array_equal(coarse.ring, fine.ring * 4)
    assert (coarse.ref_x[0], coarse.ref_y[0]) == (4 * fine.ref_x[0], 4 * fine.ref_y[0])
    assert (coarse.x[0], coarse.y[0]) == (4 * fine.x[0], 4 * fine.y[0])
    assert reach_px(card) == 4 * reach_px(make_card("mask", mpp=0.5))


def test_masks_never_overlap_and_lie_in_the_foreground_and_what_it_encloses(make_card):
    rng = np.random.default_rng(4)
    prob = ndimage.gaussian_filter(rng.standard_normal((120, 120)), 3)
    prob = (0.5 + prob / prob.std() / 4).astype(np.float32)
    centre = (0.5 + ndimage.gaussian_filter(rng.standard_normal((120, 120)), 2)).astype(np.float32)
    card = make_card("mask", largest=30, min_area_um2=0, threshold=0.45, levels=(0.6, 0.5))
    found = found_in(card, prob, centre=centre)
    drawn = np.array(masks(found, 120))
    assert len(drawn) > 10
    assert drawn.sum(axis=0).max() == 1
    for mask in drawn:
        assert ndimage.label(mask)[1] == 1
        kept = mask & (prob > 0.45)
        assert np.array_equal(ndimage.binary_fill_holes(kept, np.ones((3, 3))), mask)


def test_the_reach_is_the_largest_nucleus_and_what_its_rivals_need(make_card):
    plain = make_card("mask", largest=40, seed_radius_um=3)
    levels = make_card("mask", largest=40, seed_radius_um=3, levels=(0.5, 0.3, 0.1))
    assert reach_px(levels) == 2 * 20 + (3 * 5 + 20) + 3
    assert reach_px(plain) == 6 * 20 + 1


def test_maps_that_are_not_those_on_the_card_are_refused(make_card):
    prob = np.ones((1, 8, 8), np.float32)
    box = Box(0, 0, 8, 8)
    with pytest.raises(ModelError, match="no map `prob`"):
        decode(make_card("mask"), {"centre": prob}, box, SLIDE)
    with pytest.raises(ModelError, match="no map `centre`"):
        decode(make_card("mask", levels=(0.5,)), {"prob": prob}, box, SLIDE)
    with pytest.raises(ModelError, match="1 channels where its card needs 2"):
        decode(make_card("mask", classes=2), {"prob": prob, "class": prob}, box, SLIDE)


@pytest.mark.parametrize("value", [0.0, 0.9, np.nan])
def test_maps_without_nuclei_give_none(make_card, value):
    prob = np.full((20, 20), value, np.float32)
    if not value > 0.5:
        assert len(found_in(make_card("mask"), prob)) == 0
    found = found_in(make_card("mask"), prob, centre=np.zeros((20, 20)))
    assert (len(found), found.ring.shape, found.ring_start.tolist()) == (0, (0, 2), [0])
