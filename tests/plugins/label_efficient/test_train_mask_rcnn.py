"""The Mask R-CNN of the rounds learns nothing from pixels of which nothing is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import wsiproc_label_efficient  # noqa: E402
from wsiproc.methods import TrainingInputs  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.slide._drawn_dataset import drawn_dataset  # noqa: E402
from wsiproc.training.mask_rcnn import targets_of  # noqa: E402
from wsiproc.training.settings import Schedule  # noqa: E402
from wsiproc_label_efficient.config import LabelEfficientConfig  # noqa: E402
from wsiproc_label_efficient.mask_rcnn_segmenter import (  # noqa: E402
    KnownMaskRCNN,
    summed,
    unknown_share,
)
from wsiproc_label_efficient.segmenter_config import SMOKE_MASK_RCNN  # noqa: E402

COORDINATE = st.floats(-10, 40, allow_nan=False, width=32)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 1000),
    st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE), min_size=1, max_size=5),
)
def test_the_unknown_share_of_a_box_is_counted(seed: int, corners: list[tuple[float, ...]]) -> None:
    unknown = np.random.default_rng(seed).random((24, 30)) < 0.4
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    table = summed(torch.from_numpy(unknown)[None])[0]
    got = unknown_share(torch.tensor(boxes, dtype=torch.float32), table)
    for (x0, y0, x1, y1), share in zip(boxes, got.tolist(), strict=True):
        rows = slice(max(0, math.floor(y0)), max(0, math.ceil(y1)))
        columns = slice(max(0, math.floor(x0)), max(0, math.ceil(x1)))
        part = unknown[rows, columns]
        assert share == pytest.approx(part.mean() if part.size else 1.0, abs=1e-5)


@pytest.fixture(scope="module")
def net() -> KnownMaskRCNN:
    torch.manual_seed(0)
    return KnownMaskRCNN(SMOKE_MASK_RCNN.net, 0.5)


def _targets(labels: np.ndarray) -> list[dict[str, torch.Tensor]]:
    drawn = torch.from_numpy(labels[None])
    (target,) = targets_of(drawn, torch.ones(1, dtype=torch.bool))
    return [{**target, "unknown": summed(drawn == -1)[0]}]


def _labels() -> np.ndarray:
    """Two nuclei, of which the second lies on the edge of what is known."""
    labels = np.zeros((96, 96), np.int32)
    labels[:, 48:] = -1
    labels[10:30, 10:30], labels[60:80, 40:60] = 1, 2
    return labels


def test_an_anchor_on_unknown_pixels_is_no_background(net: KnownMaskRCNN) -> None:
    boxes = torch.tensor(
        [[10, 10, 30, 30], [60, 10, 80, 30], [5, 60, 25, 80], [40, 60, 60, 80]], dtype=torch.float32
    )
    labels, _ = net.rpn.assign_targets_to_anchors([boxes], _targets(_labels()))
    assert labels[0].tolist() == [1, -1, 0, 1]


def test_a_proposal_on_unknown_pixels_is_not_sampled(net: KnownMaskRCNN) -> None:
    boxes = torch.tensor([[60, 10, 80, 30], [66, 40, 90, 60], [5, 60, 25, 80]], dtype=torch.float32)
    sampled, _, labels, _ = net.roi_heads.select_training_samples([boxes], _targets(_labels()))
    background = sampled[0][labels[0] == 0].tolist()
    assert background == [[5, 60, 25, 80]]
    assert int((labels[0] == 1).sum()) == 2


@pytest.mark.slow
def test_rounds_are_trained_and_exported_with_mask_rcnn_too(tmp_path: Path) -> None:
    data = drawn_dataset(tmp_path / "drawn", train=2, val=1, size=160)
    smoke = wsiproc_label_efficient.METHOD.presets["smoke"].model_dump()
    smoke["segmenter"] = "mask_rcnn"
    smoke["mask_rcnn"]["schedule"] = Schedule(
        steps=60, batch=2, crop_px=96, lr=4e-3, ema=0.9, check_every=60
    ).model_dump()
    smoke["select"] |= {"k": 2, "method": "random"}
    smoke["synthesis"] |= {"how": "naive"}
    inputs = TrainingInputs((data,), tmp_path / "out", threads=1)
    (file,) = wsiproc_label_efficient.METHOD.train(
        LabelEfficientConfig.model_validate(smoke), inputs
    )
    card = load_model(str(file)).card
    assert (card.kind, card.local, card.method) == ("instances", False, "label_efficient")
    assert (tmp_path / "out" / "round-1" / "pseudo.png").is_file()
