"""Shifted windows find out a model that is not as local as its card says."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from wsiproc.card import METADATA_KEY, Card
from wsiproc.errors import ModelError
from wsiproc.model.graph import read_graph
from wsiproc.model.locality import ShiftReport, shift_check
from wsiproc.model.registry import Model
from wsiproc.model.session import open_session
from wsiproc.slide._drawn import draw_image
from wsiproc.testing.models import haematoxylin_model, points_model


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return draw_image(330, 300, 2, mpp=0.5)[0]


def report(data: bytes, pixels: NDArray[np.uint8], **changes: object) -> ShiftReport:
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    card = card.model_copy(update=changes)
    model = Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")
    return shift_check(open_session(model, device="cpu", window=256), card, pixels)


@pytest.mark.parametrize(
    "data", [haematoxylin_model(), haematoxylin_model(mpp=0.25), points_model(classes=True)]
)
def test_the_drawn_models_are_local(data: bytes, pixels: NDArray[np.uint8]) -> None:
    found = report(data, pixels)
    assert found.local
    assert found.max_abs_diff == 0
    assert found.windows > 3
    assert found.compared > 100_000


def test_a_margin_that_is_too_small_is_found_out(pixels: NDArray[np.uint8]) -> None:
    found = report(haematoxylin_model(), pixels, margin=8)
    assert not found.local
    assert found.different > 0
    assert found.max_abs_diff > 1e-6


def test_a_statistic_of_the_window_is_found_out(pixels: NDArray[np.uint8]) -> None:
    model = onnx.load_from_string(points_model())
    model.graph.node[-1].output[0] = "local"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["local"], ["most"], axes=[2, 3], keepdims=1),
            helper.make_node("ReduceMean", ["local"], ["mean"], axes=[2, 3], keepdims=1),
            helper.make_node("Sub", ["local", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "most"], ["prob"]),
        ]
    )
    found = report(model.SerializeToString(), pixels)
    assert not found.local
    assert found.different > found.compared // 2


def test_a_pooling_that_does_not_fit_the_step_is_found_out(pixels: NDArray[np.uint8]) -> None:
    model = onnx.load_from_string(points_model())
    model.graph.node[-1].output[0] = "fine"
    model.graph.node.extend(
        [
            helper.make_node(
                "MaxPool", ["fine"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]
            ),
            helper.make_node("Resize", ["pooled", "", "scales"], ["prob"], mode="nearest"),
        ]
    )
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([1, 1, 16, 16], np.float32), "scales")
    )
    assert not report(model.SerializeToString(), pixels, step=8).local
    assert report(model.SerializeToString(), pixels, step=16, margin=32).local


def test_an_image_of_one_window_proves_nothing(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ModelError, match="264 px"):
        report(haematoxylin_model(), pixels[:256, :256])
