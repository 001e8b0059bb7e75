"""What the segmenter is told, and what it is not told."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from wsiproc.training.labels import IGNORE  # noqa: E402
from wsiproc_mcf.losses import confidence, cross_entropy, weighted  # noqa: E402


def _logit(p1: float) -> float:
    return math.log(p1 / (1 - p1))


def test_confidence_is_minus_the_mean_log_of_each_mask() -> None:
    logit = torch.tensor([[[_logit(0.8), _logit(0.5), _logit(0.1), _logit(0.3)]]])
    label = torch.tensor([[[1.0, 1.0, 0.0, IGNORE]]])
    nucleus = -(math.log(0.8) + math.log(0.5)) / 2
    background = -math.log(0.9)
    assert confidence(logit, label).item() == pytest.approx(nucleus + background, rel=1e-5)


def test_the_unknown_has_no_gradient() -> None:
    logit = torch.zeros(1, 2, 3, requires_grad=True)
    label = torch.tensor([[[1.0, IGNORE, 0.0], [IGNORE, IGNORE, 0.0]]])
    confidence(logit, label).backward()
    assert torch.equal(logit.grad == 0, label == IGNORE)


def test_a_large_background_does_not_drown_one_nuclear_pixel() -> None:
    label = torch.zeros(1, 100, 100)
    label[0, 0, 0] = 1
    missed = torch.full((1, 100, 100), _logit(0.01))
    assert confidence(missed, label).item() > -math.log(0.02)


def test_a_mask_that_is_empty_costs_nothing() -> None:
    label = torch.full((1, 4, 4), IGNORE)
    assert confidence(torch.randn(1, 4, 4), label).item() == 0


def test_cross_entropy_takes_the_unknown_for_background() -> None:
    logit = torch.full((1, 1, 2), _logit(0.9))
    label = torch.tensor([[[1.0, IGNORE]]])
    wanted = -(math.log(0.9) + math.log(0.1)) / 2
    assert cross_entropy(logit, label).item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("response", [0.0, 0.3, 1.0])
def test_the_weighted_loss_is_least_where_p1_is_the_response(response: float) -> None:
    p1 = torch.linspace(0.001, 0.999, 999)
    logit = torch.log(p1 / (1 - p1))
    known = torch.ones(1, 1, dtype=torch.bool)
    losses = [weighted(v.view(1, 1), torch.tensor([[response]]), known).item() for v in logit]
    best = p1[int(torch.tensor(losses).argmin())].item()
    assert best == pytest.approx(response, abs=0.002)
