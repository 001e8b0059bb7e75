"""A session gives the same maps for a window whatever it is run with."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiproc.card import METADATA_KEY, Card
from wsiproc.errors import ConfigError, DeviceError, MissingExtraError, ModelError
from wsiproc.model import _onnxruntime, _openvino
from wsiproc.model import session as session_module
from wsiproc.model.devices import has_openvino
from wsiproc.model.engine import EngineFacts, Feeds, OutOfMemoryError
from wsiproc.model.graph import read_graph
from wsiproc.model.registry import Model
from wsiproc.model.session import EngineSession, open_session
from wsiproc.slide._drawn import draw_image
from wsiproc.testing.models import haematoxylin_model, points_model

ENGINES = [
    "cpu",
    pytest.param(
        "openvino", marks=pytest.mark.skipif(not has_openvino(), reason="openvino is an extra")
    ),
]
WINDOW = 256


def model_of(data: bytes) -> Model:
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    return Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(haematoxylin_model(classes=True, stain=True))


@pytest.fixture(scope="module")
def windows() -> NDArray[np.uint8]:
    pixels, _ = draw_image(WINDOW, 5 * WINDOW, 1, mpp=0.5)
    return pixels.reshape(5, WINDOW, WINDOW, 3)


@pytest.mark.parametrize("device", ENGINES)
def test_bits_do_not_depend_on_batch_its_filling_or_threads(
    model: Model, windows: NDArray[np.uint8], device: str
) -> None:
    alone = open_session(model, device=device, batch=1, threads=1)
    wanted = alone.run(windows)
    assert set(wanted) == {"prob", "centre", "class"}
    assert wanted["class"].shape == (5, 2, WINDOW, WINDOW)
    for batch, threads in ((2, 1), (4, 2)):
        session = open_session(model, device=device, batch=batch, threads=threads)
        for name, values in session.run(windows).items():
            np.testing.assert_array_equal(values, wanted[name])
        assert session.facts.numerics == alone.facts.numerics
        assert (session.facts.batch, session.facts.threads) == (batch, threads)


@pytest.mark.skipif(not has_openvino(), reason="openvino is an extra")
def test_engines_agree_within_rounding(model: Model, windows: NDArray[np.uint8]) -> None:
    ours = open_session(model, device="cpu", precision="fp32")
    theirs = open_session(model, device="openvino", precision="fp32")
    assert ours.facts.numerics != theirs.facts.numerics
    for (name, left), right in zip(
        ours.run(windows[:2]).items(), theirs.run(windows[:2]).values(), strict=True
    ):
        assert np.abs(left - right).max() < 1e-4, name


def test_the_tag_says_engine_device_precision_instructions_and_window(model: Model) -> None:
    facts = open_session(model, device="cpu", window=512).facts
    engine, device, precision, _, window = facts.numerics.split("/")
    assert (engine, device, precision, window) == (
        facts.engine.replace(" ", "-"),
        "cpu",
        "fp32",
        "w512",
    )


def test_without_a_stain_matrix_the_slide_stays_as_it_is(
    model: Model, windows: NDArray[np.uint8]
) -> None:
    session = open_session(model, device="cpu")
    plain = session.run(windows[:1])["prob"]
    same = session.run(windows[:1], np.eye(3, dtype=np.float32))["prob"]
    np.testing.assert_array_equal(plain, same)
    swapped = np.eye(3, dtype=np.float32)[[1, 0, 2]]
    assert np.abs(session.run(windows[:1], swapped)["prob"] - plain).max() > 0.5


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_quiet_cpu_run(
    model: Model, device: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match="not there") as caught:
        open_session(model, device=device)
    assert caught.value.exit_code == 69
    assert capfd.readouterr() == ("", "")


def test_a_driver_without_libraries_is_an_error_too_and_makes_no_noise(
    model: Model, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsiproc.model._onnxruntime.gpu_there", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError):
        open_session(model, device="cuda")
    assert capfd.readouterr() == ("", "")


def test_auto_takes_what_really_loads(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnxruntime, "loads", lambda device: device in ("cpu", "cuda"))
    assert session_module.real_device("auto") == "cuda"
    monkeypatch.setattr(_onnxruntime, "loads", lambda device: device == "cpu")
    monkeypatch.setattr(_openvino, "loads", lambda: True)
    assert session_module.real_device("auto") == "openvino"
    assert session_module.devices_that_load() == ("cpu", "openvino")
    monkeypatch.setattr(_openvino, "loads", lambda: False)
    assert session_module.real_device("auto") == "cpu"
    assert open_session(model).facts.device == "cpu"


def test_openvino_that_is_not_installed_says_how(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_openvino, "has_openvino", lambda: False)
    with pytest.raises(MissingExtraError, match=r"wsiproc\[openvino\]"):
        open_session(model, device="openvino")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"device": "cpu", "precision": "bf16"}, "not in bf16"),
        ({"device": "tensorrt", "precision": "fp16"}, "does not allow fp16"),
        ({"device": "cpu", "window": 300}, "256, 512"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    model: Model, settings: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        open_session(model, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [(1, 128, 128, 3), (1, 3, 256, 256), (0, 256, 256, 3)])
def test_windows_of_another_shape_are_refused(model: Model, wrong: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="windows must be"):
        open_session(model, device="cpu").run(np.zeros(wrong, np.uint8))


class SmallDevice:
    """An engine with room for so many windows, which says the mean of each window."""

    def __init__(self, room: int, batch: int) -> None:
        self.room, self.batch = room, batch
        self.facts = EngineFacts("fake 1", "cuda", "fp32", "sm90", batch_matters=True)
        self.ran: list[int] = []

    def run(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        images = feeds["image"]
        assert len(images) == self.batch
        if self.batch > self.room:
            raise OutOfMemoryError("full")
        self.ran.append(self.batch)
        means = images.astype(np.float32).mean((1, 2, 3))[:, None, None, None] / 255
        return {"prob": np.broadcast_to(means, (len(images), 1, WINDOW, WINDOW))}

    def resize(self, batch: int) -> None:
        self.batch = batch

    def close(self) -> None: ...


def test_out_of_memory_halves_the_batch_and_goes_on(windows: NDArray[np.uint8]) -> None:
    card = model_of(points_model()).card
    engine = SmallDevice(room=2, batch=8)
    session = EngineSession(card, engine, window=WINDOW, batch=8, threads=1, stain=False)
    assert session.facts.numerics.endswith("/b8")
    got = session.run(windows)["prob"][:, 0, 0, 0]
    np.testing.assert_allclose(got, windows.mean((1, 2, 3)) / 255, rtol=1e-5)
    assert engine.ran == [2, 2, 2]
    assert session.facts.batch == 2
    assert session.facts.numerics.endswith("/b2")


def test_no_room_for_one_window_is_an_error_that_says_what_to_do(
    windows: NDArray[np.uint8],
) -> None:
    card = model_of(points_model()).card
    engine = SmallDevice(room=0, batch=4)
    session = EngineSession(card, engine, window=WINDOW, batch=4, threads=1, stain=False)
    with pytest.raises(DeviceError, match="window_px"):
        session.run(windows)


def test_memory_is_tried_when_a_session_is_opened(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine(
        model: Model, device: str, precision: str, threads: int, shape: tuple[int, ...]
    ) -> SmallDevice:
        if shape[0] > 3:
            raise OutOfMemoryError("full")
        return SmallDevice(3, shape[0])

    monkeypatch.setattr(session_module, "_engine", engine)
    assert open_session(model, device="cuda", batch=8).facts.batch == 2


@pytest.mark.parametrize("device", ENGINES)
def test_a_graph_that_does_not_load_is_a_model_error(device: str) -> None:
    data = haematoxylin_model().replace(b"Sigmoid", b"Sigmoix")
    with pytest.raises(ModelError, match="does not take the model"):
        open_session(model_of(data), device=device)
