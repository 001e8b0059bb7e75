"""Who is near whom, against distances of everybody to everybody."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
from scipy.spatial.distance import cdist

import wsiproc
from wsiproc.results.stored import StoredResult
from wsiproc.testing.results import drawn_result

BOX = (300.0, 250.0, 200.0, 150.0)
WIDE = (300.0, 250.0, 500.0, 400.0)


def apart(some: geopandas.GeoDataFrame, others: geopandas.GeoDataFrame) -> np.ndarray:
    """Distances in µm ``[some, others]``; nobody is near to themselves."""
    distances = cdist(some[["x_um", "y_um"]], others[["x_um", "y_um"]])
    same = some.nucleus_id.to_numpy()[:, None] == others.nucleus_id.to_numpy()
    return np.where(same, np.inf, distances)


def within(
    rows: geopandas.GeoDataFrame, box: tuple[float, float, float, float] = BOX
) -> np.ndarray:
    x, y, width, height = box
    across = (rows.x_um >= x) & (rows.x_um < x + width)
    return (across & (rows.y_um >= y) & (rows.y_um < y + height)).to_numpy()


def test_the_nearest_is_looked_for_on_the_whole_slide(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    found = wsiproc.query(many.folder, box=BOX, nearest=("tumour", "lymphocyte")).to_geopandas()
    keep = within(rows)
    assert len(found) == keep.sum() > 50
    for name in ("tumour", "lymphocyte"):
        expected = apart(rows[keep], rows[rows.class_name == name]).min(axis=1)
        assert np.allclose(found[f"nearest_{name}_um"], expected, rtol=1e-6)


def test_neighbours_within_a_radius_are_counted_by_class(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    found = wsiproc.query(many.folder, box=BOX, around_um=25).to_geopandas()
    keep = within(rows)
    for name in ("tumour", "lymphocyte"):
        expected = (apart(rows[keep], rows[rows.class_name == name]) <= 25).sum(axis=1)
        assert found[f"around_{name}"].tolist() == expected.tolist()
        assert expected.max() > 0


def test_conditions_may_ask_about_neighbours(
    many: StoredResult, rows: geopandas.GeoDataFrame
) -> None:
    near = wsiproc.query(
        many.folder,
        box=WIDE,
        classes=("lymphocyte",),
        nearest=("tumour",),
        where="nearest_tumour_um < 15",
        columns=("nucleus_id", "nearest_tumour_um"),
    ).to_arrow()
    asked = rows[within(rows, WIDE) & (rows.class_name == "lymphocyte")]
    expected = apart(asked, rows[rows.class_name == "tumour"]).min(axis=1) < 15
    assert near["nucleus_id"].to_pylist() == asked.loc[expected, "nucleus_id"].tolist()
    assert 0 < expected.sum() < len(asked)


def test_where_there_is_nobody_the_distance_is_missing(tmp_path: Path) -> None:

    lonely = drawn_result(tmp_path / "S", nuclei=1, classes=("a", "b"))
    found = wsiproc.query(lonely.folder, nearest=("a", "b"), around_um=50).to_arrow()
    for name in ("a", "b"):
        assert found[f"nearest_{name}_um"].to_pylist() == [None]
        assert found[f"around_{name}"].to_pylist() == [0]
