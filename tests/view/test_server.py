"""What the server gives, and to whom."""

from __future__ import annotations

import io
import socket
import struct
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import cast

import geopandas
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Polygon

from wsiproc.diff import CHANGES, compare
from wsiproc.errors import ConfigError, StoreError
from wsiproc.geometry import Box
from wsiproc.results.stored import StoredResult
from wsiproc.slide import Slide, open_slide
from wsiproc.slide._drawn import DrawnSlide
from wsiproc.slide.facts import Header, levels_of, settle
from wsiproc.testing.results import drawn_result
from wsiproc.view.outlines import CHUNK, Outlines
from wsiproc.view.serving import serving
from wsiproc.view.shown import show
from wsiproc.view.tiles import TILE, SlideTiles

from .conftest import Serve


def rings_of(data: bytes) -> list[Polygon]:
    """As the page reads them."""
    (n,) = struct.unpack_from("<I", data)
    start = np.frombuffer(data, "<u4", n + 1, 4)
    xy = np.frombuffer(data, "<f4", offset=4 * (n + 2)).reshape(-1, 2)
    assert start[-1] == len(xy)
    return [Polygon(xy[a:b]) for a, b in pairwise(start)]


def test_who_does_not_know_the_token_sees_nothing(one: StoredResult, serve: Serve) -> None:
    server = serve(one.folder)
    root, token = server.address.rsplit("/", 2)[:2]
    assert len(token) >= 32
    for path in ("/", "/facts", "/main.js", f"/{token[:-1]}/facts", f"/x/{token}/facts"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(root + path, timeout=60)
        assert refused.value.code == 403


def test_a_name_that_merely_points_here_is_refused(one: StoredResult, serve: Serve) -> None:
    address = serve(one.folder).address
    asked = urllib.request.Request(f"{address}facts", headers={"Host": "elsewhere.example:80"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=60)
    assert refused.value.code == 403


def test_two_servers_have_two_tokens_and_neither_listens_to_other_machines(
    one: StoredResult,
) -> None:
    with serving(show(one.folder)) as first, serving(show(one.folder)) as second:
        assert first.rsplit("/", 2)[1] != second.rsplit("/", 2)[1]
        port = int(first.split(":")[2].split("/")[0])
        with socket.socket() as free, pytest.raises(OSError):
            free.bind(("127.0.0.1", port))
        with socket.socket() as free:  # On all other addresses the port is free.
            free.bind(("127.0.0.2", port))


def test_a_port_that_is_taken_is_said_to_be(one: StoredResult) -> None:
    with serving(show(one.folder)) as address:
        port = int(address.split(":")[2].split("/")[0])
        with (
            pytest.raises(ConfigError, match="leave --port out"),
            serving(show(one.folder), port=port),
        ):
            pass


def test_pages_load_nothing_from_elsewhere_and_leave_nothing_on_the_disk(
    one: StoredResult, serve: Serve
) -> None:
    for path in ("", "main.js", "facts", "results/a/columns/score", "missing"):
        try:
            answer = urllib.request.urlopen(serve(one.folder).address + path, timeout=60)
        except urllib.error.HTTPError as refused:
            answer = refused
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "../shown.py",
        "..%2fshown.py",
        "results/c/columns/score",
        "results/a/columns/slide_id",
        "results/a/columns/geometry",
        "results/a/outlines/2",
        "results/a/rows/3500",
        "results/a/ids/1",
        "results/a/difference",
        "tiles/9/0_0.jpg",
    ],
)
def test_what_is_not_there_is_answered_by_a_sentence(
    path: str, one: StoredResult, serve: Serve
) -> None:
    code, text = serve(one.folder).refusal(path)
    assert code == 404
    assert text.strip()
    assert "Traceback" not in text


