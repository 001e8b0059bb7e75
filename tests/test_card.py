"""A card says all of a model or is refused, with what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from wsiproc.card import Card, ModelInput, card_from_json, card_from_toml
from wsiproc.errors import ModelError
from wsiproc.testing.strategies import a_card, cards

TOML = """
name = "borrowed"
method = "foreign"
kind = "points"
mpp = 0.25
step = 32
windows = [256]
margin = 64
largest_nucleus_um = 20
local = false
[[classes]]
name = "nucleus"
color = [255, 0, 0]
[post]
threshold = 0.3
radius_um = 3
chosen_on = "crchisto val"
[input]
layout = "NCHW"
dtype = "float32"
scale = 0.00392156862745098
[outputs.prob]
name = "out"
activation = "sigmoid"
"""


def changed(**fields: Any) -> str:
    return json.dumps(a_card().model_dump(mode="json") | fields)


@settings(max_examples=30, deadline=None)
@given(cards())
def test_a_card_survives_being_written(card: Card) -> None:
    assert card_from_json(card.to_json()) == card
    assert card_from_json(card.to_json()).to_json() == card.to_json()


def test_a_foreign_card_is_read_from_toml() -> None:
    card = card_from_toml(TOML)
    assert card.post.kind == "points"
    assert not card.polygons
    assert not card.input.native
    assert card.outputs["prob"].activation == "sigmoid"
    assert card.largest_nucleus_px == 80


def test_own_pixels_need_no_adapting() -> None:
    assert ModelInput(name="anything").native
    assert not ModelInput(order="BGR").native


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"margin": 12}, "margin 12 is no multiple of step 8"),
        ({"windows": [100]}, "window 100 is no multiple of step 8"),
        ({"windows": [256, 32]}, "window 32 has nothing left inside margin 16"),
        ({"windows": []}, "windows"),
        ({"stride": 3}, "window 256"),
        ({"mpp": 0.0}, "mpp"),
        ({"mpp": "fast"}, "mpp"),
        ({"classes": []}, "classes"),
        ({"colour": "red"}, "colour"),
        ({"kind": "points"}, "the post-processing is 'mask'"),
        ({"post": {"kind": "mask", "threshold": 1.5, "chosen_on": "x"}}, "threshold"),
        ({"name": "../../etc"}, "name"),
        ({"schema_version": 2}, "schema_version is 2"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_the_reason(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        card_from_json(changed(**fields))
    assert said in str(caught.value)


INSTANCES = {
    "kind": "instances",
    "post": {"kind": "instances", "chosen_on": "x"},
    "local": False,
    "margin": 40,
    "windows": [256],
}


def test_a_model_that_names_nuclei_gets_fixed_windows_and_so_tiles_agree() -> None:
    card = card_from_json(changed(**INSTANCES))
    assert (card.local, card.fixed_windows, card.tiles_agree) == (False, True, True)
    assert a_card().tiles_agree
    assert not a_card(local=False).tiles_agree


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"margin": 32}, "margin 32 is less than the largest nucleus, 40 px"),
        ({"local": True}, "looks at its whole window"),
        ({"stride": 2}, "a stride has no meaning"),
    ],
)
def test_what_fixed_windows_rest_on_is_asked_of_the_card(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        card_from_json(changed(**{**INSTANCES, **fields}))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        card_from_json(changed(mpp=-1, step=0, licence=7))
    assert all(field in str(caught.value) for field in ("mpp", "step", "licence"))


@pytest.mark.parametrize("text", ["{", "[1, 2]", "null", '"card"', "{}"])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        card_from_json(text)


def test_broken_toml_is_refused() -> None:
    with pytest.raises(ModelError, match="not TOML"):
        card_from_toml("name = ")


def test_nothing_is_taken_for_infinite() -> None:
    with pytest.raises(ModelError):
        card_from_json(changed(largest_nucleus_um=1e999).replace("Infinity", "1e999"))


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        a_card().mpp = 1.0  # type: ignore[misc]
