"""A model file is understood from its bytes alone, and one that reaches outside is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wsiproc.errors import ModelError
from wsiproc.model.graph import read_graph
from wsiproc.testing.models import haematoxylin_model, one_layer_model, points_model

FLOAT = TensorProto.FLOAT


def tensor(name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.ones((2,), np.float32), name)


def elsewhere(proto: TensorProto) -> TensorProto:
    """The same tensor, with its data in another file."""
    proto.ClearField("raw_data")
    proto.data_location = TensorProto.EXTERNAL
    entry = proto.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return proto


def plain() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 2])],
        [tensor()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def branch(node: onnx.NodeProto, *weights: TensorProto) -> onnx.GraphProto:
    out = [helper.make_tensor_value_info("b", FLOAT, [2])]
    return helper.make_graph([node], "branch", [], out, list(weights))


def constant(**attributes: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["b"], **attributes)


def with_node(node: onnx.NodeProto) -> onnx.ModelProto:
    model = plain()
    model.graph.node.append(node)
    return model


def sparse(values: TensorProto, indices: TensorProto | None = None) -> onnx.SparseTensorProto:
    where = indices or numpy_helper.from_array(np.array([0, 1], np.int64), "i")
    return helper.make_sparse_tensor(values, where, [4])


def in_initializer() -> onnx.ModelProto:
    model = plain()
    elsewhere(model.graph.initializer[0])
    return model


def in_initializer_by_location_alone() -> onnx.ModelProto:
    model = plain()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model


def in_initializer_by_name_alone() -> onnx.ModelProto:
    model = in_initializer()
    model.graph.initializer[0].ClearField("data_location")
    return model


def in_attribute() -> onnx.ModelProto:
    return with_node(constant(value=elsewhere(tensor())))


def in_list_of_attributes() -> onnx.ModelProto:
    model = with_node(helper.make_node("Identity", ["x"], ["z"]))
    attribute = model.graph.node[-1].attribute.add()
    attribute.name, attribute.type = "many", onnx.AttributeProto.TENSORS
    attribute.tensors.extend([tensor("a"), elsewhere(tensor("b"))])
    return model


def in_subgraph() -> onnx.ModelProto:
    inner = branch(helper.make_node("Identity", ["w"], ["b"]), elsewhere(tensor()))
    outer = branch(helper.make_node("If", ["x"], ["b"], then_branch=inner, else_branch=inner))
    return with_node(helper.make_node("If", ["x"], ["z"], then_branch=outer, else_branch=outer))


def in_list_of_subgraphs() -> onnx.ModelProto:
    model = with_node(helper.make_node("Identity", ["x"], ["z"]))
    attribute = model.graph.node[-1].attribute.add()
    attribute.name, attribute.type = "many", onnx.AttributeProto.GRAPHS
    attribute.graphs.append(branch(constant(value=elsewhere(tensor()))))
    return model


def in_sparse_initializer() -> onnx.ModelProto:
    model = plain()
    model.graph.sparse_initializer.append(sparse(elsewhere(tensor("s"))))
    return model


def in_sparse_indices() -> onnx.ModelProto:
    model = plain()
    indices = elsewhere(numpy_helper.from_array(np.array([0, 1], np.int64), "i"))
    model.graph.sparse_initializer.append(sparse(tensor("s"), indices))
    return model


def in_sparse_attribute() -> onnx.ModelProto:
    return with_node(constant(sparse_value=sparse(elsewhere(tensor("s")))))


@pytest.mark.parametrize(
    "hostile",
    [
        in_initializer,
        in_initializer_by_location_alone,
        in_initializer_by_name_alone,
        in_attribute,
        in_list_of_attributes,
        in_subgraph,
        in_list_of_subgraphs,
        in_sparse_initializer,
        in_sparse_indices,
        in_sparse_attribute,
    ],
)
def test_external_data_is_refused_wherever_it_hides(hostile: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(ModelError, match="external data"):
        read_graph(hostile().SerializeToString())


def test_operators_of_other_domains_are_refused() -> None:
    node = helper.make_node("Anything", ["x"], ["z"], domain="com.example")
    with pytest.raises(ModelError, match=r"com\.example"):
        read_graph(with_node(node).SerializeToString())
    nested = helper.make_node("Anything", [], ["b"], domain="com.microsoft")
    inner = branch(nested)
    node = helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
    with pytest.raises(ModelError, match=r"com\.microsoft"):
        read_graph(with_node(node).SerializeToString())


def test_functions_of_a_file_are_refused_and_the_remedy_is_said() -> None:
    model = plain()
    body = [helper.make_node("Constant", [], ["b"], value=elsewhere(tensor()))]
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, opset))
    with pytest.raises(ModelError, match="inline"):
        read_graph(model.SerializeToString())


def test_graphs_nested_without_end_are_refused() -> None:
    inner = branch(constant(value=tensor()))
    for _ in range(20):
        inner = branch(
            helper.make_node("If", ["x"], ["b"], then_branch=inner, else_branch=onnx.GraphProto())
        )
    node = helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner)
    with pytest.raises(ModelError, match="nested"):
        read_graph(with_node(node).SerializeToString())


def test_a_plain_model_tells_its_inputs_outputs_and_metadata() -> None:
    model = plain()
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [2]))
    helper.set_model_props(model, {"wsiproc": "{}", "note": "µ"})
    facts = read_graph(model.SerializeToString())
    # "w" has a value in the file, so nobody has to give it.
    assert [(port.name, port.dtype, port.shape) for port in facts.inputs] == [
        ("x", "float32", ("n", 2))
    ]
    assert [port.name for port in facts.outputs] == ["y"]
    assert facts.opset == 17
    assert facts.metadata == {"wsiproc": "{}", "note": "µ"}


@pytest.mark.parametrize(
    "data", [haematoxylin_model(classes=True, stain=True), points_model(), one_layer_model()]
)
def test_it_agrees_with_the_onnx_package(data: bytes) -> None:
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    facts = read_graph(data)
    for ports, values in ((facts.inputs, model.graph.input), (facts.outputs, model.graph.output)):
        assert [port.name for port in ports] == [value.name for value in values]
        for port, value in zip(ports, values, strict=True):
            tensor_type = value.type.tensor_type
            assert port.dtype == helper.tensor_dtype_to_np_dtype(tensor_type.elem_type).name
            assert port.shape == tuple(d.dim_param or d.dim_value for d in tensor_type.shape.dim)
    assert facts.metadata == {entry.key: entry.value for entry in model.metadata_props}


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(64), b"\xff" * 40])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="no ONNX model"):
        read_graph(data)


def test_half_a_model_is_refused() -> None:
    data = haematoxylin_model()
    with pytest.raises(ModelError, match="no ONNX model"):
        read_graph(data[: len(data) // 2])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_gives_an_error_of_ours_or_a_readable_model(data: st.DataObject) -> None:
    whole = bytearray(points_model())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModelError):
        read_graph(bytes(whole))
