"""The operators that stand in for torchvision's are the same, fast ones."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from wsiproc.training.vision import (  # noqa: E402
    AnchorGenerator,
    aligned_regions,
    nms,
    roi_align,
    suppressed,
)


def slow_suppression(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        a = boxes[i]
        for k in kept:
            b = boxes[k]
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            both = max(width, 0) * max(height, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
            if both / union > overlap:
                break
        else:
            kept.append(i)
    return kept


def slow_alignment(
    features: np.ndarray,
    roi: np.ndarray,
    scale: float,
    size: tuple[int, int],
    sampling: int,
    aligned: bool,
) -> np.ndarray:
    """He et al. 2017, sec. 3, point by point."""
    _, channels, height, width = features.shape
    image, shift = features[int(roi[0])], 0.5 if aligned else 0.0
    x0, y0, x1, y1 = roi[1:] * scale - shift
    wide, high = x1 - x0, y1 - y0
    if not aligned:
        wide, high = max(wide, 1.0), max(high, 1.0)
    rows = sampling if sampling > 0 else max(1, math.ceil(high / size[0]))
    columns = sampling if sampling > 0 else max(1, math.ceil(wide / size[1]))
    out = np.zeros((channels, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            for a in range(rows):
                for b in range(columns):
                    y = y0 + (i + (a + 0.5) / rows) * high / size[0]
                    x = x0 + (j + (b + 0.5) / columns) * wide / size[1]
                    if y < -1 or y > height or x < -1 or x > width:
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    top, left = int(y), int(x)
                    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    v, u = y - top, x - left
                    out[:, i, j] += (
                        (1 - v) * (1 - u) * image[:, top, left]
                        + (1 - v) * u * image[:, top, right]
                        + v * (1 - u) * image[:, bottom, left]
                        + v * u * image[:, bottom, right]
                    )
    return out / (rows * columns)


@given(
    seed=st.integers(0, 2**31),
    sampling=st.sampled_from([2, 1, 3, 0, -1]),
    aligned=st.booleans(),
    scale=st.sampled_from([1.0, 0.5, 0.25]),
    count=st.integers(1, 6),
)
@settings(max_examples=40, deadline=None)
def test_regions_are_pooled_as_a_plain_loop_pools_them_outside_of_the_image_too(
    seed: int, sampling: int, aligned: bool, scale: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(2, 3, 7, 9))
    corner = rng.uniform(-8, 12 / scale, (count, 2))
    rois = np.column_stack(
        [rng.integers(0, 2, count), corner, corner + rng.uniform(0.1, 12 / scale, (count, 2))]
    )
    wanted = [slow_alignment(features, roi, scale, (3, 2), sampling, aligned) for roi in rois]
    said = aligned_regions(
        torch.from_numpy(features).float(),
        torch.from_numpy(rois).float(),
        scale,
        3,
        2,
        sampling,
        aligned,
    )
    assert np.abs(said.numpy() - np.stack(wanted)).max() < 1e-4


def test_regions_pass_gradients_to_the_features_and_to_nothing_else() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 2, 6, 5, dtype=torch.float32, requires_grad=True)
    rois = torch.tensor([[0, 0.3, 0.2, 7.1, 9.4], [1, -2.0, 3.0, 4.0, 20.0]])
    weight = torch.randn(2, 2, 3, 3)

    def total(x: torch.Tensor) -> torch.Tensor:
        return (aligned_regions(x, rois, 0.5, 3, 3, 2, False) * weight).sum()

    total(features).backward()
    assert features.grad is not None
    for place in [(0, 0, 1, 1), (1, 1, 3, 0), (0, 1, 4, 3)]:
        step = torch.zeros_like(features)
        step[place] = 0.5
        with torch.no_grad():
            # It is linear in the features: a difference is the derivative.
            slope = total(features + step) - total(features - step)
        assert float(slope) == pytest.approx(float(features.grad[place]), abs=1e-4)


def test_no_region_is_pooled_to_nothing_and_still_has_a_gradient() -> None:
    features = torch.zeros(1, 2, 4, 4, requires_grad=True)
    out = aligned_regions(features, torch.zeros(0, 5), 1.0, 7, 7, 2, False)
    assert out.shape == (0, 2, 7, 7)
    out.sum().backward()
    assert features.grad is not None


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(0, 40),
    overlap=st.sampled_from([0.3, 0.5, 0.7]),
)
@settings(max_examples=40, deadline=None)
def test_boxes_are_suppressed_as_a_plain_loop_suppresses_them_ties_too(
    seed: int, count: int, overlap: float
) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 20, (count, 2))
    boxes = np.column_stack([corner, corner + rng.integers(1, 12, (count, 2))]).astype(np.float32)
    scores = (rng.integers(0, 8, count) / 8).astype(np.float32)
    kept = suppressed(torch.from_numpy(boxes).reshape(-1, 4), torch.from_numpy(scores), overlap)
    assert kept.tolist() == slow_suppression(boxes, scores, overlap)


def test_torchvision_itself_calls_operators_that_work() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3.9], [6, 6, 8, 8]])
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist() == [1, 2]
    features = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = roi_align(features, torch.tensor([[0.0, 0, 0, 4, 4]]), (2, 2), 1.0, 2)
    assert pooled.shape == (1, 1, 2, 2)
    assert AnchorGenerator(((8,),), ((1.0,),)).num_anchors_per_location() == [1]


@pytest.mark.parametrize("before", ["pass", "import monai", "import monai, torch.onnx, onnxscript"])
def test_it_loads_whatever_has_tried_to_load_torchvision_before(before: str) -> None:
    pytest.importorskip("monai")
    words = f"{before}\nfrom wsiproc.training.vision import nms\nimport torch\n"
    words += "print(nms(torch.tensor([[0., 0, 4, 4], [0, 0, 4, 5]]), torch.tensor([1., 2]), 0.5))"
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "tensor([1])"
