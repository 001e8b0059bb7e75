from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.decode import decode, reach_px
from wsiproc.geometry import Box

SLIDE = Box(0, 0, 1000, 1000)


def peaks_by_hand(prob, threshold, radius):
    """The definition, pixel by pixel."""
    best = prob.max(axis=0)
    height, width = best.shape
    found = []
    for y in range(height):
        for x in range(width):
            rivals = [
                (best[j, i], -j, -i)
                for j in range(height)
                for i in range(width)
                if (j - y) ** 2 + (i - x) ** 2 <= max(radius, 1) ** 2
            ]
            if best[y, x] > threshold and max(rivals) == (best[y, x], -y, -x):
                found.append((x, y))
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.floats(0.3, 6),
    values=st.integers(2, 40),
    channels=st.integers(1, 3),
)
def test_a_peak_is_the_largest_of_its_disc_and_ties_go_to_the_upper_left(
    make_card, seed, radius, values, channels
):
    rng = np.random.default_rng(seed)
    prob = (rng.integers(0, values, (channels, 17, 19)) / values).astype(np.float32)
    card = make_card("points", radius_um=radius, threshold=0.3, classes=channels)
    found = decode(card, {"prob": prob}, Box(100, 200, 119, 217), SLIDE)
    expected = peaks_by_hand(prob, 0.3, radius)
    assert list(zip(found.ref_x - 100, found.ref_y - 200, strict=True)) == expected
    assert np.array_equal(found.x, found.ref_x + 0.5)
    assert np.array_equal(found.y, found.ref_y + 0.5)
    for row, (x, y) in enumerate(expected):
        assert found.score[row] == prob[:, y, x].max()
        assert found.class_id[row] == prob[:, y, x].argmax()


def test_a_peak_whose_disc_was_not_seen_is_cut_unless_the_slide_ends_there(make_card):
    prob = np.zeros((1, 30, 30), np.float32)
    prob[0, 15, 2] = prob[0, 15, 27] = prob[0, 15, 15] = 0.9
    card = make_card("points", radius_um=4)
    found = decode(card, {"prob": prob}, Box(0, 100, 30, 130), SLIDE)
    assert found.ref_x.tolist() == [2, 15, 27]
    assert found.cut.tolist() == [False, False, True]
    assert reach_px(card) == 4


def test_nothing_is_found_outside_of_the_slide(make_card):
    prob = np.zeros((1, 30, 30), np.float32)
    prob[0, 5, 5], prob[0, 5, 15], prob[0, 15, 5], prob[0, 25, 25] = 0.9, 0.9, 0.9, 0.9
    card = make_card("points", radius_um=2)
    found = decode(card, {"prob": prob}, Box(-10, -10, 20, 20), Box(0, 0, 12, 12))
    assert len(found) == 0
    found = decode(card, {"prob": prob}, Box(-10, -10, 20, 20), Box(0, 0, 16, 16))
    assert list(zip(found.ref_x, found.ref_y, strict=True)) == [(15, 15)]


def test_with_a_stride_lengths_and_places_are_in_model_px(make_card):
    prob = np.zeros((1, 20, 20), np.float32)
    prob[0, 7, 9] = 0.9
    prob[0, 7, 11] = 0.8
    card = make_card("points", radius_um=8, stride=4)
    found = decode(card, {"prob": prob}, Box(400, 80, 480, 160), SLIDE)
    assert (found.ref_x.tolist(), found.ref_y.tolist()) == ([436], [108])
    assert (found.x.tolist(), found.y.tolist()) == ([438.0], [110.0])
    assert reach_px(card) == 8
