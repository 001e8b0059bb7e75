"""What became of each nucleus, of results that are published and read back."""

from __future__ import annotations

import io
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from drawn_nuclei import Drawn, Publish
from PIL import Image

from wsiproc.diff import CHANGES, Difference, Tally, compare, regions
from wsiproc.diff import cells as cells_module
from wsiproc.diff.picture import COLOURS, draw_picture
from wsiproc.diff.provenance import apart
from wsiproc.diff.table import write_table
from wsiproc.errors import ConfigError
from wsiproc.store.geoparquet import check_file


def scattered(n: int, seed: int = 0) -> list[Drawn]:
    """Nuclei in separate squares of 16 µm, some on the edges of the squares that are visited."""
    rng = np.random.default_rng(seed)
    place = rng.choice(300 * 300, n, replace=False)
    x, y = (place % 300) * 16 + 8.0, (place // 300) * 16 + 8.0
    near = rng.random(n) < 0.3
    x[near] = 2048 + rng.uniform(-3, 3, near.sum())
    y[near] = np.arange(near.sum()) * 16 + 20.0
    keep = ~(~near & (np.abs(x - 2048) < 24))
    return [Drawn(float(a), float(b)) for a, b in zip(x[keep], y[keep], strict=True)]


def test_each_change_is_called_by_its_name(published: Publish) -> None:
    a = published(
        [
            Drawn(100, 100),
            Drawn(200, 100),
            Drawn(300, 100, kind="b"),
            Drawn(400, 100),
        ],
        classes=("a", "b"),
    )
    b = published(
        [
            Drawn(100.5, 100),
            Drawn(202, 100, radius=7.5),
            Drawn(300, 100, kind="a"),
            Drawn(500, 100),
        ],
        classes=("a", "b"),
    )
    difference = compare(a, b)
    tally = difference.tally()
    assert (tally.matched, tally.moved, tally.reclassified, tally.gained, tally.lost) == (
        1,
        1,
        1,
        1,
        1,
    )
    place = {round(x): CHANGES[c] for x, c in zip(*_where(difference), strict=True)}
    assert place == {
        100: "matched",
        202: "moved",
        300: "reclassified",
        500: "gained",
        400: "lost",
    }
    assert tally.f1 == pytest.approx(2 * 3 / 8)
    np.testing.assert_array_equal(difference.confusion(), [[2, 0, 1], [1, 0, 0], [1, 0, 0]])


def _where(difference: Difference) -> tuple[list[float], list[int]]:
    lost = difference.side_a.change == CHANGES.index("lost")
    x = [*difference.side_b.x, *difference.side_a.x[lost]]
    return x, [*difference.side_b.change, *difference.side_a.change[lost]]


@pytest.mark.parametrize("polygons", [True, False])
def test_a_result_is_the_same_as_itself(published: Publish, polygons: bool) -> None:
    result = published(scattered(300), polygons=polygons)
    tally = compare(result, result).tally()
    assert tally.changed == 0
    assert tally.identical == tally.a == tally.b == result.nuclei
    assert tally.f1 == 1.0
    if polygons:
        assert tally.overlap == tally.mean_iou == 1.0


@pytest.mark.parametrize("square", [1024.0, 65536.0])
def test_how_the_slide_is_cut_changes_nothing(
    published: Publish, square: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    before = scattered(200)
    after = [
        Drawn(d.x + rng.normal(0, 1.5), d.y + rng.normal(0, 1.5), float(rng.uniform(3, 5)))
        for d in before
        if rng.random() > 0.1
    ]
    a, b = published(before), published(after)
    monkeypatch.setattr(cells_module, "SQUARE_UM", square)
    monkeypatch.setattr(cells_module, "_ORDER", 16 - round(np.log2(square / 16)))
    difference = compare(a, b)
    outlines = [geopandas.read_parquet(result.table).geometry.to_numpy() for result in (a, b)]
    common = shapely.area(shapely.intersection(outlines[0][:, None], outlines[1][None]))
    union = shapely.area(outlines[0])[:, None] + shapely.area(outlines[1])[None] - common
    same = {(int(i), int(j)) for i, j in np.argwhere(common / union > 0.5)}
    pairs = difference.pairs
    half = pairs.iou > 0.5
    assert set(zip(pairs.a[half].tolist(), pairs.b[half].tolist(), strict=True)) == same
    tally = difference.tally()
    assert tally.moved == len(pairs) - len(same) > 0
    assert tally.lost == len(before) - len(pairs) > 0


def test_a_nucleus_far_from_its_own_centroid_is_not_overlooked(published: Publish) -> None:
    """So it may be where only a part of an outline could be kept."""
    strange = [Drawn(2030, 100, off=30), Drawn(2040, 200, off=9), Drawn(2046, 300, off=-40)]
    a, b = published(strange), published(strange[1:])
    tally = compare(a, b).tally()
    assert (tally.identical, tally.lost, tally.gained) == (2, 1, 0)


def test_memory_holds_few_row_groups_whatever_is_read(published: Publish) -> None:
    result = published(scattered(200))
    with cells_module.reading(result, result, outlined=True) as (one, _):
        for square, box in cells_module.squares(one):
            one.near(box, square)
            assert len(one.kept) <= cells_module.KEPT


def test_points_are_compared_with_outlines_by_their_centroids(published: Publish) -> None:
    nuclei = [Drawn(100, 100), Drawn(200, 100), Drawn(300, 100)]
    shifted = [Drawn(101, 100), Drawn(202, 100), Drawn(304, 100)]
    difference = compare(published(nuclei), published(shifted, polygons=False))
    tally = difference.tally()
    assert not difference.outlined
    assert (tally.matched, tally.moved, tally.lost, tally.gained) == (1, 1, 1, 1)
    assert np.isnan(tally.overlap)
    assert tally.to_dict()["overlap"] is None


def test_classes_of_a_model_that_tells_but_one_are_not_compared(published: Publish) -> None:
    one = published([Drawn(100, 100)], classes=("a",))
    two = published([Drawn(100, 100, kind="c")], classes=("b", "c"))
    difference = compare(one, two)
    assert not difference.classes_compared
    assert difference.tally().reclassified == 0
    three = published([Drawn(100, 100, kind="b")], classes=("b", "c"))
    assert compare(two, three).tally().reclassified == 1


def test_regions_share_out_all_that_lies_in_them(published: Publish) -> None:
    a, b = published(scattered(300)), published(scattered(300, seed=1))
    difference = compare(a, b)
    found = regions(difference)
    assert len(found) == 2, "a gap runs down the middle of the tissue"
    whole, parts = difference.tally(), Tally()
    for _, area, part in found:
        assert area > 5
        parts += part
    tissue = shapely.union_all(geopandas.read_parquet(a.file("tissue.parquet")).geometry.values)
    inside = shapely.intersects(
        tissue, shapely.points(difference.side_a.x, difference.side_a.y)
    ).sum()
    assert parts.a == inside < whole.a
    assert parts.lost + parts.pairs == parts.a


def test_results_of_two_slides_or_two_resolutions_are_refused(published: Publish) -> None:
    a = published([Drawn(10, 10)])
    with pytest.raises(ConfigError, match="two slides"):
        compare(a, published([Drawn(10, 10)], slide="cd" * 32))
    with pytest.raises(ConfigError, match="--mpp"):
        compare(a, published([Drawn(10, 10)], mpp=0.5))


@pytest.mark.parametrize("polygons", [True, False])
def test_the_table_holds_every_nucleus_once_and_opens_as_a_result_does(
    published: Publish, tmp_path: Path, polygons: bool
) -> None:
    rng = np.random.default_rng(2)
    before = scattered(300)
    after = [
        Drawn(d.x + rng.normal(0, 1.0), d.y, d.radius) for d in before if rng.random() > 0.2
    ] + [Drawn(4900, 4900)]
    a, b = published(before, polygons=polygons), published(after, polygons=polygons)
    difference = compare(a, b)
    path = tmp_path / "diff.parquet"
    rows = write_table(path, difference)
    assert check_file(path) == rows
    table = geopandas.read_parquet(path)
    tally = difference.tally()
    counts = table["change"].value_counts()
    assert {name: int(counts.get(name, 0)) for name in CHANGES} == {
        name: getattr(tally, name) for name in CHANGES
    }
    mine, theirs = (geopandas.read_parquet(result.table) for result in (a, b))
    assert table["nucleus_id_a"].dropna().is_unique
    assert set(table["nucleus_id_a"].dropna().astype("int64")) == set(mine["nucleus_id"])
    assert set(table["nucleus_id_b"].dropna().astype("int64")) == set(theirs["nucleus_id"])
    assert (table["nucleus_id_b"].isna() == (table["change"] == "lost")).all()
    assert (table["nucleus_id_a"].isna() == (table["change"] == "gained")).all()
    assert table.crs == mine.crs
    # In the order of results, so that a box is found in few row groups.
    from wsiproc.store.order import key_of

    keys = key_of(table["x_um"].to_numpy(), table["y_um"].to_numpy()).astype(np.int64)
    assert (np.diff(keys) >= 0).all()
    again = write_table(tmp_path / "again.parquet", compare(a, b))
    assert again == rows
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    assert pq.read_schema(path).metadata[b"wsiproc:slide_sha256"] == b"ab" * 32


def test_the_picture_shows_changes_where_they_are(published: Publish) -> None:
    still = [Drawn(500 + 40 * i, 500) for i in range(20)]
    crowd = [Drawn(4000 + 12 * (i % 10), 4000 + 12 * (i // 10)) for i in range(60)]
    a, b = published([*still, *crowd]), published(still)
    png = draw_picture(compare(a, b))
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    lost = np.array(COLOURS[CHANGES.index("lost")])
    close = np.abs(pixels - lost).sum(axis=2) < 40
    rows, columns = np.nonzero(close[200:, :900])
    # 4 of 5 mm across a panel of 900 px that begins at 36; below, the header's 158 px.
    assert abs(columns.mean() - (36 + 900 * 4060 / 5000)) < 12
    assert abs(rows.mean() + 200 - (158 + 900 * 4030 / 5000)) < 12
    assert png == draw_picture(compare(a, b))


def test_nothing_against_nothing_is_the_same(published: Publish) -> None:
    empty = published([])
    tally = compare(empty, empty).tally()
    assert (tally.a, tally.b, tally.changed) == (0, 0, 0)
    some = published([Drawn(10, 10)])
    assert compare(empty, some).tally().gained == compare(some, empty).tally().lost == 1
    assert draw_picture(compare(empty, some))[:4] == b"\x89PNG"


def test_what_was_made_otherwise_is_told(published: Publish) -> None:
    a, b = published([], model="old"), published([], model="new")
    said = apart(a.manifest, b.manifest)
    assert said == {"model": ("old 1", "new 1")}
    assert apart(a.manifest, a.manifest) == {}
