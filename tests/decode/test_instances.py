"""What windows say of nuclei is settled by rules that know no tile and no order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from drawn_views import discs, lattice, said_of, views_in
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from slow_decoders import pasted_slowly
from test_local import rows

from wsiproc.decode import concat_views, decode, reach_px, views_of
from wsiproc.decode._paste import pasted
from wsiproc.decode.points import disc
from wsiproc.geometry import Box
from wsiproc.tiling import Window

WINDOW = 64


def instances_card(make_card, *, largest=12.0, margin=16, **post):
    post = {"min_area_um2": 0, "score_threshold": 0.3, **post}
    return make_card("instances", largest=largest, margin=margin, **post)


def outputs(*nuclei, edge=8, window=0):
    """Full masks: each nucleus is (x0, y0, x1, y1, score)."""
    table = np.array(nuclei, np.float32).reshape(-1, 5)
    return {
        "boxes": table[:, :4],
        "scores": table[:, 4],
        "labels": np.zeros(len(table), np.float32),
        "tile": np.full(len(table), window, np.float32),
        "masks": np.ones((len(table), 1, edge, edge), np.float32),
    }


def alone(edge=64):
    """A window that speaks of everything it sees."""
    box = Box(0, 0, edge, edge)
    return Window(box, box)


def areas(found):
    return [shapely.Polygon(found.ring[a:b]).area for a, b in pairwise(found.ring_start)]


def found_in(card, said, window=None):
    window = window or alone()
    return decode(card, views_of(card, said, [window]), window.read, window.read)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_nucleus_is_the_same_from_every_box_that_holds_its_reach(make_card, seed):
    rng = np.random.default_rng(seed)
    largest = float(rng.uniform(4, 15))
    post = {"most_lost": float(rng.uniform(0.3, 0.9)), "dilation_um": float(rng.choice([0, 1.5]))}
    card = instances_card(make_card, largest=largest, margin=16, **post)
    slide = Box(0, 0, *(int(v) for v in rng.integers(250, 300, 2)))
    # So small that windows dispute most of the nuclei.
    windows = lattice(card, 48, slide)
    views = views_in(card, windows, discs(300, rng, int(rng.integers(50, 2000)), largest))
    large = decode(card, concat_views(views), slide, slide)
    for _ in range(3):
        x0, y0 = (int(v) for v in rng.integers(0, 5, 2) * 16)
        x1, y1 = (int(v) for v in rng.integers(12, 20, 2) * 16)
        box = Box(x0, y0, x1, y1) & slide
        order = rng.permutation(len(windows))
        bear = [views[i] for i in order if not (windows[i].valid & box).empty]
        small = decode(card, concat_views(bear), box, slide)
        reach = reach_px(card)
        sure = Box(
            box.x0 + reach * (box.x0 > 0),
            box.y0 + reach * (box.y0 > 0),
            box.x1 - reach * (box.x1 < slide.x1),
            box.y1 - reach * (box.y1 < slide.y1),
        )
        expected = rows(large.take(sure.holds(large.ref_x, large.ref_y)))
        assert rows(small.take(sure.holds(small.ref_x, small.ref_y))) == expected


def test_settling_looks_far_enough_to_need_its_reach(make_card):
    """The property above would hold of a decoder that settles nothing."""
    different = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        card = instances_card(make_card, largest=9.0)
        slide = Box(0, 0, 384, 384)
        windows = lattice(card, WINDOW, slide)
        views = views_in(card, windows, discs(384, rng, 3000, 9.0))
        box = Box(96, 96, 288, 288)
        bear = [v for v, w in zip(views, windows, strict=True) if not (w.valid & box).empty]
        near = box.grown(-2)
        both = [decode(card, concat_views(part), box, slide) for part in (views, bear)]
        said = [rows(found.take(near.holds(found.ref_x, found.ref_y))) for found in both]
        different += said[0] != said[1]
    assert different > 0


@pytest.mark.parametrize("seed", range(3))
def test_each_nucleus_comes_once_and_none_overlaps(make_card, seed):
    """Of nuclei that lie apart, whatever number of windows sees them."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(np.arange(10, 310, 20), np.arange(10, 310, 20)), -1).reshape(-1, 2)
    nuclei = np.column_stack([at + rng.uniform(-3, 3, at.shape), np.full((len(at), 2), 5.0)])
    nuclei[:, 3] = 0.9
    card = instances_card(make_card)
    slide = Box(0, 0, 320, 320)
    windows = lattice(card, WINDOW, slide)
    found = decode(card, concat_views(views_in(card, windows, nuclei)), slide, slide)
    labels = np.zeros((320, 320), np.int32)
    y, x = np.mgrid[:320, :320] + 0.5
    for a, b in pairwise(found.ring_start):
        labels += shapely.contains_xy(
            shapely.Polygon(found.ring[a:b]), x.ravel(), y.ravel()
        ).reshape(320, 320)
    assert labels.max() == 1
    near = np.hypot(found.x[:, None] - nuclei[:, 0], found.y[:, None] - nuclei[:, 1]) < 4
    assert near.sum(axis=0).max() == 1, "a nucleus is there twice"
    # A window is blind to one in ten.
    assert 0.85 < near.any(axis=0).mean() < 1


