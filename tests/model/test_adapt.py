"""A foreign graph's layout, order, scaling and outputs are what its card says they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wsiproc.card import Activation, Card, ModelInput
from wsiproc.errors import ModelError
from wsiproc.model.adapt import activated, image_for, maps_from
from wsiproc.model.registry import load_model
from wsiproc.model.session import open_session

FOREIGN = """
name = "theirs"
method = "foreign"
kind = "mask"
mpp = 0.5
step = 8
windows = [64]
margin = 8
largest_nucleus_um = 5.0
local = true
classes = [{ name = "a", color = [0, 0, 255] }, { name = "b", color = [0, 255, 0] }]

[input]
name = "x"
layout = "NCHW"
order = "BGR"
dtype = "float32"
scale = 0.00392156862745098
mean = [0.1, 0.2, 0.3]
std = [0.5, 0.25, 0.125]

[outputs.prob]
name = "logits"
activation = "softmax"
channels = [1]

[outputs.class]
name = "logits"
activation = "sigmoid"
channels = [2, 0]

[post]
threshold = 0.5
chosen_on = "their own data"
"""


def foreign_model(tmp_path: Path) -> tuple[Path, Path, NDArray[np.float32]]:
    """A float32 NCHW graph with logits [N, 3, H, W] = a 3 x 3 matrix times the channels."""
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3) / 4 - 1
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [numpy_helper.from_array(matrix[..., None, None], "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file, card = tmp_path / "net.onnx", tmp_path / "card.toml"
    onnx.save(model, file)
    card.write_text(FOREIGN)
    return file, card, matrix


def test_a_foreign_network_is_fed_and_read_as_its_card_says(tmp_path: Path) -> None:
    file, card, matrix = foreign_model(tmp_path)
    model = load_model(str(file), card=card)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    session = open_session(model, device="cpu", batch=4)
    maps = session.run(images)
    # By hand, in double precision and another order of axes.
    fed = (images[..., ::-1] / 255.0 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.125]
    logits = fed @ matrix.T.astype(np.float64)
    grown = np.exp(logits)
    prob = (grown / grown.sum(-1, keepdims=True))[..., 1]
    classes = 1 / (1 + np.exp(-logits[..., [2, 0]]))
    np.testing.assert_allclose(maps["prob"][:, 0], prob, atol=1e-5)
    np.testing.assert_allclose(maps["class"], classes.transpose(0, 3, 1, 2), atol=1e-5)
    # The activations are NumPy's, so its version is among what changes bits.
    assert f"numpy-{np.__version__}" in session.facts.numerics
    assert hashlib.sha256(file.read_bytes()).hexdigest() == model.sha256


def test_wsiprocs_own_input_is_fed_as_it_is_read() -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.testing.assert_array_equal(image_for(images, ModelInput()), images)


@pytest.mark.parametrize(
    ("activation", "limits"), [("sigmoid", (0.0, 1.0)), ("softmax", (0.0, 1.0))]
)
@settings(max_examples=25, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        (1, 3, 2, 2),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_probabilities_are_finite_for_any_logit(
    activation: Activation, limits: tuple[float, float], values: NDArray[np.float32]
) -> None:
    got = activated(values, activation)
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    assert got.min() >= limits[0]
    assert got.max() <= limits[1]
    if activation == "softmax":
        np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)


def _card(**changes: object) -> Card:
    fields: dict[str, object] = {
        "name": "m",
        "method": "foreign",
        "kind": "points",
        "mpp": 0.5,
        "step": 8,
        "windows": (64,),
        "margin": 8,
        "largest_nucleus_um": 5.0,
        "classes": ({"name": "a", "color": (0, 0, 0)},),
        "post": {"kind": "points", "threshold": 0.5, "radius_um": 2.0, "chosen_on": "x"},
        "local": True,
    }
    return Card.model_validate({**fields, **changes})


@pytest.mark.parametrize("shape", [(2, 1, 63, 64), (2, 1, 64), (2, 2, 64, 64)])
def test_maps_of_another_shape_than_the_card_promises_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError):
        maps_from(_card(), {"prob": np.zeros(shape, np.float32)}, 2, 64)


def test_a_stride_makes_smaller_maps() -> None:
    raw = {"prob": np.zeros((3, 1, 16, 16), np.float16)}
    maps = maps_from(_card(stride=4), raw, 2, 64)
    assert maps["prob"].shape == (2, 1, 16, 16)
    assert maps["prob"].dtype == np.float32


def test_instances_of_blank_windows_are_left_out() -> None:
    card = _instances_card()
    raw: dict[str, NDArray[np.generic]] = {
        "boxes": np.zeros((3, 4), np.float32),
        "scores": np.array([0.9, 0.8, 0.7], np.float32),
        "labels": np.zeros(3, np.int64),
        "tile": np.array([0, 2, 1], np.int64),
        "masks": np.zeros((3, 1, 28, 28), np.float32),
    }
    maps = maps_from(card, raw, 2, 64)
    np.testing.assert_array_equal(maps["tile"], [0, 1])
    np.testing.assert_array_equal(maps["scores"], np.array([0.9, 0.7], np.float32))


def test_two_logits_of_a_foreign_hover_net_become_one_probability() -> None:
    outputs = {
        "np": {"name": "np_logits", "activation": "softmax", "channels": (1,)},
        "tp": {"name": "types", "activation": "softmax", "channels": (1,)},
    }
    card = _card(kind="hover", post={"kind": "hover", "chosen_on": "x"}, outputs=outputs)
    logits = np.zeros((1, 2, 64, 64), np.float32)
    logits[:, 1] = 2
    raw = {"np_logits": logits, "hv": np.zeros_like(logits), "types": logits}
    maps = maps_from(card, raw, 1, 64)
    assert {name: m.shape[1] for name, m in maps.items()} == {"np": 1, "hv": 2, "tp": 1}
    np.testing.assert_allclose(maps["np"], 1 / (1 + np.exp(-2)), atol=1e-6)


def _instances_card(**changes: object) -> Card:
    fields = {
        "kind": "instances",
        "post": {"kind": "instances", "chosen_on": "x"},
        "local": False,
        "windows": (64,),
        "margin": 16,
        "largest_nucleus_um": 5.0,
    }
    return _card(**{**fields, **changes})


def _lists(count: int, **changes: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    return {
        "boxes": np.zeros((count, 4), np.float32),
        "scores": np.ones(count, np.float32),
        "labels": np.zeros(count, np.int64),
        "masks": np.zeros((count, 1, 28, 28), np.float32),
        **changes,
    }


def test_a_graph_that_does_not_say_of_which_window_it_speaks_speaks_of_the_only_one() -> None:
    assert maps_from(_instances_card(), _lists(3), 1, 64)["tile"].tolist() == [0, 0, 0]


def test_logits_of_scores_and_masks_become_probabilities() -> None:
    sigmoid = {name: {"name": name, "activation": "sigmoid"} for name in ("scores", "masks")}
    said = maps_from(_instances_card(outputs=sigmoid), _lists(2), 1, 64)
    assert np.unique(said["masks"]).tolist() == [0.5]
    np.testing.assert_allclose(said["scores"], 1 / (1 + np.exp(-1)), atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"boxes": np.zeros((3, 5), np.float32)},
        {"scores": np.zeros((2,), np.float32)},
        {"masks": np.zeros((3, 28, 28), np.float32)},
        {"masks": np.zeros((3, 2, 28, 28), np.float32)},
        {"masks": np.zeros((3, 1, 28, 14), np.float32)},
        {"masks": np.zeros((3, 1, 64, 64), np.float32)},
        {"tile": np.zeros((3, 1), np.int64)},
    ],
)
def test_lists_that_do_not_go_together_are_refused(wrong: dict[str, NDArray[np.generic]]) -> None:
    with pytest.raises(ModelError, match="the outputs of a model of kind instances are"):
        maps_from(_instances_card(), _lists(3, **wrong), 1, 64)
