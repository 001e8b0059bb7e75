"""HoVer-Net's targets and losses mean what the paper says, and leave out what is unknown."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from wsiproc.errors import ConfigError  # noqa: E402
from wsiproc.training.hover import (  # noqa: E402
    Weights,
    dice_loss,
    gradient_loss,
    gradients,
    hover_loss,
    hover_targets,
    stacked_targets,
)
from wsiproc.training.labels import IGNORE, foreground  # noqa: E402

LABELS = arrays(
    np.int32,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([-1, 0, 0, 1, 2, 7, 40_000]),
)


def _one_by_one(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`hover_targets`, a nucleus and a pixel at a time."""
    height, width = instances.shape
    hv = np.zeros((2, height, width))
    known = instances >= 0
    for label in sorted(set(instances[instances > 0].tolist())):
        pixels = [(y, x) for y in range(height) for x in range(width) if instances[y, x] == label]
        beside = [
            (y + dy, x + dx) for y, x in pixels for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))
        ]
        seen = all(0 <= y < height and 0 <= x < width and instances[y, x] >= 0 for y, x in beside)
        for channel, axis in ((0, 1), (1, 0)):
            along = [pixel[axis] for pixel in pixels]
            centre = math.floor(sum(along) / len(along) + 0.5)
            for pixel in pixels:
                away = pixel[axis] - centre
                if away < 0:
                    hv[channel][pixel] = away / (centre - min(along))
                elif away > 0:
                    hv[channel][pixel] = away / (max(along) - centre)
        for pixel in pixels:
            known[pixel] = seen
    return hv, known


@settings(max_examples=150, deadline=None)
@given(LABELS)
def test_targets_are_those_of_a_plain_loop(instances: np.ndarray) -> None:
    hv, known = hover_targets(instances)
    wanted, wanted_known = _one_by_one(instances)
    np.testing.assert_allclose(hv, wanted, atol=1e-6)
    np.testing.assert_array_equal(known, wanted_known)


def test_the_first_map_grows_to_the_right_and_the_second_downwards() -> None:
    instances = np.zeros((11, 13), np.int32)
    instances[2:9, 3:12] = 5
    hv, known = hover_targets(instances)
    np.testing.assert_allclose(hv[0, 5, 3:12], np.arange(-4, 5) / 4)
    np.testing.assert_allclose(hv[1, 2:9, 7], np.arange(-3, 4) / 3)
    assert known.all()
    assert not hv[:, instances == 0].any()


@settings(max_examples=40, deadline=None)
@given(LABELS)
def test_mirroring_an_image_mirrors_its_targets_up_to_the_rounding_of_centres(
    instances: np.ndarray,
) -> None:
    # Only nuclei of odd extent are mirrored exactly: a centre between two pixels is rounded.
    doubled = instances.repeat(3, 0).repeat(3, 1)
    one = np.where(doubled == 7, 7, np.minimum(doubled, 0))
    hv, known = hover_targets(one)
    flipped, flipped_known = hover_targets(np.ascontiguousarray(one[:, ::-1]))
    np.testing.assert_array_equal(known[:, ::-1], flipped_known)
    np.testing.assert_allclose(hv[1, :, ::-1], flipped[1], atol=1e-6)
    columns = np.nonzero((one == 7).any(0))[0]
    mean = np.nonzero(one == 7)[1].mean() if len(columns) else 0.0
    if abs(mean % 1 - 0.5) > 1e-9:
        np.testing.assert_allclose(-hv[0, :, ::-1], flipped[0], atol=1e-6)


