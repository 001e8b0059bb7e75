"""Features are what the field means by them, and depend on nothing far away."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skimage.color import rgb2lab  # noqa: E402
from skimage.feature import hog  # noqa: E402

from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc_mcf.features import (  # noqa: E402
    ORIENTATIONS,
    Features,
    Gradients,
    Lab,
    measure_statistics,
    tensor_of,
)
from wsiproc_mcf.filter_config import FilterConfig  # noqa: E402

MPP = 0.5


def test_histograms_follow_those_of_skimage(drawing) -> None:
    plane = drawing[0][..., 1].astype(np.float32) / 255
    oracle = hog(plane, ORIENTATIONS, (8, 8), (1, 1), feature_vector=False, block_norm="L2")
    # Blocks of one cell: all that is left of a histogram is its shape.
    theirs = oracle[:, :, 0, 0]
    signed = Gradients(8, 0.1).histograms(torch.from_numpy(plane)[None, None])[0]
    ours = (signed[:ORIENTATIONS] + signed[ORIENTATIONS:]).permute(1, 2, 0).numpy()
    # Its bins begin at an angle of 0, ours lie around it: half a bin apart.
    between = (ours + np.roll(ours, -1, 2)) / 2
    strong = ours.sum(2) > np.median(ours.sum(2))

    def likeness(histograms: np.ndarray) -> float:
        length = np.linalg.norm(histograms, axis=2) * np.linalg.norm(theirs, axis=2)
        return float(np.median(((histograms * theirs).sum(2) / length)[strong]))

    assert likeness(between) > 0.95
    assert likeness(between[..., ::-1]) < 0.85, "the other way round"
    assert likeness(np.roll(between, 2, 2)) < 0.85, "turned by 40 degrees"


@pytest.mark.parametrize("degrees", range(0, 360, 15))
def test_a_gradient_is_shared_by_the_two_nearest_orientations(degrees: int) -> None:
    angle = np.radians(degrees)
    y, x = np.mgrid[:16, :16].astype(np.float32)
    ramp = torch.from_numpy(np.cos(angle) * x + np.sin(angle) * y).float()[None, None]
    share = Gradients(4, 0.1).histograms(ramp)[0, :, 2, 2].numpy()
    assert (share > 1e-4).sum() <= 2
    assert abs(share.argmax() * 20 - degrees) % 360 in (0, *range(11), *range(350, 360))
    assert share.sum() == pytest.approx(2.0, rel=0.02), "central differences of a slope of 1"


def test_gradients_turn_with_the_image(drawing) -> None:
    plane = torch.from_numpy(drawing[0][..., 1].astype(np.float32))[None, None]
    upright = Gradients(4, 0.1).histograms(plane)
    turned = Gradients(4, 0.1).histograms(plane.rot90(2, (2, 3)))
    half = ORIENTATIONS
    assert torch.allclose(turned.rot90(2, (2, 3)).roll(half, 1), upright, atol=1e-4)


def test_lab_is_that_of_skimage(drawing) -> None:
    pixels = drawing[0]
    ours = Lab()(tensor_of(pixels))[0].permute(1, 2, 0).numpy() * 100
    assert np.abs(ours - rgb2lab(pixels)[..., 1:]).max() < 0.2


def test_each_group_is_brought_to_its_variance(drawing) -> None:
    config = FilterConfig(colour=("hed", "lab"), colour_weight=2.0)
    statistics = measure_statistics([drawing[0]], config, MPP)
    seen = Features(config, MPP, statistics)(tensor_of(drawing[0]))[0].flatten(1)
    assert torch.allclose(seen.mean(1), torch.zeros(len(seen)), atol=1e-3)
    variance = seen.var(1, correction=0)
    assert float(variance[:31].sum()) == pytest.approx(1.0, rel=1e-2)
    assert float(variance[31:33].sum()) == pytest.approx(2.0, rel=1e-2), "half of 2 squared"
    assert float(variance[33:].sum()) == pytest.approx(2.0, rel=1e-2)


def test_a_cell_depends_on_nothing_beyond_its_neighbours(drawing, bank) -> None:
    features = Features(bank.config, MPP, bank.statistics)
    image = tensor_of(drawing[0])
    changed = image.clone()
    changed[..., 80, 90] = 0
    there = (features(changed) - features(image)).abs().amax((0, 1)) > 0
    rows, columns = torch.nonzero(there).T
    assert int((rows - 40).abs().max()) <= 2
    assert int((columns - 45).abs().max()) <= 2


def test_colour_names_are_looked_up_by_their_level(tmp_path) -> None:
    table = np.zeros((32768, 10), np.float32)
    table[17 + 32 * 9 + 1024 * 30] = np.arange(10)
    np.save(tmp_path / "names.npy", table)
    config = FilterConfig(
        hog=False, colour=("names",), colour_names=str(tmp_path / "names.npy"), cell_um=MPP
    )
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[1, 2] = 17 * 8 + 3, 9 * 8, 30 * 8 + 7
    seen = Features(config, MPP)(tensor_of(pixels))[0]
    assert seen[:, 1, 2].tolist() == list(range(10))
    assert not seen[:, 0, 0].any()


@pytest.mark.parametrize("table", [None, "text", "small"])
def test_without_a_table_of_colour_names_it_is_said_what_is_missing(tmp_path, table) -> None:
    path = tmp_path / "names.npy"
    if table == "text":
        path.write_text("no table")
    if table == "small":
        np.save(path, np.zeros((5, 10), np.float32))
    config = FilterConfig(colour=("names",), colour_names=str(path) if table else "")
    with pytest.raises(ConfigError, match="colour names"):
        Features(config, MPP)


def test_filters_that_see_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="gradients or colour"):
        Features(FilterConfig(hog=False, colour=()), MPP)
