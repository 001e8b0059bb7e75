"""The centre head: its targets and losses are those of a plain loop, and it sees what it said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)

from torch import Tensor  # noqa: E402

from wsiproc.training.mask_rcnn import targets_of  # noqa: E402
from wsiproc_exemplar.centres import (  # noqa: E402
    CentreHead,
    CentreTargets,
    centre_losses,
    centre_targets,
    sampled,
    seen,
    seen_of_each,
)


def slow_targets(labels: np.ndarray, stride: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Cell by cell, as the method's description has it."""
    height, width = labels.shape[0] // stride, labels.shape[1] // stride
    state = np.full((height, width), -1.0)
    nucleus = np.full((height, width), -1)
    ids = []
    for label in sorted(set(labels.ravel().tolist()) - {0}):
        rows, columns = np.nonzero(labels == label)
        x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
        if min(x1 - x0, y1 - y0) >= 2:
            ids.append((label, x0, x1, y0, y1))
    for y in range(height):
        for x in range(width):
            there = labels[y * stride + stride // 2, x * stride + stride // 2]
            if there in [i[0] for i in ids]:
                state[y, x] = 0
    for number, (_, x0, x1, y0, y1) in enumerate(ids):
        cx, cy = (x0 + x1) / (2 * stride), (y0 + y1) / (2 * stride)
        w, h = share * (x1 - x0) / stride, share * (y1 - y0) / stride
        left, top = math.floor(cx - w / 2), math.floor(cy - h / 2)
        right = max(math.ceil(cx + w / 2), left + 1)
        bottom = max(math.ceil(cy + h / 2), top + 1)
        for y in range(max(0, top), min(height, bottom)):
            for x in range(max(0, left), min(width, right)):
                state[y, x], nucleus[y, x] = 1, number
    return state, nucleus


@given(
    seed=st.integers(0, 2**31), stride=st.sampled_from([2, 4]), share=st.sampled_from([0.3, 0.6])
)
@settings(max_examples=40, deadline=None)
def test_targets_are_those_of_a_plain_loop(seed: int, stride: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 32), np.int32)
    for label in range(1, int(rng.integers(1, 6))):
        y, x = rng.integers(0, 20), rng.integers(0, 28)
        labels[y : y + rng.integers(1, 10), x : x + rng.integers(1, 12)] = label
    (target,) = targets_of(torch.from_numpy(labels[None]), torch.tensor([False]))
    said = centre_targets(target["masks"], target["boxes"], stride, share)
    state, nucleus = slow_targets(labels, stride, share)
    assert (said.state.numpy() == state).all()
    assert (said.nucleus.numpy() == nucleus).all()


def test_half_of_the_sample_are_centres_if_there_are_so_many_and_none_is_unknown() -> None:
    torch.manual_seed(0)
    state = torch.tensor([1.0] * 10 + [0.0] * 30 + [-1.0] * 20)
    few, rest = sampled(state, 16)
    assert (len(few), len(rest)) == (8, 8)
    few, rest = sampled(state, 32)
    assert (len(few), len(rest)) == (10, 22)
    assert (state[few] == 1).all()
    assert (state[rest] == 0).all()


