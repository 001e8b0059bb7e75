"""What a model's network knows of an image before it says where nuclei are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.errors import MissingExtraError, ModelError
from wsiproc.model.registry import Model

_ENLARGING = ("Resize", "Upsample", "ConvTranspose")


def inner_features(
    model: Model, node: str | None = None, *, threads: int = 0
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The values of an inner node, as a function of an image, on the CPU.

    Parameters
    ----------
    node
        The name of a value of the graph; None: the last rectified one before anything is enlarged,
        which in a network that halves resolution and then doubles it is the deepest.
    threads
        Of ONNX Runtime; 0 takes all cores.

    Returns
    -------
    Callable
        ``[h, w, 3]`` uint8 RGB at the model's mpp, edges multiples of its step, to ``[c, h', w']``
        float32.

    Raises
    ------
    ModelError
        If the model takes other images than wsiproc's own do, or has no such node.
    MissingExtraError
        If `onnx` is not installed.
    """
    data, image, name = _cut(model, node)
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            (values,) = session.run([name], {image: pixels[None]})
        except Exception as error:  # noqa: BLE001  the engine raises types of its own
            raise ModelError(
                f"the node {name!r} of {model.card.name} gives nothing: {error}"
            ) from None
        said: NDArray[np.float32] = np.asarray(values, np.float32)
        if said.ndim != 4:
            raise ModelError(f"the node {name!r} of {model.card.name} is no map of features")
        features: NDArray[np.float32] = said[0]
        return features

    return run


def _cut(model: Model, node: str | None) -> tuple[bytes, str, str]:
    """The graph up to a node, with the names of its image and of that node's value."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("looking into a model", "train") from None
    if model.card.input.layout != "NHWC" or model.card.input.dtype != "uint8":
        raise ModelError(f"{model.card.name} takes no 8-bit RGB images: only our own models serve")
    whole: Any = onnx.load_model_from_string(model.data)
    graph = whole.graph
    name = node or _deepest(graph)
    if not any(name in each.output for each in graph.node):
        raise ModelError(f"{model.card.name} has no node {name!r}")
    del graph.output[:]
    value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    graph.output.append(value)
    return bytes(whole.SerializeToString()), str(graph.input[0].name), name


def _deepest(graph: Any) -> str:
    last = None
    for each in graph.node:
        if each.op_type in _ENLARGING:
            break
        if each.op_type == "Relu":
            last = each.output[0]
    if last is None:
        raise ModelError("nothing in this model's graph is rectified: name a node")
    return str(last)