def test_columns_are_those_of_the_file(one: StoredResult, serve: Serve) -> None:
    server, table = serve(one.folder), geopandas.read_parquet(one.table)
    for name in ("x_um", "score", "area_um2"):
        column = np.frombuffer(server.get(f"results/a/columns/{name}"), "<f4")
        np.testing.assert_array_equal(column, table[name].to_numpy(np.float32))
    classes = np.frombuffer(server.get("results/a/columns/class_id"), np.uint8)
    np.testing.assert_array_equal(classes, table["class_id"])


def test_places_in_float32_are_exact(one: StoredResult, serve: Serve) -> None:
    column = np.frombuffer(serve(one.folder).get("results/a/columns/x_um"), "<f4")
    exact = geopandas.read_parquet(one.table)["x_um"].to_numpy()
    np.testing.assert_array_equal(column.astype(np.float64), exact)


def test_outlines_are_those_of_the_file(one: StoredResult, serve: Serve) -> None:
    server, table = serve(one.folder), geopandas.read_parquet(one.table)
    found = [r for i in range(2) for r in rings_of(server.get(f"results/a/outlines/{i}"))]
    assert len(found) == len(table) > CHUNK
    assert shapely.equals_exact(
        shapely.normalize(found), shapely.normalize(table.geometry.to_numpy())
    ).all()


def test_chunks_do_not_care_where_row_groups_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("geoparquet", "tables"):
        monkeypatch.setattr(f"wsiproc.store.{module}.PIECE", 500)
    monkeypatch.setattr("wsiproc.store.geoparquet.ROW_GROUP", 1500)
    result = drawn_result(tmp_path / "S-2", nuclei=4100)
    outlines = Outlines(result)
    found = [ring for i in range(3) for ring in rings_of(outlines.chunk(i))]
    areas = geopandas.read_parquet(result.table)["area_um2"]
    np.testing.assert_allclose(shapely.area(found), areas, rtol=1e-6)


def test_a_row_is_all_that_is_stored_of_a_nucleus(one: StoredResult, serve: Serve) -> None:
    server, table = serve(one.folder), geopandas.read_parquet(one.table)
    row = server.json("results/a/rows/3000")
    stored = table.iloc[3000]
    assert row.pop("nucleus_id") == str(stored["nucleus_id"])
    assert row.pop("class_name") == stored["class_name"]
    assert row["area_um2"] == pytest.approx(stored["area_um2"])
    assert set(row) == set(table.columns) - {"nucleus_id", "class_name", "geometry", "bbox"}


def test_a_nucleus_is_found_by_its_id(one: StoredResult, serve: Serve) -> None:
    ids = geopandas.read_parquet(one.table)["nucleus_id"]
    assert serve(one.folder).json(f"results/a/ids/{ids[2345]}") == {"row": 2345}


def test_searched_regions_are_those_of_the_file(one: StoredResult, serve: Serve) -> None:
    tissue = geopandas.read_parquet(one.file("tissue.parquet"))
    rings = rings_of(serve(one.folder).get("results/a/tissue"))
    assert sum(ring.area for ring in rings) == pytest.approx(tissue["area_um2"].sum())


def test_points_can_be_looked_at_too(tmp_path: Path, serve: Serve) -> None:
    result = drawn_result(tmp_path / "S-3", nuclei=50, polygons=False)
    server = serve(result.folder)
    facts = server.json("facts")["results"][0]
    assert facts["outlined"] is False
    assert "area_um2" not in [column["name"] for column in facts["columns"]]
    assert server.refusal("results/a/outlines/0")[0] == 404


def test_a_difference_is_what_diff_says(
    one: StoredResult, other: StoredResult, serve: Serve
) -> None:
    server, found = serve(one.folder, None, other.folder), compare(one, other)
    for key, side in (("a", found.side_a), ("b", found.side_b)):
        changes = np.frombuffer(server.get(f"results/{key}/difference"), np.uint8)
        np.testing.assert_array_equal(changes, side.change)
    kinds = {kind["name"]: kind["nuclei"] for kind in server.json("difference")}
    assert tuple(kinds) == CHANGES
    assert kinds["lost"] == {"a": found.tally().lost, "b": 0}


