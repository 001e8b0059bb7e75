"""The models that ship are those that were trained, on data whose licence allows it."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

from wsiproc.methods import ShippedModel, installed
from wsiproc.model import load_model

SHIPPED = sorted(installed().models.values(), key=lambda model: model.name)


def test_every_method_that_has_a_model_ships_it() -> None:
    points = {"lair", "partial_points", "partial_points_detector"}
    outlines = {"unet", "mcf", "mcf_detector", "exemplar"}
    assert outlines | points <= {model.name for model in SHIPPED}


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.name)
def test_shipped_models_are_what_was_recorded(model: ShippedModel) -> None:
    data = files(model.package).joinpath(model.resource).read_bytes()
    assert hashlib.sha256(data).hexdigest() == model.sha256
    assert len(data) < 10_000_000
    card = load_model(model.name).card
    assert card.name == model.name
    assert card.tiles_agree
    assert set(card.licence.split(" AND ")) <= {"CC-BY-4.0", "BSD-3-Clause"}
    assert card.command.startswith(f"wsiproc train {card.method} --data DATA/")
    assert b"/home/" not in data
    assert b"site-packages" not in data
    assert card.data
    assert "val" in card.post.chosen_on
    assert not {"kumar", "crchisto"} & {seen.name for seen in card.data}, "may not ship"
