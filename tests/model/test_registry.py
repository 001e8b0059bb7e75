"""A model is found by name or file, verified, and used as exactly those bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from wsiproc import methods
from wsiproc.card import Card, ModelOutput
from wsiproc.errors import ModelError
from wsiproc.methods import Installed, ShippedModel
from wsiproc.model import adding, registry
from wsiproc.model.adding import add_model
from wsiproc.model.registry import list_models, load_model, models_dir
from wsiproc.testing.models import haematoxylin_model, points_model

CARD = """
name = "theirs"
method = "foreign"
kind = "points"
mpp = 0.5
step = 8
windows = [256]
margin = 16
largest_nucleus_um = 20.0
local = true
classes = [{ name = "nucleus", color = [0, 0, 255] }]

[post]
threshold = 0.5
radius_um = 2.5
chosen_on = "their own data"
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No models but those of a test: neither the user's nor the plugins'."""
    folder = tmp_path / "models"
    monkeypatch.setenv("WSIPROC_MODELS", str(folder))
    for module in (registry, adding):
        monkeypatch.setattr(module, "installed", Installed)
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "h.onnx"
    path.write_bytes(haematoxylin_model())
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A model without a card."""
    model = onnx.load_from_string(points_model())
    del model.metadata_props[:]
    path = tmp_path / "bare.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(CARD)
    return path


def ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes, sha256: str) -> None:
    package = tmp_path / "site" / "a_plugin_of_somebody"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "net.onnx").write_bytes(data)
    monkeypatch.syspath_prepend(str(package.parent))
    shipped = ShippedModel("shipped", package.name, "net.onnx", sha256)
    for module in (registry, adding):
        monkeypatch.setattr(module, "installed", lambda: Installed(models={"shipped": shipped}))


def test_a_file_with_a_card_is_loaded_as_it_is(file: Path) -> None:
    model = load_model(str(file))
    assert model.name == model.card.name == "haematoxylin"
    assert model.data == file.read_bytes()
    assert model.sha256 == hashlib.sha256(model.data).hexdigest()
    assert model.source == "file"


def test_a_file_without_a_card_says_how_to_give_one(bare: Path) -> None:
    with pytest.raises(ModelError, match=r"--card CARD\.toml") as caught:
        load_model(str(bare))
    for field in ("mpp", "windows", "margin", "post", "classes", "largest_nucleus_um"):
        assert field in str(caught.value)
    assert "licence" not in str(caught.value)
    assert caught.value.exit_code == 66


def test_a_card_beside_the_file_makes_it_run(bare: Path, card: Path) -> None:
    assert load_model(str(bare), card=card).card.name == "theirs"


def test_file_and_card_together_have_the_digest(bare: Path, card: Path) -> None:
    before = load_model(str(bare), card=card)
    card.write_text(CARD.replace("threshold = 0.5", "threshold = 0.6"))
    after = load_model(str(bare), card=card)
    assert before.sha256 == after.sha256
    assert before.digest != after.digest


def test_what_is_nowhere_is_an_error_that_lists_what_there_is(file: Path) -> None:
    add_model(file)
    with pytest.raises(ModelError, match=r"there are:.*haematoxylin"):
        load_model("unett")
    with pytest.raises(ModelError, match="nor a file"):
        load_model("./nowhere.onnx")


def test_a_shipped_model_is_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = haematoxylin_model()
    ship(monkeypatch, tmp_path, data, hashlib.sha256(data).hexdigest())
    model = load_model("shipped")
    assert (model.name, model.source, model.data) == ("shipped", "shipped", data)
    assert [entry.problem for entry in list_models()] == [""]


def test_a_shipped_model_with_another_digest_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship(monkeypatch, tmp_path, haematoxylin_model(), "0" * 64)
    with pytest.raises(ModelError, match="not the one that was recorded") as caught:
        load_model("shipped")
    assert caught.value.exit_code == 66
    (entry,) = list_models()
    assert "recorded" in entry.problem


def test_an_added_model_is_there_by_name(bare: Path, card: Path) -> None:
    entry = add_model(bare, card)
    data = bare.read_bytes()
    bare.unlink()
    card.unlink()
    model = load_model("theirs")
    assert (model.source, model.data, model.card) == ("user", data, entry.card)
    assert [(found.name, found.problem) for found in list_models()] == [("theirs", "")]


def test_adding_twice_is_once_and_another_under_the_name_is_refused(
    bare: Path, card: Path, own_folder: Path
) -> None:
    assert add_model(bare, card) == add_model(bare, card)
    card.write_text(CARD.replace("radius_um = 2.5", "radius_um = 3.5"))
    with pytest.raises(ModelError, match="another model is registered"):
        add_model(bare, card)
    assert [path.name for path in own_folder.iterdir()] == ["theirs"]


