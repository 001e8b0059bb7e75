"""Anchors are matched as torchvision matches them, without looking at every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from wsiproc.training.matching import match  # noqa: E402
from wsiproc.training.vision import AnchorGenerator, ImageList, box_iou, overlapping  # noqa: E402


def boxes_of(rng: np.random.Generator, count: int, extent: int) -> torch.Tensor:
    """Boxes with edges between pixels, inside of an image."""
    low = rng.integers(0, extent - 2, (count, 2))
    high = np.minimum(low + rng.integers(2, 24, (count, 2)), extent)
    return torch.from_numpy(np.concatenate([low, high], 1)).float()


def anchors_of(extent: int) -> torch.Tensor:
    """Two levels, three shapes a place."""
    generator = AnchorGenerator(((6.0,), (14.0,)), ((0.5, 1.0, 2.0),) * 2)
    image = torch.zeros(1, 3, extent, extent)
    levels = [torch.zeros(1, 1, extent // step, extent // step) for step in (2, 4)]
    (anchors,) = generator(ImageList(image, [(extent, extent)]), levels)
    return anchors


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30))
def test_an_anchor_is_for_the_box_that_torchvision_says_it_is_for(seed: int, count: int) -> None:
    from torchvision.models.detection._utils import Matcher

    boxes, anchors = boxes_of(np.random.default_rng(seed), count, 48), anchors_of(48)
    theirs = Matcher(0.7, 0.3, allow_low_quality_matches=True)(box_iou(boxes, anchors))
    assert torch.equal(match(boxes, anchors, above=0.7, below=0.3), theirs)


def test_without_a_box_all_is_background() -> None:
    assert (match(torch.zeros(0, 4), anchors_of(16), above=0.7, below=0.3) == -1).all()


def test_every_box_has_an_anchor_and_one_that_none_overlaps_takes_none() -> None:
    anchors = anchors_of(48)
    tiny = torch.tensor([[20.0, 20.0, 22.0, 22.0], [200.0, 200.0, 210.0, 210.0]])
    found = match(tiny, anchors, above=0.7, below=0.3)
    assert (found == 0).any()
    assert not (found == 1).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_pairs_are_those_that_share_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = boxes_of(rng, 7, 40), boxes_of(rng, 9, 40)
    i, j = overlapping(a, b)
    assert torch.equal(torch.stack([i, j], 1), (box_iou(a, b) > 0).nonzero())