def _random(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two images with whole nuclei: foreground, hv, known."""
    labels = np.zeros((2, 40, 40), np.int32)
    labels[0, 5:14, 6:20], labels[0, 14:25, 8:17], labels[1, 10:30, 10:18] = 1, 2, 3
    targets = stacked_targets(list(labels))
    inside = torch.from_numpy(np.stack([foreground(each) for each in labels]))
    return inside, torch.from_numpy(targets["hv"]), torch.from_numpy(targets["hv_known"])


def test_entropy_dice_and_squares_are_those_of_monai() -> None:
    from monai.apps.pathology.losses import HoVerNetLoss

    inside, hv, known = _drawn()
    two, said = _random(0, (2, 2, 40, 40)), _random(1, (2, 2, 40, 40))
    channels = torch.stack([1 - inside, inside], 1)
    names = ("nucleus_prediction", "horizontal_vertical")
    asked, true = (
        dict(zip(names, (two, said), strict=True)),
        dict(zip(names, (channels, hv), strict=True)),
    )
    for ours, theirs in (
        (Weights(1, 0, 0, 0), {"lambda_np_ce": 1}),
        (Weights(0, 0, 1, 0), {"lambda_hv_mse": 1}),
    ):
        off = dict.fromkeys(
            ("lambda_hv_mse", "lambda_hv_mse_grad", "lambda_np_ce", "lambda_np_dice"), 0.0
        )
        wanted = HoVerNetLoss(**{**off, **theirs})(asked, true)
        got = hover_loss(two[:, 1] - two[:, 0], said, inside, hv, known, ours)
        torch.testing.assert_close(got, wanted)
    # MONAI sums the Dice loss of background and nuclei; the paper's, and ours, is of nuclei.
    off["lambda_np_dice"] = 1.0
    wanted = HoVerNetLoss(**off)(asked, true)
    logit = two[:, 1] - two[:, 0]
    every = torch.ones_like(known)
    both = dice_loss(torch.sigmoid(logit), inside, every) + dice_loss(
        torch.sigmoid(-logit), 1 - inside, every
    )
    torch.testing.assert_close(both, wanted)


def test_of_planes_the_gradient_is_twelve_times_monais_and_along_the_same_axis() -> None:
    from monai.apps.pathology.losses import HoVerNetLoss

    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    hv = torch.stack([0.05 * x + 0.3 * y, 0.2 * x - 0.07 * y])[None]
    inner = (..., slice(3, -3), slice(3, -3))
    ours, theirs = gradients(hv)[inner], HoVerNetLoss()._compute_sobel(hv)[inner]
    torch.testing.assert_close(ours, 12 * theirs)
    assert float(ours[0, 0].mean()) == pytest.approx(12 * 0.05, rel=1e-4)
    assert float(ours[0, 1].mean()) == pytest.approx(-12 * 0.07, rel=1e-4)


def test_swapped_axes_are_seen_by_the_gradient() -> None:
    inside, hv, known = _drawn()
    right = gradient_loss(hv, hv, inside > 0.5, known)
    wrong = gradient_loss(hv.flip(1), hv, inside > 0.5, known)
    assert float(right) == 0
    assert float(wrong) > 0.01


@pytest.mark.parametrize("part", range(4))
def test_nothing_that_is_unknown_changes_any_part_of_the_loss(part: int) -> None:
    weights = Weights(*(float(i == part) for i in range(4)))
    inside, hv, known = _drawn()
    logit, said = _random(2, (2, 40, 40)), _random(3, (2, 2, 40, 40))
    unknown = torch.zeros_like(known)
    unknown[0, 3:12, :9] = unknown[1, 20:, 14:] = True
    inside = torch.where(unknown, IGNORE, inside)
    known = known & ~unknown
    before = hover_loss(logit, said, inside, hv, known, weights)
    noise = 100 * _random(4, (2, 40, 40))
    after = hover_loss(
        torch.where(unknown, noise, logit),
        torch.where(unknown[:, None], noise[:, None], said),
        inside,
        torch.where(unknown[:, None], noise[:, None], hv),
        known,
        weights,
    )
    torch.testing.assert_close(before, after, rtol=1e-6, atol=0)
    assert float(before) > 0


def test_a_batch_of_which_nothing_is_known_costs_nothing() -> None:
    logit, said = _random(5, (1, 16, 16)), _random(6, (1, 2, 16, 16))
    nothing = torch.full((1, 16, 16), IGNORE)
    loss = hover_loss(
        logit, said, nothing, torch.zeros_like(said), torch.zeros(1, 16, 16, dtype=bool), Weights()
    )
    assert float(loss) == 0


def _resnet50() -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of torchvision's ResNet-50."""
    out: dict[str, torch.Tensor] = {}

    def conv(name: str, outputs: int, inputs: int, edge: int) -> None:
        out[f"{name}.weight"] = _random(len(out), (outputs, inputs, edge, edge))

    def norm(name: str, channels: int) -> None:
        for each in ("weight", "bias", "running_mean", "running_var"):
            out[f"{name}.{each}"] = _random(len(out), (channels,))
        out[f"{name}.num_batches_tracked"] = torch.tensor(len(out))

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    before = 64
    for layer, (inner, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            for i, (outputs, edge) in enumerate(((inner, 1), (inner, 3), (4 * inner, 1)), 1):
                conv(f"{name}.conv{i}", outputs, before if i == 1 else inner, edge)
                norm(f"{name}.bn{i}", outputs)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * inner, before, 1)
                norm(f"{name}.downsample.1", 4 * inner)
            before = 4 * inner
    return out


@pytest.mark.slow
def test_hover_net_says_what_monais_own_does_and_takes_resnets_weights_as_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monai.networks.nets import hovernet

    from wsiproc.training.hover_nets import HoverNet

    path = tmp_path / "resnet50.pth"
    weights = {
        name: value / 50 if value.ndim > 1 else value.abs() for name, value in _resnet50().items()
    }
    torch.save(weights, path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(
        hovernet, "download_url", lambda url, filepath, progress: shutil.copy(url, filepath)
    )
    (tmp_path / "hub").mkdir()
    theirs = hovernet._remap_standard_resnet_model(str(path))
    net = HoverNet(path).eval()
    own = net.layers.state_dict()
    taken = [name for name in own if name in theirs and theirs[name].shape == own[name].shape]
    assert len(taken) == 298
    assert all(torch.equal(own[name], theirs[name]) for name in taken)

    image = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        got = net(image)
        wanted = net.layers(((image + 1) / 2 - net.mean) / net.std)
    inner = (slice(None), slice(None), slice(46, -46), slice(46, -46))
    pixels = wanted["nucleus_prediction"]
    torch.testing.assert_close(got[inner][:, 0], pixels[:, 1] - pixels[:, 0])
    torch.testing.assert_close(got[inner][:, 1:], wanted["horizontal_vertical"])


def test_a_file_that_is_no_resnet_is_refused(tmp_path: Path) -> None:
    from wsiproc.training.hover_nets import load_encoder

    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ConfigError, match="no ResNet-50"):
        load_encoder(torch.nn.Conv2d(3, 1, 1), path)
