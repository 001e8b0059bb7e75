"""What becomes of a network's outputs besides nuclei."""

from __future__ import annotations

import numpy as np

from wsiproc.inference import layers_of
from wsiproc.store.maps import Layer
from wsiproc.testing.models import TWO_CLASSES
from wsiproc.testing.strategies import a_card


def test_channels_are_called_after_the_classes_only_where_they_are_classes() -> None:
    """Distances have two channels too, and a sign."""
    card = a_card().model_copy(update={"classes": TWO_CLASSES})
    maps = {
        name: np.zeros((channels, 4, 4), np.float32)
        for name, channels in {"np": 1, "hv": 2, "tp": 2}.items()
    }
    assert layers_of(card, maps) == {
        "np": Layer(("np",)),
        "hv": Layer(("along x", "along y"), low=-1.0, high=1.0),
        "tp": Layer(("pale", "dark")),
    }