def test_a_model_that_only_claims_to_be_local_is_not_added(
    bare: Path, card: Path, own_folder: Path
) -> None:
    card.write_text(CARD.replace("margin = 16", "margin = 8"))
    with pytest.raises(ModelError, match="local = false"):
        add_model(bare, card)
    assert list_models() == ()
    card.write_text(CARD.replace("margin = 16", "margin = 8").replace("true", "false"))
    assert add_model(bare, card).name == "theirs"


def test_a_shipped_name_cannot_be_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bare: Path, card: Path
) -> None:
    ship(monkeypatch, tmp_path, haematoxylin_model(), "0" * 64)
    card.write_text(CARD.replace("theirs", "shipped"))
    with pytest.raises(ModelError, match="is shipped"):
        add_model(bare, card)


def change_file(place: Path) -> None:
    data = bytearray((place / "model.onnx").read_bytes())
    data[-1] ^= 1
    (place / "model.onnx").write_bytes(bytes(data))


def change_card(place: Path) -> None:
    record = json.loads((place / "model.json").read_text())
    record["card"]["mpp"] = 0.25
    (place / "model.json").write_text(json.dumps(record))


def lose_file(place: Path) -> None:
    (place / "model.onnx").unlink()


def spoil_record(place: Path) -> None:
    (place / "model.json").write_text("{")


@pytest.mark.parametrize("spoil", [change_file, change_card, lose_file, spoil_record])
def test_an_added_model_that_changed_is_refused_and_listed_as_broken(
    bare: Path, card: Path, own_folder: Path, spoil: Callable[[Path], None]
) -> None:
    add_model(bare, card)
    spoil(own_folder / "theirs")
    with pytest.raises(ModelError):
        load_model("theirs")
    (entry,) = list_models()
    assert entry.problem


def test_a_folder_that_cannot_be_written_leaves_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "a-file"
    blocked.touch()
    monkeypatch.setenv("WSIPROC_MODELS", str(blocked))
    with pytest.raises(ModelError, match="cannot write"):
        add_model(file)


def test_the_folder_of_models_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WSIPROC_MODELS")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models_dir() == tmp_path / "wsiproc" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert models_dir().parts[-4:] == (".local", "share", "wsiproc", "models")


def _with(card: Card, tmp_path: Path, **changes: object) -> Path:
    changed = card.model_copy(update=changes)
    model = onnx.load_from_string(haematoxylin_model(classes=True))
    del model.metadata_props[:]
    helper.set_model_props(model, {"wsiproc": changed.to_json()})
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input": {"name": "picture"}}, "names the input 'picture'"),
        ({"input": {"dtype": "float32"}}, "input is uint8"),
        ({"input": {"layout": "NCHW"}}, "no three colours"),
        ({"input": {"scale": 0.5}}, "cannot be scaled"),
        ({"stain_target": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))}, "no input 'stain'"),
        ({"outputs": {"prob": ModelOutput(name="p")}}, "lacks the outputs prob"),
        ({"outputs": {"hv": ModelOutput(name="centre")}}, "describes the outputs hv"),
        ({"outputs": {"class": ModelOutput(name="class", channels=(0, 2))}}, "channel 2"),
        ({"outputs": {"prob": ModelOutput(name="class")}}, "has 2 channels and should have 1"),
    ],
)
def test_a_graph_that_is_not_what_its_card_says_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    card = load_model(str(_with(_card(), tmp_path))).card
    if isinstance(fields := changes.get("input"), dict):
        changes = {"input": card.input.model_copy(update=fields)}
    with pytest.raises(ModelError, match=says):
        load_model(str(_with(card, tmp_path, **changes)))


def test_several_classes_need_an_output_that_tells_them_apart(tmp_path: Path) -> None:
    model = onnx.load_from_string(haematoxylin_model(classes=True))
    outputs = [value for value in model.graph.output if value.name != "class"]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    path = tmp_path / "classless.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="no output 'class'"):
        load_model(str(path))


def test_inputs_nobody_knows_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(haematoxylin_model())
    model.graph.input.append(helper.make_tensor_value_info("temperature", TensorProto.FLOAT, [1]))
    path = tmp_path / "warm.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="temperature"):
        load_model(str(path))


def _card() -> Card:
    return Card.model_validate_json(
        next(
            entry.value
            for entry in onnx.load_from_string(haematoxylin_model(classes=True)).metadata_props
            if entry.key == "wsiproc"
        )
    )


def test_the_models_that_are_shipped_are_whole() -> None:
    assert methods.installed().broken == {}
    assert [entry.problem for entry in list_models()] == ["" for _ in list_models()]
