"""A model that names other files is refused before anything follows it, wherever they lie."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wsiproc.errors import ModelError
from wsiproc.model.registry import load_model
from wsiproc.testing.models import one_layer_model

onnx = pytest.importorskip("onnx")

OPENED: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


@pytest.mark.parametrize("place", ["sibling", "above", "absolute", "link"])
def test_weights_in_another_file_are_refused_and_the_file_is_not_opened(
    tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    secret = (folder if place == "sibling" else tmp_path) / "secret.bin"
    secret.write_bytes(b"\0" * 4096)
    (folder / "link.bin").symlink_to(secret)
    named = {
        "sibling": "secret.bin",
        "above": "../secret.bin",
        "absolute": str(secret),
        "link": "link.bin",
    }[place]
    model = onnx.load_from_string(one_layer_model())
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.ClearField("float_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", named
    file = folder / "hostile.onnx"
    file.write_bytes(model.SerializeToString())
    OPENED.clear()
    with pytest.raises(ModelError, match="external data"):
        load_model(str(file))
    assert str(file) in OPENED, "what is opened is noted"
    assert not {str(secret), str(folder / "link.bin")} & set(OPENED)
