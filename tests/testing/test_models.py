"""The drawn models find the nuclei of drawn slides, so that the suite rests on known truth."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from wsiproc.card import METADATA_KEY, Card
from wsiproc.model.graph import read_graph
from wsiproc.model.registry import Model
from wsiproc.model.session import open_session
from wsiproc.slide._drawn import draw_image
from wsiproc.testing.models import haematoxylin_model, one_layer_model, points_model

SIZE = 512


def maps_of(data: bytes, seed: int, mpp: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    model = Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")
    pixels, labels = draw_image(SIZE, SIZE, seed, mpp=mpp)
    maps = open_session(model, device="cpu", window=SIZE).run(pixels[None])
    return {name: values[0] for name, values in maps.items()}, labels


def f1_of_peaks(values: np.ndarray, labels: np.ndarray, threshold: float, radius: float) -> float:
    """Nuclei with a peak inside, against peaks and nuclei."""
    edge = int(radius)
    y, x = np.mgrid[-edge : edge + 1, -edge : edge + 1]
    highest = ndimage.maximum_filter(values, footprint=np.hypot(x, y) <= radius)
    peaks = np.argwhere((values == highest) & (values > threshold))
    hit = np.unique(labels[peaks[:, 0], peaks[:, 1]])
    return float(2 * (hit > 0).sum() / (len(peaks) + labels.max()))


@pytest.mark.parametrize("mpp", [0.5, 0.25])
def test_prob_covers_nuclei_and_centre_peaks_once_in_each(mpp: float) -> None:
    maps, labels = maps_of(haematoxylin_model(mpp=mpp, windows=(SIZE,)), 11, mpp)
    inside, nucleus = maps["prob"][0] > 0.5, labels > 0
    assert (inside & nucleus).sum() / (inside | nucleus).sum() > 0.85
    assert f1_of_peaks(maps["centre"][0], labels, 0.5, 2.0 / mpp) > 0.88


def test_points_peak_once_in_each_nucleus() -> None:
    maps, labels = maps_of(points_model(windows=(SIZE,)), 12, 0.5)
    assert f1_of_peaks(maps["prob"][0], labels, 0.5, 5.0) > 0.88


def test_classes_are_shares_of_one() -> None:
    maps, labels = maps_of(haematoxylin_model(windows=(SIZE,), classes=True), 13, 0.5)
    np.testing.assert_allclose(maps["class"].sum(axis=0), 1, atol=1e-6)
    kinds = set(maps["class"].argmax(axis=0)[labels > 0].tolist())
    assert kinds == {0, 1}


def test_one_layer_is_no_more_than_a_look_at_each_pixel() -> None:
    maps, labels = maps_of(one_layer_model(window=SIZE), 14, 0.5)
    inside = maps["prob"][0] > 0.5
    assert (inside & (labels > 0)).sum() / (labels > 0).sum() > 0.6
    assert (inside & (labels == 0)).sum() / (labels == 0).sum() < 0.02
