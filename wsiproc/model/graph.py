"""What stands in an ONNX file, read from its bytes before any engine sees them.

An engine that is handed a hostile file may follow it out of itself: tensors with *external data*
name other files to be read (CVE-2026-24747 and its kin), and operators of other domains name
libraries.  So the file is walked here first, as the protocol-buffer message that it is
(``onnx/onnx.proto``, `ModelProto`), with nothing but the standard library.  Weights are stepped
over, so a large model takes no longer than a small one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsiproc.errors import ModelError

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
DEEPEST = 16
"""Graphs inside graphs; protocol buffers themselves end at about 33."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

ELEMENT_TYPES = {1: "float32", 2: "uint8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
"""`TensorProto.DataType` of those that networks here take and give."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph.

    Parameters
    ----------
    dtype
        As NumPy names it, or ``type 9`` for one of ONNX's that has no use here.
    shape
        A number for a fixed edge, a name (possibly empty) for a free one; None where the file
        leaves even the number of axes open.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """What a model file says of itself, its weights aside.

    `inputs` are those that a caller has to fill; `opset` is the version of the standard operators.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    wire: int
    value: int
    """A varint's value; 0 for the other kinds."""
    start: int
    stop: int


def read_graph(data: bytes) -> GraphFacts:
    """Read and check the bytes of an ONNX file.

    Raises
    ------
    ModelError
        If they are no ONNX model, or one that refers to anything outside itself: external data,
        operators that are not ONNX's own, functions of its own (inline those with
        `onnx.inliner`).
    """
    view = memoryview(data)
    graphs: list[_Field] = []
    metadata: dict[str, str] = {}
    opset = 0
    for field in _fields(view, 0, len(view)):
        match field.number, field.wire:
            case 7, 2:
                graphs.append(field)
            case 8, 2:
                domain, version = _opset(view, field)
                if domain not in STANDARD_DOMAINS:
                    raise _foreign_operators(domain)
                if domain != "ai.onnx.ml":
                    opset = max(opset, version)
            case 14, 2:
                key, text = _pair(view, field)
                metadata[key] = text
            case 20, 2:
                raise ModelError("the model carries training graphs; export it for inference")
            case 25, 2:
                raise ModelError(
                    "the model defines functions of its own; inline them with "
                    "onnx.inliner.inline_local_functions and save it again"
                )
            case _:
                pass
    if len(graphs) != 1 or opset == 0:
        raise ModelError("this is no ONNX model: it has no graph and operator set")
    inputs, outputs = _graph(view, graphs[0], 1)
    return GraphFacts(inputs, outputs, opset, metadata)


def _graph(
    view: memoryview, graph: _Field, depth: int
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Check one graph, and those nested in it; its open inputs and its outputs."""
    if depth > DEEPEST:
        raise ModelError("the model's graphs are nested too deeply")
    inputs: list[Port] = []
    outputs: list[Port] = []
    given: set[str] = set()
    for field in _fields(view, graph.start, graph.stop):
        if field.wire != _BYTES:
            continue
        match field.number:
            case 1:
                _node(view, field, depth)
            case 5:
                given.add(_tensor(view, field))
            case 11:
                inputs.append(_port(view, field))
            case 12:
                outputs.append(_port(view, field))
            case 15:
                given |= _sparse(view, field)
            case _:
                pass
    return tuple(port for port in inputs if port.name not in given), tuple(outputs)


def _node(view: memoryview, node: _Field, depth: int) -> None:
    for field in _fields(view, node.start, node.stop):
        if field.number == 7:
            domain = _text(view, field)
            if domain not in STANDARD_DOMAINS:
                raise _foreign_operators(domain)
        elif field.number == 5:
            _attribute(view, field, depth)


def _attribute(view: memoryview, attribute: _Field, depth: int) -> None:
    for field in _fields(view, attribute.start, attribute.stop):
        if field.wire != _BYTES:
            continue
        match field.number:
            case 5 | 10:
                _tensor(view, field)
            case 6 | 11:
                _graph(view, field, depth + 1)
            case 22 | 23:
                _sparse(view, field)
            case _:
                pass


def _tensor(view: memoryview, tensor: _Field) -> str:
    """Check that a tensor holds its own data; its name."""
    name = ""
    for field in _fields(view, tensor.start, tensor.stop):
        match field.number:
            case 8:
                name = _text(view, field)
            case 13:
                raise _external()
            case 14 if field.wire != _VARINT or field.value != 0:
                raise _external()
            case _:
                pass
    return name


def _sparse(view: memoryview, sparse: _Field) -> set[str]:
    return {
        _tensor(view, field)
        for field in _fields(view, sparse.start, sparse.stop)
        if field.number in (1, 2) and field.wire == _BYTES
    }


def _port(view: memoryview, port: _Field) -> Port:
    name, dtype = "", "no tensor"
    shape: tuple[int | str, ...] | None = None
    for field in _fields(view, port.start, port.stop):
        if field.number == 1:
            name = _text(view, field)
        elif field.number == 2:
            for kind in _fields(view, field.start, field.stop):
                if kind.number == 1 and kind.wire == _BYTES:
                    dtype, shape = _tensor_type(view, kind)
    return Port(name, dtype, shape)


def _tensor_type(view: memoryview, tensor: _Field) -> tuple[str, tuple[int | str, ...] | None]:
    dtype = "no type"
    shape: tuple[int | str, ...] | None = None
    for field in _fields(view, tensor.start, tensor.stop):
        if field.number == 1:
            dtype = ELEMENT_TYPES.get(field.value, f"type {field.value}")
        elif field.number == 2 and field.wire == _BYTES:
            shape = tuple(
                _edge(view, edge)
                for edge in _fields(view, field.start, field.stop)
                if edge.number == 1 and edge.wire == _BYTES
            )
    return dtype, shape


def _edge(view: memoryview, edge: _Field) -> int | str:
    found: int | str = ""
    for field in _fields(view, edge.start, edge.stop):
        if field.number == 1 and field.wire == _VARINT:
            found = field.value
        elif field.number == 2:
            found = _text(view, field)
    return found


def _opset(view: memoryview, entry: _Field) -> tuple[str, int]:
    domain, version = "", 0
    for field in _fields(view, entry.start, entry.stop):
        if field.number == 1:
            domain = _text(view, field)
        elif field.number == 2:
            version = field.value
    return domain, version


def _pair(view: memoryview, entry: _Field) -> tuple[str, str]:
    key = value = ""
    for field in _fields(view, entry.start, entry.stop):
        if field.number == 1:
            key = _text(view, field)
        elif field.number == 2:
            value = _text(view, field)
    return key, value


def _fields(view: memoryview, start: int, stop: int) -> Iterator[_Field]:
    """The fields of the message in ``view[start:stop]``, without going into them."""
    at = start
    while at < stop:
        key, at = _varint(view, at, stop)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _damaged()
        if wire == _VARINT:
            value, at = _varint(view, at, stop)
            yield _Field(number, wire, value, at, at)
            continue
        if wire == _BYTES:
            size, at = _varint(view, at, stop)
        elif wire == _FIXED64:
            size = 8
        elif wire == _FIXED32:
            size = 4
        else:  # groups, which ONNX never had: nothing may hide in them
            raise _damaged()
        if size > stop - at:
            raise _damaged()
        yield _Field(number, wire, 0, at, at + size)
        at += size


def _varint(view: memoryview, at: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= stop:
            raise _damaged()
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _damaged()


def _text(view: memoryview, field: _Field) -> str:
    if field.wire != _BYTES:
        raise _damaged()
    try:
        return str(view[field.start : field.stop], "utf-8")
    except UnicodeDecodeError:
        raise _damaged() from None


def _damaged() -> ModelError:
    return ModelError("this is no ONNX model, or a damaged one; fetch or export it again")


def _external() -> ModelError:
    return ModelError(
        "the model keeps its weights in other files (external data), which is refused: a file "
        "named in a model could be any; save it as one file, "
        "onnx.save(onnx.load(FILE), NEW, save_as_external_data=False)"
    )


def _foreign_operators(domain: str) -> ModelError:
    return ModelError(
        f"the model uses operators of {domain!r}, and only ONNX's own are run; export it without "
        "custom operators"
    )