def test_losses_are_those_of_a_plain_loop_and_unknown_cells_teach_nothing() -> None:
    torch.manual_seed(0)
    state = torch.tensor([[1.0, 0.0, -1.0, 0.0], [-1.0, 1.0, -1.0, -1.0]])
    nucleus = torch.tensor([[1, -1, -1, -1], [-1, 0, -1, -1]])
    boxes = torch.tensor([[1.0, 1, 9, 12], [2, 0, 6, 5]])
    logits = torch.randn(1, 8, requires_grad=True)
    moves = torch.randn(1, 8, 4, requires_grad=True)
    head = CentreHead(3, 2, (5.0, 6.0))
    anchors = head.anchors(2, 4)
    losses = centre_losses(
        (logits, moves), [CentreTargets(state, nucleus)], [boxes], anchors, count=8
    )
    entropy = smooth = 0.0
    for cell in (0, 1, 3, 5):
        y, x = divmod(cell, 4)
        p = 1 / (1 + math.exp(-float(logits.detach()[0, cell])))
        truth = float(state[y, x])
        entropy -= truth * math.log(p) + (1 - truth) * math.log(1 - p)
        if not truth:
            continue
        x0, y0, x1, y1 = boxes[int(nucleus[y, x])].tolist()
        cx, cy = 2 * (x + 0.5), 2 * (y + 0.5)
        wanted = (
            10 * ((x0 + x1) / 2 - cx) / 5,
            10 * ((y0 + y1) / 2 - cy) / 6,
            5 * math.log((x1 - x0) / 5),
            5 * math.log((y1 - y0) / 6),
        )
        for said, true in zip(moves.detach()[0, cell].tolist(), wanted, strict=True):
            off = abs(said - true)
            smooth += off - 1 / 18 if off >= 1 / 9 else off * off * 9 / 2
    assert float(losses["loss_centre"].detach()) == pytest.approx(entropy / 4, rel=1e-5)
    assert float(losses["loss_centre_box"].detach()) == pytest.approx(smooth / 4, rel=1e-5)
    (losses["loss_centre"] + losses["loss_centre_box"]).backward()
    assert logits.grad is not None
    assert moves.grad is not None
    assert (logits.grad[0] != 0).nonzero()[:, 0].tolist() == [0, 1, 3, 5]
    assert moves.grad[0].abs().sum(1).nonzero()[:, 0].tolist() == [0, 5]


def test_nothing_outlined_costs_nothing() -> None:
    empty = CentreTargets(torch.full((2, 4), -1.0), torch.full((2, 4), -1))
    said = torch.zeros(1, 8, requires_grad=True), torch.zeros(1, 8, 4, requires_grad=True)
    anchors = CentreHead(3, 2, (5.0, 6.0)).anchors(2, 4)
    losses = centre_losses(said, [empty], [torch.zeros(0, 4)], anchors, count=8)
    assert [float(v.detach()) for v in losses.values()] == [0, 0]


def see(logits: Tensor, most: int = 10) -> tuple[Tensor, Tensor]:
    head = CentreHead(3, 4, (8.0, 8.0))
    cells = (logits.shape[1], logits.shape[2])
    said = logits.flatten(1), torch.zeros(len(logits), cells[0] * cells[1], 4)
    edge = (cells[0] * 4, cells[1] * 4)
    return seen(said, head.anchors(*cells), cells, above=0.95, most=most, edge=edge)


def test_certain_peaks_are_seen_as_boxes_around_their_cells() -> None:
    logits = torch.full((1, 6, 8), -5.0)
    logits[0, 2, 3], logits[0, 2, 4], logits[0, 5, 0], logits[0, 0, 7] = 6.0, 5.0, 4.0, 2.0
    boxes, scores = see(logits)
    assert (scores > 0).sum() == 2, "a neighbour is less certain, and 2 is less than .95"
    assert boxes[0, 0].tolist() == [10, 6, 18, 14]
    assert boxes[0, 1].tolist() == [0, 18, 6, 24], "clipped to the image"
    assert (scores[0, :2] > 1).all()


def test_a_plateau_is_seen_once_and_the_most_certain_come_first() -> None:
    logits = torch.full((2, 6, 8), -5.0)
    logits[0, 2, 3:5] = 6.0
    logits[1, 1, 1], logits[1, 4, 6] = 4.0, 5.0
    head = CentreHead(3, 4, (32.0, 32.0))
    said = logits.flatten(1), torch.zeros(2, 48, 4)
    boxes, scores = seen(said, head.anchors(6, 8), (6, 8), above=0.95, most=9, edge=(24, 32))
    first, _ = seen_of_each(boxes, scores, 0.7)
    assert len(first) == 1
    few, certain = see(logits[1:], most=1)
    assert few[0, 0].tolist() == [22, 14, 30, 22]
    assert float(certain[0, 0]) == pytest.approx(1 + float(torch.sigmoid(torch.tensor(5.0))))