@pytest.mark.parametrize("dilation", [0.0, 1.0, 1.5])
def test_masks_are_laid_into_their_boxes_as_a_plain_loop_does_it(dilation):
    rng = np.random.default_rng(4)
    boxes = np.concatenate([rng.uniform(0, 40, (30, 2)), np.zeros((30, 2))], axis=1)
    boxes[:, 2:] = boxes[:, :2] + rng.uniform(1, 20, (30, 2))
    masks = ndimage.gaussian_filter(rng.random((30, 7, 7)), (0, 1, 1)).astype(np.float32)
    grown = disc(dilation) if dilation else np.empty((0, 2), np.int64)
    corner = rng.integers(-9, 9, (30, 2))
    clip = np.tile(np.array([0, 0, 48, 52]), (30, 1))
    run, start = pasted(boxes, masks, corner, clip, 0.5, grown)
    for n, (a, b) in enumerate(pairwise(start)):
        ours = np.zeros((52, 48), bool)
        for y, x0, x1 in run[a:b]:
            ours[y, x0:x1] = True
        theirs = pasted_slowly(boxes[n], masks[n], corner[n], (52, 48), 0.5, grown)
        np.testing.assert_array_equal(ours, theirs)


def test_a_full_mask_is_its_box_to_the_half_cell(make_card):
    card = instances_card(make_card, largest=20.0, margin=24)
    found = found_in(card, outputs((10, 20, 26, 30, 0.9), edge=28))
    assert (found.ref_x[0], found.ref_y[0]) == (10, 20)
    assert (found.x[0], found.y[0]) == (18, 25)
    assert areas(found)[0] == pytest.approx(160, abs=4)
    assert found.score[0] == np.float32(0.9)


def test_pixels_go_to_the_more_certain_and_who_loses_most_is_dropped(make_card):
    card = instances_card(make_card, largest=20.0, margin=24, most_lost=0.7)
    half = found_in(card, outputs((10, 10, 20, 20, 0.8), (15, 10, 25, 20, 0.9)))
    assert sorted(np.round(areas(half), -1)) == [50, 100]
    hidden = found_in(card, outputs((10, 10, 20, 20, 0.8), (12, 10, 22, 20, 0.9)))
    assert len(hidden) == 1
    assert hidden.score[0] == np.float32(0.9)
    card = instances_card(make_card, largest=20.0, margin=24, most_lost=0.9)
    assert len(found_in(card, outputs((10, 10, 20, 20, 0.8), (12, 10, 22, 20, 0.9)))) == 2


def test_who_is_dropped_gives_its_pixels_back(make_card):
    card = instances_card(make_card, largest=24.0, margin=24, most_lost=0.5)
    said = outputs((10, 10, 20, 20, 0.9), (14, 10, 24, 20, 0.8), (21, 10, 31, 20, 0.7))
    found = found_in(card, said)
    assert found.score.tolist() == [np.float32(0.9), np.float32(0.7)]
    assert np.round(areas(found), -1).tolist() == [100, 100]


def test_the_view_that_is_nearest_its_windows_middle_is_taken(make_card):
    """The other is more certain, and sees the nucleus larger."""
    card = instances_card(make_card)
    left, right = (Window(b.grown(16), b) for b in (Box(0, 0, 32, 32), Box(32, 0, 64, 32)))
    # In global px the nucleus lies around x = 30.5: left of the border between the two.
    mine = outputs((41, 20, 51, 30, 0.5))
    theirs = outputs((9, 20, 20, 30, 0.99))
    slide = Box(0, 0, 64, 64)
    views = [views_of(card, mine, [left]), views_of(card, theirs, [right])]
    for order in (views, views[::-1]):
        found = decode(card, concat_views(order), slide, slide)
        assert found.score.tolist() == [0.5]


