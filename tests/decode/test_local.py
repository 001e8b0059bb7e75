"""What is said of a nucleus depends on nothing further than the reach, which seams rest on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from wsiproc.decode import decode, reach_px
from wsiproc.geometry import Box

KINDS = ["points", "mask", "mask with centres", "mask with centres and levels", "hover"]


def rough(rng, channels, size, smooth, steps):
    """Random hills in [0, 1]; cut to `steps` values, so that there are plateaus and ties."""
    hills = ndimage.gaussian_filter(
        rng.standard_normal((channels, size, size)), (0, smooth, smooth)
    )
    hills = 0.5 + hills / hills.std() / 4
    if steps:
        hills = np.round(hills * steps) / steps
    return np.clip(hills, 0, 1).astype(np.float32)


def case(make_card, kind, rng, size, stride):
    """A card with random constants, and maps that its model could give."""
    smooth, steps = rng.uniform(0.7, 5), int(rng.choice([0, 6, 16]))
    maps = {
        "prob": rough(rng, 1, size, smooth, steps),
        "centre": rough(rng, 1, size, smooth * rng.uniform(0.5, 1), steps),
        "class": rough(rng, 2, size, smooth, steps),
    }
    length = {"largest": rng.uniform(4, 14) * stride, "mpp": 1.0, "stride": stride, "classes": 2}
    threshold = float(rng.uniform(0.2, 0.6))
    if kind == "points":
        radius = float(rng.uniform(0.5, 8)) * stride
        card = make_card("points", **length, threshold=threshold, radius_um=radius)
        return card, {"prob": maps["class"]}
    post = {
        "threshold": threshold,
        "seed_radius_um": float(rng.uniform(0.5, 5)) * stride,
        "seed_threshold": float(rng.uniform(0.2, 0.6)),
        "min_area_um2": float(rng.choice([0, 8])),
    }
    if kind == "hover":
        del post["seed_radius_um"], post["seed_threshold"]
        post |= {
            "marker_threshold": float(rng.uniform(0.05, 0.6)),
            "slope_um": float(rng.uniform(0.3, 2)) * stride,
            "marker_depth_um": float(rng.uniform(0, 2)) * stride,
        }
        hv = 2 * rough(rng, 2, size, smooth * rng.uniform(0.5, 1), steps) - 1
        said = {"np": maps["prob"], "hv": hv * np.float32(rng.uniform(0.1, 3)), "tp": maps["class"]}
        return make_card("hover", **length, **post), said
    if kind == "mask":
        del maps["centre"]
    if kind == "mask with centres and levels":
        levels = rng.uniform(0.1, 0.9, rng.integers(1, 5))
        post["levels"] = tuple(np.sort(levels)[::-1].tolist())
    return make_card("mask", **length, **post), maps


def rows(nuclei):
    """Every column of each nucleus, to the bit."""
    out = {}
    for i in range(len(nuclei)):
        one = nuclei.take(np.array([i]))
        columns = [one.x, one.y, one.class_id, one.score]
        if one.ring is not None:
            columns.append(one.ring)
        out[int(one.ref_x[0]), int(one.ref_y[0])] = b"".join(c.tobytes() for c in columns)
    return out


def inside(box, slide, reach):
    """Where the reach around a reference pixel is seen: past the slide there is nothing to see."""
    return Box(
        box.x0 + reach * (box.x0 > slide.x0),
        box.y0 + reach * (box.y0 > slide.y0),
        box.x1 - reach * (box.x1 < slide.x1),
        box.y1 - reach * (box.y1 < slide.y1),
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stride=st.integers(1, 2))
def test_a_nucleus_is_the_same_from_every_box_that_holds_its_reach(make_card, kind, seed, stride):
    rng = np.random.default_rng(seed)
    size = 150
    card, maps = case(make_card, kind, rng, size, stride)
    x, y = rng.integers(-20, 40, 2)
    whole = Box.of_size(x, y, size, size)
    # The slide may end inside or outside of what was decoded.
    last_x, last_y = np.array([x, y]) + size + rng.integers(-20, 20, 2)
    slide = Box(0, 0, last_x * stride, last_y * stride)
    large = decode(card, maps, Box(*(stride * v for v in whole.as_tuple())), slide)
    for _ in range(4):
        x0, y0 = rng.integers(0, size // 2, 2)
        x1, y1 = rng.integers(size // 2, size, 2) + 1
        cut = {name: m[:, y0:y1, x0:x1] for name, m in maps.items()}
        box = Box(*(int(stride * v) for v in (x + x0, y + y0, x + x1, y + y1)))
        small = decode(card, cut, box, slide)
        sure = inside(box, slide, reach_px(card))
        expected = rows(large.take(sure.holds(large.ref_x, large.ref_y)))
        assert rows(small.take(sure.holds(small.ref_x, small.ref_y))) == expected


@pytest.mark.parametrize("kind", ["mask with centres and levels", "hover"])
def test_decoding_looks_far_enough_to_need_its_reach(make_card, kind):
    """The property above would hold of a decoder that looks at single pixels only."""
    rng = np.random.default_rng(5)
    different = 0
    for _ in range(10):
        card, maps = case(make_card, kind, rng, 150, 1)
        slide = Box(0, 0, 10_000, 10_000)
        large = decode(card, maps, Box(500, 500, 650, 650), slide)
        small = decode(
            card, {k: m[:, 20:130, 20:130] for k, m in maps.items()}, Box(520, 520, 630, 630), slide
        )
        near = Box(520, 520, 630, 630).grown(-reach_px(card) // 4)
        different += rows(large.take(near.holds(large.ref_x, large.ref_y))) != rows(
            small.take(near.holds(small.ref_x, small.ref_y))
        )
    assert different > 0


@pytest.mark.parametrize("kind", KINDS)
def test_nuclei_come_sorted_and_each_once(make_card, kind):
    rng = np.random.default_rng(3)
    card, maps = case(make_card, kind, rng, 150, 1)
    found = decode(card, maps, Box(0, 0, 150, 150), Box(0, 0, 150, 150))
    assert len(found) > 5
    key = found.ref_y * 1000 + found.ref_x
    assert (np.diff(key) > 0).all()
