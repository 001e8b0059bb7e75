"""The drawn models find the nuclei of drawn slides, so that the suite rests on known truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from wsiproc.card import METADATA_KEY, Card
from wsiproc.decode import Said, decode, views_of
from wsiproc.evaluate import rasterised
from wsiproc.geometry import Box
from wsiproc.metrics import instances
from wsiproc.model.graph import read_graph
from wsiproc.model.registry import Model
from wsiproc.model.session import open_session
from wsiproc.seams._views import outlines
from wsiproc.slide._drawn import draw_image
from wsiproc.testing.models import (
    haematoxylin_model,
    hover_model,
    instances_model,
    one_layer_model,
    points_model,
)
from wsiproc.tiling import Window

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


@pytest.mark.parametrize("make", [hover_model, instances_model])
@pytest.mark.parametrize("mpp", [0.5, 0.25])
def test_nuclei_of_the_kinds_that_name_them_are_the_drawn_ones(
    make: Callable[..., bytes], mpp: float
) -> None:
    data = make(mpp=mpp, windows=(SIZE,), classes=True)
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    pixels, labels = draw_image(SIZE, SIZE, 11, mpp=mpp)
    model = Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")
    outputs = open_session(model, device="cpu", window=SIZE).run(pixels[None])
    box = Box(0, 0, SIZE, SIZE)
    said: Said = {name: values[0] for name, values in outputs.items()}
    if card.fixed_windows:
        said = views_of(card, outputs, [Window(box, box)])
    found = decode(card, said, box, box)
    drawn = rasterised(outlines(found), found.score, labels.shape)
    scores = instances(labels, drawn).scores()
    assert scores["dq"] > 0.9
    assert scores["aji"] > 0.7


def test_the_network_that_names_nuclei_depends_on_all_of_its_window() -> None:
    """One corner is blackened, and what is said of nuclei in the other changes."""
    data = instances_model(windows=(SIZE,))
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    pixels, _ = draw_image(SIZE, SIZE, 11, mpp=0.5)
    model = Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")
    darker = pixels.copy()
    darker[:200, :200] = (80, 40, 120)
    session = open_session(model, device="cpu", window=SIZE)
    both = [session.run(image[None]) for image in (pixels, darker)]
    far = [said["boxes"][(said["boxes"][:, :2] > 300).all(axis=1)] for said in both]
    assert len(far[0]) > 5
    assert len(far[0]) == len(far[1])
    assert (far[0] != far[1]).all()


def test_several_windows_are_told_apart_whatever_the_batch() -> None:
    data = instances_model(windows=(256,))
    card = Card.model_validate_json(read_graph(data).metadata[METADATA_KEY])
    model = Model(card.name, card, data, hashlib.sha256(data).hexdigest(), "file")
    images = np.stack([draw_image(256, 256, seed, mpp=0.5)[0] for seed in range(5)])
    together = [
        open_session(model, device="cpu", window=256, batch=batch).run(images)
        for batch in (1, 2, 5)
    ]
    for said in together:
        assert set(said["tile"].tolist()) == {0, 1, 2, 3, 4}
        real = said["scores"] > 0
        for name, values in said.items():
            np.testing.assert_array_equal(
                values[real], together[0][name][together[0]["scores"] > 0], err_msg=name
            )


def test_one_layer_is_no_more_than_a_look_at_each_pixel() -> None:
    maps, labels = maps_of(one_layer_model(window=SIZE), 14, 0.5)
    inside = maps["prob"][0] > 0.5
    assert (inside & (labels > 0)).sum() / (labels > 0).sum() > 0.6
    assert (inside & (labels == 0)).sum() / (labels == 0).sum() < 0.02
