"""On a GPU: the same maps as on the CPU within rounding, the same bits each time, and faster.

Run by ``make test-gpu``; skipped where CUDA does not load.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiproc.card import METADATA_KEY, Card
from wsiproc.errors import ModelError
from wsiproc.model import list_models, load_model
from wsiproc.model._onnxruntime import loads
from wsiproc.model.graph import read_graph
from wsiproc.model.locality import shift_check
from wsiproc.model.registry import Model
from wsiproc.model.session import Session, open_session
from wsiproc.slide._drawn import draw_image
from wsiproc.testing.models import haematoxylin_model

DEVICES = [device for device in ("cuda", "tensorrt") if loads(device)]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not DEVICES, reason="no CUDA device loads")]
each_device = pytest.mark.parametrize("device", DEVICES)

WITHIN = {"fp32": 1e-3, "fp16": 2e-2}


def models() -> list[Model]:
    """The drawn model, and `unet` where it is shipped."""
    data = haematoxylin_model(classes=True, windows=(512,))
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    found = [Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")]
    try:
        found += [load_model(entry.name) for entry in list_models() if entry.source == "shipped"]
    except ModelError as error:
        pytest.fail(str(error))
    return found


def images_of(session: Session, card: Card, count: int) -> NDArray[np.uint8]:
    edge = session.facts.window
    pixels, _ = draw_image(edge, edge * count, 4, mpp=min(card.mpp, 2.0))
    return pixels.reshape(count, edge, edge, 3)


@each_device
@pytest.mark.parametrize("model", models() if DEVICES else [], ids=lambda model: model.name)
def test_maps_are_those_of_the_cpu_within_rounding(model: Model, device: str) -> None:
    there = open_session(model, device=device)
    here = open_session(model, device="cpu", window=there.facts.window)
    images = images_of(here, model.card, 3)
    images[1] = 255
    ours, theirs = here.run(images), there.run(images)
    for name, values in ours.items():
        assert np.abs(values - theirs[name]).max() <= WITHIN[there.facts.precision], name


@each_device
def test_bits_are_the_same_each_time_and_in_each_place_of_a_batch(device: str) -> None:
    model = models()[-1]
    session = open_session(model, device=device, batch=4)
    images = images_of(session, model.card, 4)
    first = session.run(images)
    again = open_session(model, device=device, batch=4)
    assert again.facts.numerics == session.facts.numerics
    for name, values in again.run(images[::-1]).items():
        np.testing.assert_array_equal(values[::-1], first[name])
    for name, values in session.run(images[:1]).items():
        np.testing.assert_array_equal(values, first[name][:1])


@each_device
def test_shifted_windows_agree(device: str) -> None:
    model = models()[-1]
    session = open_session(model, device=device)
    edge = session.facts.window + 4 * model.card.step
    found = shift_check(session, model.card, draw_image(edge, edge, 6, mpp=model.card.mpp)[0])
    assert found.max_abs_diff <= WITHIN[session.facts.precision], found
    print(f"{session.facts.numerics}: {found}")


@each_device
def test_throughput_is_told(device: str, record_property: Callable[[str, object], None]) -> None:
    model = models()[-1]
    rates: dict[str, float] = {}
    for name in ("cpu", device):
        session = open_session(model, device=name)
        images = images_of(session, model.card, max(2, session.facts.batch))
        session.run(images)
        began = time.perf_counter()
        for _ in range(1 if name == "cpu" else 5):
            session.run(images)
        taken = (time.perf_counter() - began) / (1 if name == "cpu" else 5)
        rates[name] = images[..., 0].size / taken / 1e6
    record_property("mpx_per_s", rates)
    print(", ".join(f"{name} {rate:.1f} Mpx/s" for name, rate in rates.items()))
    assert all(rate > 0 for rate in rates.values())