def test_results_of_two_slides_are_refused(one: StoredResult, tmp_path: Path) -> None:
    strange = drawn_result(tmp_path / "S-9", nuclei=100)
    with pytest.raises(ConfigError, match="different slides"):
        show(one.folder, against=strange.folder)


def test_a_slide_of_another_size_is_refused(one: StoredResult, small: DrawnSlide) -> None:
    with pytest.raises(ConfigError, match="give the slide that it was made from"):
        show(one.folder, small.path)


def test_a_slide_of_that_size_and_other_pixels_is_told(
    run: StoredResult, small: DrawnSlide, tmp_path: Path
) -> None:
    assert show(run.folder, small.path).same_slide.result(60) is True
    changed = tmp_path / "changed.tiff"
    changed.write_bytes(small.path.read_bytes() + b"\0")
    assert show(run.folder, changed).same_slide.result(60) is False


def test_tiles_are_the_slide(run: StoredResult, small: DrawnSlide, serve: Serve) -> None:
    server = serve(run.folder, small.path)
    tiles = server.json("facts")["slide"]["tiles"]
    width, height = tiles["width"], tiles["height"]
    picture = np.zeros((height, width, 3), np.uint8)
    for row in range(0, height, tiles["tile"]):
        for column in range(0, width, tiles["tile"]):
            place = f"{column // tiles['tile']}_{row // tiles['tile']}"
            jpeg = server.get(f"tiles/{tiles['max_level']}/{place}.jpg")
            part = np.asarray(Image.open(io.BytesIO(jpeg)))
            picture[row : row + part.shape[0], column : column + part.shape[1]] = part
    with open_slide(small.path) as slide:
        pixels = slide.read(0, slide.facts.levels[0].box).astype(np.int64)
    assert picture.shape == pixels.shape
    assert np.abs(picture - pixels).mean() < 3  # what JPEG takes
    least = Image.open(io.BytesIO(server.get(f"tiles/{tiles['min_level']}/0_0.jpg")))
    assert max(least.size) <= tiles["tile"]
    np.testing.assert_allclose(np.asarray(least).mean((0, 1)), pixels.mean((0, 1)), atol=2)
    assert server.refusal(f"tiles/{tiles['max_level']}/99_0.jpg")[0] == 404


def test_no_tile_of_a_slide_without_small_levels_reads_all_of_it() -> None:
    read: list[Box] = []

    class Plain:
        """One level, as in a plain TIFF."""

        facts = settle(Header("image", "", levels_of([(60_000, 40_000)]), (0.25, 0.25)), None)

        def read(self, level: int, box: Box) -> NDArray[np.uint8]:
            read.append(box)
            return np.zeros((box.height, box.width, 3), np.uint8)

    tiles = SlideTiles(cast(Slide, Plain()))
    least = tiles.facts()["min_level"]
    assert tiles.facts()["max_level"] - least == 3
    tiles.tile(least, 1, 1)
    assert sum(box.area for box in read) < 1.1 * (8 * TILE) ** 2
    with pytest.raises(StoreError, match="no tiles of level"):
        tiles.tile(least - 1, 0, 0)


def test_nothing_that_is_served_holds_the_name_of_the_file(
    run: StoredResult, small: DrawnSlide, tmp_path: Path
) -> None:
    named = tmp_path / "Mustermann-Erika.tiff"
    named.write_bytes(small.path.read_bytes())
    with serving(show(run.folder, named)) as address:
        for path in ("facts", "check", "picture", "results/a/rows/0", "tiles/99/0_0.jpg", ""):
            try:
                content = urllib.request.urlopen(address + path, timeout=60).read()
            except urllib.error.HTTPError as refused:
                content = refused.read()
            assert b"Mustermann" not in content
            assert str(run.folder).encode() not in content
