"""Thinning out, cutting out, and who gains by what."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from wsiproc_lair.losses import (  # noqa: E402
    deceiving,
    detection_loss,
    instance_mask,
    judged_made,
    judged_real,
    sparse,
)


def bumps() -> torch.Tensor:
    """A map with two bumps of .9 and .6 on a little noise."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    near = torch.exp(-((x - 10) ** 2 + (y - 12) ** 2) / 18) * 0.9
    far = torch.exp(-((x - 28) ** 2 + (y - 25) ** 2) / 18) * 0.6
    return (near + far + 0.01 * torch.sin(x * y))[None, None]


def test_peaks_are_all_that_is_left_of_a_map() -> None:
    kept = sparse(bumps(), "peaks", 9, 0.1)[0, 0]
    assert kept.nonzero().tolist() == [[12, 10], [25, 28]]


def test_stamped_peaks_are_squares_as_wide_as_the_pooling() -> None:
    kept = sparse(bumps(), "stamped", 9, 0.1)[0, 0]
    assert int((kept > 0).sum()) == 2 * 81
    assert (kept[8:17, 6:15] == kept[12, 10]).all()


def test_the_papers_max_pooling_thins_nothing_out() -> None:
    prob = bumps()
    assert (sparse(prob, "maxpool", 9) > 0.1).sum() > 1.5 * (prob > 0.1).sum()


def test_gradients_pass_through_peaks_alone() -> None:
    prob = bumps().requires_grad_()
    sparse(prob, "peaks", 9, 0.1).sum().backward()
    assert prob.grad is not None
    assert prob.grad[0, 0].nonzero().tolist() == [[12, 10], [25, 28]]


def test_instances_are_cut_out_around_what_is_certain() -> None:
    prob = torch.zeros(2, 1, 30, 30)
    prob[0, 0, 15, 9], prob[0, 0, 3, 3] = 0.9, 0.8
    mask = instance_mask(prob, 0.85, 11)
    assert int(mask[0].sum()) == 121
    assert (mask[0, 0, 10:21, 4:15] == 1).all()
    assert mask[1].sum() == 0


def test_unknown_pixels_teach_nothing() -> None:
    logits = torch.randn(2, 1, 8, 8)
    target = torch.full((2, 8, 8), -1.0)
    target[0, :4] = 1.0
    known = functional.binary_cross_entropy_with_logits(logits[0, 0, :4], target[0, :4])
    assert detection_loss(logits, target) == pytest.approx(float(known))
    assert detection_loss(logits, torch.full((2, 8, 8), -1.0)) == 0


def test_squares_can_weigh_more_than_background() -> None:
    logits, target = torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4)
    target[0, 0] = 1
    once, thrice = detection_loss(logits, target), detection_loss(logits, target, 3.0)
    assert thrice == pytest.approx(float(once) * (12 + 3 * 4) / 16)


def test_critics_and_who_deceives_them_want_opposite_things() -> None:
    logits = torch.zeros(3, 1, 2, 2, requires_grad=True)
    (critics,) = torch.autograd.grad(judged_made(logits), logits)
    for saturating in (False, True):
        (painter,) = torch.autograd.grad(deceiving(logits, None, saturating), logits)
        assert (critics * painter < 0).all()


def test_the_printed_loss_has_no_gradient_where_critics_are_right() -> None:
    logits = torch.full((1, 1, 2, 2), 12.0, requires_grad=True)  # made, as they rightly say
    (printed,) = torch.autograd.grad(deceiving(logits, None, True), logits)
    (used,) = torch.autograd.grad(deceiving(logits, None, False), logits)
    assert printed.abs().max() < 1e-5
    assert used.abs().min() > 0.2


def test_images_without_a_certain_nucleus_are_not_judged() -> None:
    logits = torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    some = torch.tensor([1.0, 0.0])
    assert judged_real(logits, some) == pytest.approx(float(judged_real(logits[:1])))
    assert judged_made(logits, torch.zeros(2)) == 0
