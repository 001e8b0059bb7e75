"""The dense-CRF loss is the double sum, and its gradient the sum's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from wsiproc_partial_points.crf import pairwise_loss  # noqa: E402

POSITION, COLOUR = 2.5, 0.2
HEIGHT, WIDTH = 9, 12


def _case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prob = torch.rand(2, HEIGHT, WIDTH, generator=generator)
    image = torch.rand(2, 3, HEIGHT, WIDTH, generator=generator)
    seen = torch.rand(2, HEIGHT, WIDTH, generator=generator) > 0.2
    return prob, image, seen


def exact(
    prob: torch.Tensor, image: torch.Tensor, seen: torch.Tensor, reach: float
) -> torch.Tensor:
    """All pairs, one by one (eq. 8 and 9), in double precision."""
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    place = torch.stack([row, column], -1).reshape(-1, 2).double()
    offset = place[:, None] - place[None]
    near = (offset.abs() <= reach).all(-1)
    total = torch.zeros((), dtype=torch.float64)
    for y, pixels, known in zip(prob.double(), image.double(), seen, strict=True):
        colours = pixels.reshape(3, -1).T
        apart = (colours[:, None] - colours[None]).square().sum(-1)
        far = offset.square().sum(-1)
        weight = torch.exp(-far / (2 * POSITION**2) - apart / (2 * COLOUR**2)) * near
        flat, there = y.reshape(-1), known.reshape(-1).double()
        total = total + ((flat * there) @ weight @ ((1 - flat) * there))
    return total / seen.sum()


@pytest.mark.parametrize("reach", [0, 1, 3, 50])
def test_it_is_the_exact_double_sum_over_the_window(reach: int) -> None:
    prob, image, seen = _case()
    loss = pairwise_loss(prob, image, position=POSITION, colour=COLOUR, reach=reach, seen=seen)
    assert loss.item() == pytest.approx(exact(prob, image, seen, reach).item(), rel=1e-5)


def test_its_gradient_is_that_of_the_double_sum() -> None:
    prob, image, seen = _case(1)
    mine, theirs = prob.clone().requires_grad_(), prob.clone().requires_grad_()
    loss = pairwise_loss(mine, image, position=POSITION, colour=COLOUR, reach=4, seen=seen)
    (3 * loss).backward()
    (3 * exact(theirs, image, seen, 4)).backward()
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_three_deviations_of_window_are_the_whole_sum_but_for_half_a_percent() -> None:
    prob, image, seen = _case(2)
    reach = round(3 * POSITION)
    part = pairwise_loss(prob, image, position=POSITION, colour=COLOUR, reach=reach, seen=seen)
    assert part.item() == pytest.approx(exact(prob, image, seen, 50).item(), rel=5e-3)


def test_a_border_costs_least_where_the_colour_changes() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1
    losses = []
    for border in (6, 8, 10):
        prob = torch.zeros(1, 16, 16)
        prob[..., border:] = 1
        seen = torch.ones(1, 16, 16, dtype=torch.bool)
        losses.append(
            pairwise_loss(prob, image, position=2, colour=0.2, reach=6, seen=seen).item()
        )
    assert losses[1] < 0.1 * min(losses[0], losses[2])


def test_pixels_outside_the_image_are_in_no_pair() -> None:
    prob, image, seen = _case(3)
    prob.requires_grad_()
    pairwise_loss(prob, image, position=2, colour=0.2, reach=3, seen=seen).backward()
    assert (prob.grad[~seen] == 0).all()
    assert (prob.grad[seen] != 0).all()
    nothing = torch.zeros_like(seen)
    none = pairwise_loss(prob, image, position=2, colour=0.2, reach=3, seen=nothing)
    assert none.item() == 0
