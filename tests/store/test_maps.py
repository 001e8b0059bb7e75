"""Maps are written tile by tile, never two tiles into one file, and anyone can open them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from wsiproc.store.maps import Layer, create_maps, finish_maps, quantised, write_core

WIDTH, HEIGHT, CORE = 700, 530, 192
LAYERS = {"prob": Layer(("tumour", "other")), "hv": Layer(("h", "v"), low=-1.0, high=1.0)}


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    size = (2, HEIGHT, WIDTH)
    return {
        "prob": rng.uniform(0, 1, size).astype(np.float32),
        "hv": rng.uniform(-1.1, 1.1, size).astype(np.float32),
    }


def fill(path: Path, truth: dict[str, np.ndarray], order: int) -> None:
    create_maps(path, LAYERS, size=(WIDTH, HEIGHT), um_per_px=(0.5, 0.25), core=CORE)
    tiles = [(row, column) for row in range(3) for column in range(4)]
    for row, column in tiles[::order]:
        window = np.s_[:, row * CORE : (row + 1) * CORE, column * CORE : (column + 1) * CORE]
        write_core(path, LAYERS, row, column, {name: truth[name][window] for name in LAYERS})
    finish_maps(path, LAYERS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, truth: dict[str, np.ndarray]) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.zarr"
    fill(path, truth, 1)
    return path


def test_values_come_back_to_half_a_step(written: Path, truth: dict[str, np.ndarray]) -> None:
    for name, layer in LAYERS.items():
        stored = zarr.open_array(written / name / "0", mode="r")[:]
        values = layer.low + (layer.high - layer.low) * stored / 255.0
        cut = np.clip(truth[name], layer.low, layer.high)
        assert np.abs(values - cut).max() <= (layer.high - layer.low) / 510 + 1e-6


def test_the_order_of_tiles_does_not_show(
    tmp_path: Path, written: Path, truth: dict[str, np.ndarray]
) -> None:
    fill(tmp_path / "maps.zarr", truth, -1)
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert len(files) > 20
    for file in files:
        assert (tmp_path / "maps.zarr" / file).read_bytes() == (written / file).read_bytes()


def test_a_tile_writes_one_file_a_layer(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, LAYERS, size=(WIDTH, HEIGHT), um_per_px=(0.5, 0.25), core=CORE)
    before = {file for file in path.rglob("*") if file.is_file()}
    ones = np.ones((2, CORE, CORE), np.float32)
    write_core(path, LAYERS, 1, 2, {"prob": ones, "hv": ones})
    new = {file for file in path.rglob("*") if file.is_file()} - before
    assert len(new) == 2


def test_making_a_store_again_keeps_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    for _ in range(2):
        create_maps(path, LAYERS, size=(WIDTH, HEIGHT), um_per_px=(0.5, 0.25), core=CORE)
        array = zarr.open_array(path / "prob" / "0", mode="r+")
        array[0, 0, 0] = max(7, array[0, 0, 0] + 1)
    assert zarr.open_array(path / "prob" / "0", mode="r")[0, 0, 0] == 8


def test_a_coarser_px_is_the_mean_of_four(written: Path) -> None:
    fine = zarr.open_array(written / "prob" / "0", mode="r")[:].astype(float)
    coarse = zarr.open_array(written / "prob" / "1", mode="r")[:]
    assert coarse.shape == (2, HEIGHT // 2, WIDTH // 2)
    mean = fine.reshape(2, HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(2, 4))
    assert np.abs(coarse - mean).max() <= 0.5
    last = zarr.open_array(written / "prob" / "2", mode="r")
    assert last.shape == (2, 133, 175)


def test_what_no_tile_wrote_is_background(tmp_path: Path) -> None:
    path = tmp_path / "maps.zarr"
    create_maps(path, LAYERS, size=(WIDTH, HEIGHT), um_per_px=(0.5, 0.25), core=CORE)
    finish_maps(path, LAYERS)
    assert not zarr.open_array(path / "prob" / "1", mode="r")[:].any()


def test_the_metadata_is_ome_ngff(written: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    image = models.Image.from_zarr(zarr.open_group(written / "prob", mode="r"))
    scales = [
        dataset.coordinateTransformations[0].scale
        for dataset in image.ome_attributes.multiscales[0].datasets
    ]
    assert [list(scale) for scale in scales] == [[1, 0.25, 0.5], [1, 0.5, 1], [1, 1, 2]]


def test_quantising_never_wraps_around() -> None:
    assert quantised(np.array([-5, 0, 1, 9], np.float32), LAYERS["prob"]).tolist() == [
        0,
        0,
        255,
        255,
    ]
