"""Labels are the nuclei, the density counts them, and OME-Zarr's own models agree to both."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
import zarr
from ome_zarr_models import open_ome_zarr

from wsiproc.errors import ConfigError
from wsiproc.export import ome_zarr
from wsiproc.export._shapes import shapes_um
from wsiproc.export.ome_zarr import write_ome_zarr
from wsiproc.results.stored import StoredResult, tables


@pytest.fixture(scope="module")
def store(few: StoredResult, tmp_path_factory: pytest.TempPathFactory) -> zarr.Group:
    path = tmp_path_factory.mktemp("zarr") / "F-1.ome.zarr"
    with pytest.MonkeyPatch.context() as patch:
        # Small ones, so that nuclei lie across their seams.
        patch.setattr(ome_zarr, "SHARD", 128)
        patch.setattr(ome_zarr, "CHUNK", 64)
        patch.setattr(ome_zarr, "SMALLEST", 100)
        assert write_ome_zarr(few, path) == few.nuclei
    return zarr.open_group(path, mode="r")


@pytest.fixture(scope="module")
def few_rows(few: StoredResult) -> pa.Table:
    return pa.concat_tables(tables(few.table))


def test_a_label_is_one_more_than_the_row(store: zarr.Group, few_rows: pa.Table) -> None:
    labels = store["labels/nuclei/0"][:]
    classes = store["labels/classes/0"][:]
    # A label px is one of the model, .5 µm; its own borders are no centres of px.
    shapes = shapely.transform(shapes_um(few_rows), lambda xy: xy / 0.5)
    assert labels.max() == len(few_rows) == len(np.unique(labels)) - 1
    y, x = np.nonzero(labels)
    owner = shapes[labels[y, x].astype(np.intp) - 1]
    assert shapely.intersects(owner, shapely.points(x + 0.5, y + 0.5)).all()
    painted = np.bincount(labels.ravel(), minlength=len(shapes) + 1)[1:]
    np.testing.assert_allclose(painted, shapely.area(shapes), rtol=0.2, atol=4)
    assert painted.sum() == pytest.approx(shapely.area(shapes).sum(), rel=0.01)
    wanted = few_rows["class_id"].to_numpy()[labels[y, x].astype(np.intp) - 1] + 1
    np.testing.assert_array_equal(classes[y, x], wanted)
    np.testing.assert_array_equal(classes > 0, labels > 0)


def test_levels_of_labels_are_every_second_pixel(store: zarr.Group) -> None:
    levels = [store[f"labels/nuclei/{i}"][:] for i in range(4) if f"labels/nuclei/{i}" in store]
    assert len(levels) > 2
    assert max(levels[-1].shape) <= 100 < max(levels[-2].shape)
    for finer, coarser in pairwise(levels):
        np.testing.assert_array_equal(coarser, finer[::2, ::2])


def test_the_density_counts_every_nucleus_at_every_level(
    store: zarr.Group, few: StoredResult, few_rows: pa.Table
) -> None:
    cell_mm2 = (32 * 0.5e-3) ** 2
    by_class = np.bincount(few_rows["class_id"].to_numpy(), minlength=2)
    for level in range(3):
        counted = store[str(level)][:].sum(axis=(1, 2)) * cell_mm2 * 4**level
        np.testing.assert_allclose(counted, [few.nuclei, *by_class], rtol=1e-4)
    density = store["0"][0]
    row, column = np.unravel_index(density.argmax(), density.shape)
    inside = (few_rows["x_um"].to_numpy() // 16 == column) & (
        few_rows["y_um"].to_numpy() // 16 == row
    )
    assert density.max() * cell_mm2 == pytest.approx(inside.sum())


def test_ome_zarr_takes_it_for_an_image_with_labels(store: zarr.Group, few: StoredResult) -> None:
    image = open_ome_zarr(store)
    assert type(image).__name__ == "Image"
    assert type(open_ome_zarr(store["labels"])).__name__ == "Labels"
    for name in ("nuclei", "classes"):
        assert type(open_ome_zarr(store[f"labels/{name}"])).__name__ == "ImageLabel"
    said = store["labels/classes"].attrs["ome"]["image-label"]
    assert [one["class"] for one in said["properties"]] == [c.name for c in few.classes]
    assert [tuple(one["rgba"][:3]) for one in said["colors"]] == [c.color for c in few.classes]


def test_arrays_are_zarr_3_and_sharded_and_cover_the_slide(
    store: zarr.Group, few: StoredResult
) -> None:
    array = store["labels/nuclei/0"]
    assert (array.metadata.zarr_format, array.shards, array.chunks) == (3, (128, 128), (64, 64))
    assert array.shape == tuple(-(-edge // 2) for edge in few.size_px[::-1])
    sets = store["labels/nuclei"].attrs["ome"]["multiscales"][0]["datasets"]
    scale, translation = sets[0]["coordinateTransformations"]
    assert scale["scale"] == [0.5, 0.5], "µm"
    assert translation["translation"] == [0.25, 0.25], "of the first px' centre"


def test_where_there_is_no_nucleus_nothing_is_stored(store: zarr.Group) -> None:
    array = store["labels/nuclei/0"]
    shards = [
        array[y : y + 128, x : x + 128].any()
        for y in range(0, array.shape[0], 128)
        for x in range(0, array.shape[1], 128)
    ]
    assert array.nchunks_initialized <= 4 * sum(shards) < 4 * len(shards)


def test_points_have_a_density_and_no_labels(points: StoredResult, out: Path) -> None:
    write_ome_zarr(points, out)
    group = zarr.open_group(out, mode="r")
    assert "labels" not in group
    assert group["0"][0].sum() * (32 * 0.5e-3) ** 2 == pytest.approx(points.nuclei, rel=1e-4)


def test_a_finer_grid_can_be_asked_for(few: StoredResult, out: Path) -> None:
    write_ome_zarr(few, out, downsample=4)
    assert zarr.open_group(out, mode="r")["labels/nuclei/0"].shape == tuple(
        -(-edge // 4) for edge in few.size_px[::-1]
    )
    with pytest.raises(ConfigError, match="1 to 64"):
        write_ome_zarr(few, out, downsample=65, replace=True)


def test_a_result_of_nothing_is_all_background(nothing: StoredResult, out: Path) -> None:
    assert write_ome_zarr(nothing, out) == 0
    group = zarr.open_group(out, mode="r")
    assert not group["labels/nuclei/0"][:].any()
    assert not group["0"][:].any()
