"""Writing small ONNX files without the onnx package: the few messages that a tiny model needs.

Field numbers are those of ``onnx/onnx.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 17
_TYPES = {"float32": 1, "uint8": 2, "int64": 7}

Attribute = int | float | str | Sequence[int]


def varint(value: int) -> bytes:
    """A non-negative number in base 128, lowest digits first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, payload: bytes | str) -> bytes:
    body = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(body)) + body


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A `TensorProto`; a scalar where the array is one."""
    dims = b"".join(number(1, edge) for edge in values.shape)
    little = values.astype(values.dtype.newbyteorder("<"))
    return dims + number(2, _TYPES[values.dtype.name]) + block(8, name) + block(9, little.tobytes())


def node(
    op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Attribute] | None = None
) -> bytes:
    """A `NodeProto` with one output, named after it."""
    return (
        b"".join(block(1, name) for name in inputs)
        + block(2, output)
        + block(3, output)
        + block(4, op)
        + b"".join(block(5, _attribute(name, value)) for name, value in (attributes or {}).items())
    )


def _attribute(name: str, value: Attribute) -> bytes:
    head = block(1, name)
    if isinstance(value, str):
        return head + block(4, value) + number(20, 3)
    if isinstance(value, int):
        return head + number(3, value) + number(20, 2)
    if isinstance(value, float):
        return head + varint(2 << 3 | 5) + np.float32(value).tobytes() + number(20, 1)
    return head + b"".join(number(8, one) for one in value) + number(20, 7)


def port(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """A `ValueInfoProto`: a name, a type, and edges that are fixed (numbers) or free (names)."""
    edges = b"".join(
        block(1, number(1, edge) if isinstance(edge, int) else block(2, edge)) for edge in shape
    )
    return block(1, name) + block(2, block(1, number(1, _TYPES[dtype]) + block(2, edges)))


def model(
    *,
    nodes: Sequence[bytes],
    weights: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    metadata: Mapping[str, str],
) -> bytes:
    """A `ModelProto`."""
    graph = (
        b"".join(block(1, one) for one in nodes)
        + block(2, "drawn")
        + b"".join(block(5, one) for one in weights)
        + b"".join(block(11, one) for one in inputs)
        + b"".join(block(12, one) for one in outputs)
    )
    return (
        number(1, IR_VERSION)
        + block(7, graph)
        + block(8, number(2, OPSET))
        + b"".join(block(14, block(1, key) + block(2, text)) for key, text in metadata.items())
    )
