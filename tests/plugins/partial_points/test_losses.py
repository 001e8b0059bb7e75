"""What each loss counts, and what it leaves alone."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from wsiproc_partial_points.losses import cross_entropy, weighted_squares  # noqa: E402
from wsiproc_partial_points.segmentation import label_loss  # noqa: E402
from wsiproc_partial_points.weak import UNKNOWN  # noqa: E402


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_squares_near_points_weigh_ten_and_the_mean_is_over_pixels() -> None:
    logit = torch.tensor([[[_logit(0.8), _logit(0.3), _logit(0.9)]]])
    mask = torch.tensor([[[1.0, 0.0, -1.0]]])
    heavy = torch.tensor([[[True, False, False]]])
    loss = weighted_squares(logit, mask, mask >= 0, heavy, 10.0)
    assert loss.item() == pytest.approx((10 * 0.2**2 + 0.3**2) / 2, rel=1e-5)


def test_cross_entropy_is_the_mean_over_what_is_known() -> None:
    logit = torch.tensor([[[_logit(0.8), _logit(0.3), _logit(0.99)]]])
    label = torch.tensor([[[1, 0, UNKNOWN]]], dtype=torch.uint8)
    loss = cross_entropy(logit, label, label != UNKNOWN)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_shares_the_loss_between_the_labels(alpha: float) -> None:
    logit = torch.tensor([[[_logit(0.6), _logit(0.6)]]], requires_grad=True)
    voronoi = torch.tensor([[[1, UNKNOWN]]], dtype=torch.uint8)
    cluster = torch.tensor([[[UNKNOWN, 0]]], dtype=torch.uint8)
    loss = label_loss(logit, voronoi, cluster, alpha)
    assert loss.item() == pytest.approx(
        -alpha * math.log(0.6) - (1 - alpha) * math.log(0.4), rel=1e-5
    )
    loss.backward()
    assert (logit.grad[0, 0] != 0).tolist() == [alpha > 0, alpha < 1]
