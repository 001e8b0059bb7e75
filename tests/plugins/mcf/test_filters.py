"""Eq. 1 to 3: filters answer at the centres of their templates, and fusion is what it says."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc_mcf.features import Features, Statistics, tensor_of  # noqa: E402
from wsiproc_mcf.filter_config import FilterConfig  # noqa: E402
from wsiproc_mcf.filters import Bank, cropped, cut_patch, make_bank  # noqa: E402
from wsiproc_mcf.response import (  # noqa: E402
    KNEE,
    Response,
    calibrate,
    correlated,
    correlated_by_fft,
    highest,
    peak_weight,
    respond,
    spectrum,
    squashed,
    template_responses,
    unsquashed,
)

MPP = 0.5


@pytest.mark.parametrize("place", [(20, 33), (41, 18)])
@pytest.mark.parametrize("scale", range(5))
def test_a_template_s_filter_peaks_at_its_centre_on_a_canvas(
    place: tuple[int, int], scale: int
) -> None:
    rng = np.random.default_rng(0)
    config = FilterConfig(regularisation=1e-3)
    patch = rng.uniform(60, 220, (48, 48, 3)).astype(np.float32)
    channels = sum(Features(config, MPP).channels)
    bank = make_bank([patch], config, MPP, Statistics.none(channels))
    kernel = bank.kernels[scale]
    size = kernel.shape[-1]
    resized = functional.interpolate(
        torch.from_numpy(patch).permute(2, 0, 1)[None],
        (2 * size, 2 * size),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    template = Features(config, MPP)(resized) * window[:, None] * window
    canvas = torch.zeros(1, channels, 64, 64)
    y, x = place
    top, left = y - size // 2, x - size // 2
    canvas[:, :, top : top + size, left : left + size] = template
    said = correlated(canvas, kernel)[0, 0]
    assert divmod(int(said.argmax()), 64) == place
    assert float(said.max()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize("shape", [(40, 31), (16, 16)])
def test_correlating_by_fourier_transforms_is_correlating(
    size: int, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    seen, kernels = torch.randn(2, 3, *shape), torch.randn(4, 3, size, size)
    direct = correlated(seen, kernels)
    assert direct.shape == (2, 4, *shape)
    before, after = size // 2, (size - 1) // 2
    around = functional.pad(seen, (before, after, before, after))
    said = correlated_by_fft(around, spectrum(kernels, tuple(around.shape[-2:])))
    assert torch.allclose(said[..., : shape[0], : shape[1]], direct, atol=1e-4)


@pytest.mark.parametrize("top", [1, 3, 7, 9])
def test_the_running_highest_are_those_of_a_sort(top: int) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 5, 4) for _ in range(7)]
    wanted = torch.stack(maps).sort(0, descending=True).values[:top].sum(0)
    assert torch.allclose(highest(iter(maps), top, len(maps)), wanted, atol=1e-5)


def test_both_paths_give_the_same_response(bank: Bank, drawing) -> None:
    direct, transformed = Response(bank), Response(bank, "fft")
    wanted = respond(direct, drawing[0])
    assert wanted.shape == drawing[1].shape
    for _ in range(2):
        assert np.abs(respond(transformed, drawing[0]) - wanted).max() < 1e-4


def test_an_image_larger_than_a_block_is_seen_whole(bank: Bank, drawing) -> None:
    wide = np.tile(drawing[0], (2, 2, 1))
    net = Response(bank)
    said = respond(net, wide)
    with torch.no_grad():
        at_once = net(functional.pad(tensor_of(wide), (64,) * 4, value=255.0))[0, 0, 64:-64, 64:-64]
    assert said.shape == wide.shape[:2]
    assert np.abs(said - at_once.numpy()).max() < 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weighting": True},
        {"weighting": True, "weighting_of_crops": True, "crops": (1.0, 0.8, 0.6, 0.5)},
        {"scale_fusion": False, "cropped_fusion": False, "top_h": 1},
        {"mean_fusion": True, "hog": False},
    ],
)
def test_a_response_depends_on_nothing_beyond_its_reach(changes, drawing) -> None:
    config = FilterConfig(**changes)
    pixels = drawing[0]
    channels = sum(Features(config, MPP).channels)
    patches = [cut_patch(pixels, (60, 60, 72, 70), config, MPP)] * 2
    bank = make_bank(patches, config, MPP, Statistics.none(channels))
    net = Response(bank)
    image = functional.pad(tensor_of(pixels), (64,) * 4, mode="reflect")
    changed = image.clone()
    changed[..., 140, 150] = 0
    with torch.no_grad():
        there = (net.loudness(changed) - net.loudness(image))[0, 0] != 0
    rows, columns = torch.nonzero(there).T
    assert len(rows)
    assert int((rows - 140).abs().max()) <= net.reach
    assert int((columns - 150).abs().max()) <= net.reach


def test_moving_the_image_by_cells_moves_the_response(bank: Bank, drawing) -> None:
    net = Response(bank)
    image = tensor_of(drawing[0])
    with torch.no_grad():
        here, there = net(image), net(image[..., 6:, 4:])
    edge = net.reach + net.reach % 2
    a, b = here[..., 6 + edge : -edge, 4 + edge : -edge], there[..., edge:-edge, edge:-edge]
    assert torch.allclose(a, b, atol=1e-4)


def test_nuclei_answer_louder_than_what_is_around_them(bank: Bank, drawing) -> None:
    pixels, labels = drawing
    response = respond(bank, pixels)
    assert response[labels > 0].mean() > response[labels == 0].mean() + 0.15


def test_the_constants_of_a_bank_bring_its_images_to_0_to_1(bank: Bank, drawing) -> None:
    response = respond(bank, drawing[0])
    assert response.min() >= 0
    assert response.max() < 1
    assert np.mean(response > KNEE) == pytest.approx(0.005, abs=0.003)
    again = calibrate(bank, [drawing[0]])
    assert again.range == pytest.approx(bank.range, rel=1e-4)


def test_squashing_keeps_the_order_of_loud_responses_and_can_be_undone() -> None:
    loud = torch.linspace(0, 6, 301)
    response = squashed(loud)
    assert bool((response.diff() > 0).all())
    assert float(response.max()) < 1
    assert torch.allclose(unsquashed(response), loud, atol=2e-3)
    assert torch.equal(squashed(torch.tensor([-1.0, 0.5])), torch.tensor([0.0, 0.5]))


def test_a_template_answers_itself(bank: Bank, drawing) -> None:
    assert template_responses(bank, drawing[0]).shape == (4, *drawing[1].shape)


def test_joined_banks_answer_like_one_made_of_all_templates(bank: Bank, drawing) -> None:
    halves = [
        make_bank(list(bank.patches[part]), bank.config, MPP, bank.statistics)
        for part in (slice(0, 1), slice(1, 4))
    ]
    joined = calibrate(halves[0].joined(halves[1]), [drawing[0]])
    assert joined.templates == 4
    assert np.abs(respond(joined, drawing[0]) - respond(bank, drawing[0])).max() < 1e-4
    other = make_bank(list(bank.patches), bank.config, 0.25, bank.statistics)
    with pytest.raises(ConfigError, match="different settings"):
        joined.joined(other)


def test_a_bank_comes_back_from_its_state(bank: Bank, drawing, tmp_path) -> None:
    torch.save(bank.state(), tmp_path / "bank.pt")
    state = torch.load(tmp_path / "bank.pt", weights_only=True)
    back = Bank.from_state(state, bank.config, MPP)
    assert np.array_equal(respond(back, drawing[0]), respond(bank, drawing[0]))


def test_the_weights_sum_to_what_they_should() -> None:
    zero = peak_weight(9, FilterConfig(weight_sum="zero"))
    assert float(zero.sum()) == pytest.approx(0, abs=1e-5)
    assert float(zero.norm()) == pytest.approx(1)
    assert divmod(int(zero.argmax()), 9) == (4, 4)
    assert float(peak_weight(8, FilterConfig(weight_sum="one")).sum()) == pytest.approx(1)


@pytest.mark.parametrize("size", [5, 6, 12, 13])
@pytest.mark.parametrize("part", [1.0, 0.75, 0.5])
def test_crops_keep_the_centre(size: int, part: float) -> None:
    kernel = torch.zeros(size, size)
    kernel[size // 2, size // 2] = 1
    crop = cropped(kernel, part)
    edge = crop.shape[-1]
    assert abs(edge - part * size) <= 1.5
    assert crop[edge // 2, edge // 2] == 1


def test_a_patch_is_cut_about_its_box_and_mirrored_past_the_edge() -> None:
    image = np.zeros((40, 60, 3), np.float32)
    image[18:22, 28:32] = 200
    config = FilterConfig(context=2.0)
    patch = cut_patch(image, (26, 16, 34, 24), config, MPP)
    side = len(patch)
    bright = np.argwhere(patch[..., 0] > 100)
    assert bright.mean(0) == pytest.approx([(side - 1) / 2] * 2, abs=0.6)
    assert np.ptp(bright[:, 0]) + 1 == pytest.approx(side / 4, abs=1), "4 of 16 px"
    corner = cut_patch(image + 7, (0, 0, 8, 8), config, MPP)
    assert np.allclose(corner[: side // 2], 7)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (70, 5, 90, 15)])
def test_a_box_outside_its_image_is_refused(box) -> None:
    with pytest.raises(ConfigError, match="not in its image"):
        cut_patch(np.zeros((40, 60, 3), np.float32), box, FilterConfig(), MPP)


def test_a_bank_without_templates_or_images_is_refused(bank: Bank) -> None:
    with pytest.raises(ConfigError, match="at least one template"):
        make_bank([], bank.config, MPP, bank.statistics)
    with pytest.raises(ConfigError, match="at least one image"):
        calibrate(bank, [])
    with pytest.raises(ConfigError, match="blank"):
        calibrate(bank, [np.full((64, 64, 3), 255, np.uint8)])
