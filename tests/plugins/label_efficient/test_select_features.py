"""What windows look like: means over boxes, from networks, and the same for a window anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.distance import pdist

torch = pytest.importorskip("torch")

from wsiproc.datasets import Sample  # noqa: E402
from wsiproc.errors import ConfigError, ModelError  # noqa: E402
from wsiproc.methods import TrainingChecked, TrainingEvent, TrainingNote  # noqa: E402
from wsiproc.model import load_model  # noqa: E402
from wsiproc.model.inner import inner_features  # noqa: E402
from wsiproc.slide._drawn import draw_image  # noqa: E402
from wsiproc_label_efficient.config import FeatureConfig, SelectConfig  # noqa: E402
from wsiproc_label_efficient.features import box_means, integral, look, make_pool  # noqa: E402


def images(folder: Path, *shapes: tuple[int, int], mpp: float | None = 0.5) -> list[Sample]:
    """Drawn tissue of these heights and widths."""
    samples = []
    for i, (height, width) in enumerate(shapes):
        pixels, _ = draw_image(width, height, seed=i, mpp=0.5)
        file = folder / f"image_{i}.png"
        Image.fromarray(pixels).save(file)
        samples.append(Sample(f"image_{i}", "train", mpp, file, None, "none"))
    return samples


def small(**features: object) -> SelectConfig:
    """Patches of 64 px, a stride of 16 px."""
    said = {"width": 4, "embedding": 8, "steps": 0, "batch": 4, **features}
    return SelectConfig(
        k=2, size_um=32, stride_um=8, features=FeatureConfig.model_validate(said), starts=1
    )


@given(
    st.integers(0, 1000),
    st.floats(0, 6),
    st.floats(0, 6),
    st.floats(0.3, 4),
)
@settings(deadline=None, max_examples=40)
def test_a_box_s_mean_counts_cells_by_the_part_that_lies_inside(
    seed: int, top: float, left: float, edge: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(2, 10, 11)).astype(np.float32)
    said = box_means(integral(values), np.array([top]), np.array([left]), edge)[0]
    rows = np.clip(np.minimum(np.arange(10) + 1, top + edge) - np.maximum(np.arange(10), top), 0, 1)
    columns = np.minimum(np.arange(11) + 1, left + edge) - np.maximum(np.arange(11), left)
    weight = rows[:, None] * np.clip(columns, 0, 1)[None]
    np.testing.assert_allclose(
        said, (values * weight).sum((1, 2)) / weight.sum(), rtol=1e-3, atol=1e-4
    )


def test_every_window_inside_an_image_is_in_the_pool_once(tmp_path: Path) -> None:
    samples = images(tmp_path, (100, 130), (64, 64), (40, 300))
    pool = make_pool(small(), samples)
    assert pool.edge == 4
    assert np.bincount(pool.image).tolist() == [3 * 5, 1]
    assert len(set(zip(pool.image, pool.row, pool.column, strict=True))) == len(pool)


def test_images_without_a_scale_or_too_small_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no mpp"):
        make_pool(small(), images(tmp_path, (100, 100), mpp=None))
    with pytest.raises(ConfigError, match="no image is as large as a patch of 32 µm"):
        make_pool(small(), images(tmp_path, (40, 40)))


def looked(config: SelectConfig, samples: list[Sample], folder: Path, said: list[TrainingEvent]):
    pool = make_pool(config, samples)
    return pool, look(config, samples, pool, folder=folder, seed=3, listener=said.append)


def test_a_window_is_the_mean_of_its_quarters_where_features_are_dense(tmp_path: Path) -> None:
    samples = images(tmp_path, (100, 130), (96, 72))
    pool, seen = looked(small(), samples, tmp_path, [])
    assert len(seen.windows) == len(pool) == len(seen.parts)
    np.testing.assert_allclose(
        seen.quarters[seen.parts].mean(1), seen.windows, rtol=1e-4, atol=1e-5
    )


def test_the_network_that_learns_from_the_pool_comes_to_describe_it_variously(
    tmp_path: Path,
) -> None:
    config = small(steps=30, batch=8, width=6, lr=5e-3)
    samples = images(tmp_path, (160, 160), (160, 200))
    said: list[TrainingEvent] = []
    _, first = looked(config, samples, tmp_path, said)
    spread = [e.metrics["spread"] for e in said if isinstance(e, TrainingChecked)]
    assert spread[-1] > 2 * spread[0]
    again: list[TrainingEvent] = []
    _, second = looked(config, samples, tmp_path, again)
    assert not any(isinstance(event, TrainingChecked) for event in again)
    np.testing.assert_array_equal(first.windows, second.windows)


def test_our_own_models_are_looked_into_at_their_deepest_place(tmp_path: Path) -> None:
    said: list[TrainingEvent] = []
    samples = images(tmp_path, (130, 100))
    _, seen = looked(small(source="model", model="unet"), samples, tmp_path, said)
    assert seen.windows.shape[1] == 192
    assert any(isinstance(e, TrainingNote) and "tnbc train" in e.message for e in said)


def test_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="unet has no node 'nothing'"):
        inner_features(load_model("unet"), "nothing")


def test_inner_features_are_those_that_the_model_itself_goes_on_from() -> None:
    """Moved by a step of the lattice, a deep feature moves by one place."""
    run = inner_features(load_model("unet"), threads=1)
    pixels, _ = draw_image(264, 264, seed=5, mpp=0.5)
    here, moved = run(pixels[:256, :256]), run(pixels[8:264, :256])
    assert here.shape == (192, 32, 32)
    np.testing.assert_allclose(here[:, 10:22, 8:24], moved[:, 9:21, 8:24], atol=1e-3)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A ResNet-18 that has learnt nothing."""
    from wsiproc.training import vision  # noqa: F401  lets torchvision be imported

    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    file = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), file)
    return file


def test_a_backbone_in_one_pass_finds_those_windows_alike_that_it_finds_alike_one_by_one(
    tmp_path: Path, weights: Path
) -> None:
    samples = images(tmp_path, (128, 160))
    darker = samples[0].pixels() * np.repeat([1.0, 0.1], 80)[:, None]
    Image.fromarray(darker.astype(np.uint8)).save(samples[0].image)
    exact, dense = (
        looked(
            small(source="backbone", architecture="resnet18", weights=weights, dense=dense),
            samples,
            tmp_path,
            [],
        )[1]
        for dense in (False, True)
    )
    assert exact.windows.shape == dense.windows.shape == (len(dense.parts), 512)
    assert np.corrcoef(pdist(exact.windows), pdist(dense.windows))[0, 1] > 0.5


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": None}, "needs a file of weights"),
        ({"architecture": "resnet181"}, "torchvision has no 'resnet181'"),
        ({"architecture": "resnet50"}, "does not fit resnet50"),
        ({"weights": "gone.pth"}, "gone.pth cannot be read"),
        ({"weights": "bad.pth"}, "bad.pth is no file of weights"),
    ],
)
def test_backbones_that_cannot_be_had_say_why(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, object],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.pth").write_bytes(b"no weights")
    said = {"source": "backbone", "architecture": "resnet18", "weights": weights, **change}
    with pytest.raises(ConfigError, match=why):
        looked(small(**said), images(tmp_path, (64, 64)), tmp_path, [])
