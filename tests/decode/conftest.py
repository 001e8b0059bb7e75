from __future__ import annotations

from collections.abc import Callable

import pytest

from wsiproc.card import Card

MakeCard = Callable[..., Card]


def _card(
    kind: str,
    *,
    largest: float = 16.0,
    mpp: float = 1.0,
    stride: int = 1,
    classes: int = 1,
    margin: int = 0,
    **post: object,
) -> Card:
    post = {"chosen_on": "drawn maps", **post}
    if kind in ("points", "mask"):
        post = {"threshold": 0.5, **post}
    return Card.model_validate(
        {
            "name": "drawn",
            "method": "foreign",
            "kind": kind,
            "mpp": mpp,
            "step": 8,
            "windows": (128,),
            "margin": margin,
            "stride": stride,
            "largest_nucleus_um": largest,
            "classes": [{"name": f"class {i}", "color": (0, 0, 0)} for i in range(classes)],
            "local": kind != "instances",
            "post": {"kind": kind, **post},
        }
    )


@pytest.fixture(scope="session")
def make_card() -> MakeCard:
    """A card of a model at 1 µm per px whose largest nucleus is 16 px."""
    return _card