def test_of_three_views_in_a_row_the_outer_two_stay(make_card):
    """The middle one is undone by the best, and so undoes nothing any more."""
    card = instances_card(make_card, largest=16.0)
    windows = [Window(b.grown(16), b) for b in (Box(0, 0, 32, 32), Box(32, 0, 64, 32))]
    one = outputs((38, 20, 46, 28, 0.9))  # 22 to 30 of the slide, 10 px off its window's middle
    both = outputs((8, 20, 21, 28, 0.8))  # 24 to 37, and 17.5 px off
    other = outputs((47, 20, 55, 28, 0.9))  # 31 to 39, and 19 px off
    said = {name: np.concatenate([one[name], other[name]]) for name in one}
    slide = Box(0, 0, 64, 64)
    views = [views_of(card, said, windows[:1]), views_of(card, both, windows[1:])]
    found = decode(card, concat_views(views), slide, slide)
    assert found.ref_x.tolist() == [22, 31]


def test_windows_speak_only_of_what_they_see_whole(make_card):
    card = instances_card(make_card, largest=12.0, margin=16)
    window = Window(Box(-16, -16, 48, 48), Box(0, 0, 32, 32))
    said = outputs(
        (20, 20, 30, 30, 0.9),
        (56, 20, 64, 30, 0.9),  # at the edge
        (46, 20, 54, 30, 0.9),  # its middle is 2 px outside of the valid part
        (49, 20, 57, 30, 0.9),  # and this one's 5 px
        (10, 20, 30, 30, 0.9),  # longer than the largest nucleus
        (20, 20, 30, 30, 0.0),  # what keeps the graph from being empty
        (20, 20, 30, np.nan, 0.9),
    )
    assert views_of(card, said, [window]).box[:, 0].tolist() == [20, 46]


def test_labels_outside_of_the_card_are_left_out(make_card):
    card = instances_card(make_card, first_label=1)
    said = outputs(*[(20, 20, 30, 30, 0.9)] * 3)
    said["labels"] = np.array([0, 1, 2], np.float32)
    assert views_of(card, said, [alone()]).class_id.tolist() == [0]


def test_a_nucleus_is_its_largest_piece_without_holes(make_card):
    card = instances_card(make_card, largest=40.0, margin=40)
    said = outputs((10, 10, 38, 38, 0.9), edge=28)
    mask = np.zeros((28, 28), np.float32)
    mask[2:20, 2:20] = 1
    mask[8:12, 8:12] = 0
    mask[24:, 24:] = 1
    said["masks"][0, 0] = mask
    found = found_in(card, said)
    assert areas(found) == [18 * 18 - 0.5]  # corners are cut
    assert (found.ref_x[0], found.ref_y[0]) == (12, 12)


def test_views_of_a_window_past_the_slide_end_at_its_edge(make_card):
    card = instances_card(make_card)
    window = Window(Box(-16, -16, 48, 48), Box(0, 0, 32, 32))
    views = views_of(card, outputs((12, 20, 22, 30, 0.9)), [window])
    slide = Box(0, 0, 100, 100)
    found = decode(card, views, Box(0, 0, 32, 32), slide)
    assert found.ring.min(axis=0).tolist() == [0, 4]
    assert not found.cut[0]


def test_without_views_there_are_no_nuclei(make_card):
    card = instances_card(make_card)
    for said in (outputs(), outputs((1, 1, 5, 5, 0.1))):
        found = found_in(card, said)
        assert (len(found), found.polygons) == (0, True)


def test_the_drawn_network_depends_on_its_window(make_card):
    """Else the tests above would hold of any rule."""
    card = instances_card(make_card)
    nuclei = np.tile([40.0, 40.0, 5.0, 0.9], (20, 1))
    boxes = [Window(b.grown(16), b) for b in (Box(0, 0, 64, 64), Box(32, 32, 96, 96))]
    one, other = (said_of(card, w, nuclei)["boxes"] + w.read.x0 for w in boxes)
    assert min(len(one), len(other)) > 10
    assert not np.intersect1d(one, other).size
