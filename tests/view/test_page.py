"""The page in a browser: it is opened, zoomed, clicked, filtered, and looked at."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import geopandas
import numpy as np
import pytest
from PIL import Image

from wsiproc.diff import compare
from wsiproc.results.stored import StoredResult
from wsiproc.slide._drawn import DrawnSlide

from .conftest import Opened, Serve

Open = Callable[[str], Opened]


def seen(page: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The slide's part of a screenshot, ``[h, w, 3]``."""
    box = page.locator("#pane-a").bounding_box()
    png = page.screenshot(clip=box)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int64)


def share_of(colour: tuple[int, int, int], picture: np.ndarray[Any, Any]) -> float:
    """The share of px that are nearly of a colour."""
    return float((np.abs(picture - colour).max(axis=-1) <= 12).mean())


def colour_of(result: StoredResult, number: int) -> tuple[int, int, int]:
    return result.classes[number].color


def look_at(table: geopandas.GeoDataFrame, row: int, width: float) -> str:
    """The part of an address that puts a nucleus into the middle."""
    return f"#x={table['x_um'][row]}&y={table['y_um'][row]}&w={width}"


def test_a_result_is_seen_whole_with_its_numbers(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    page = opened(serve(one.folder).address)
    assert page.page.inner_text("h1") == "S-1"
    assert "3,500 nuclei" in page.page.inner_text(".what")
    assert page.number("#in-view") == 3500
    area = one.size_um[0] * one.size_um[1] / 1e6
    assert page.number("#per-mm2") == round(3500 / area)
    classes = page.page.inner_text(".classes")
    assert all(f"{n:,}" in classes for n in one.manifest.classes.values())


def test_far_is_a_density_and_near_are_outlines(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    address = serve(one.folder).address
    far, near = (opened(f"{address}#x=700&y=700&w={width}").page for width in (12_000, 300))
    assert far.get_attribute("body", "data-stage") == "density"
    assert near.get_attribute("body", "data-stage") == "outlines"


def test_zooming_by_the_wheel_comes_nearer(one: StoredResult, serve: Serve, opened: Open) -> None:
    page = opened(f"{serve(one.folder).address}#x=700&y=700&w=1800")
    assert page.page.get_attribute("body", "data-stage") == "dots"
    before = page.number("#in-view")
    page.page.mouse.move(440, 400)
    for _ in range(6):
        page.page.mouse.wheel(0, -120)
        page.page.wait_for_timeout(80)
    page.rest()
    assert page.page.get_attribute("body", "data-stage") == "outlines"
    assert 0 < page.number("#in-view") < before / 4


def test_outlines_lie_where_nuclei_are_and_have_the_colour_of_their_class(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    table = geopandas.read_parquet(one.table)
    number = 1
    row = int(np.flatnonzero(table["class_id"] == number)[0])
    page = opened(serve(one.folder).address + look_at(table, row, 40)).page
    page.uncheck("#slide")
    page.wait_for_timeout(600)
    picture = seen(page)
    height, width, _ = picture.shape
    middle = picture[height // 2 - 160 : height // 2 + 160, width // 2 - 160 : width // 2 + 160]
    line = np.abs(middle - colour_of(one, number)).max(axis=-1) <= 12
    # Its length and place: the outline's own, to a px or two.
    ys, xs = np.nonzero(line)
    per_um = width / 40
    left, top, right, below = table.geometry[row].bounds
    found = np.array([xs.min(), xs.max(), ys.min(), ys.max()]) - 160
    x, y = table["x_um"][row], table["y_um"][row]
    expected = np.array([left - x, right - x, top - y, below - y]) * per_um
    np.testing.assert_allclose(found, expected, atol=3)


def test_a_click_shows_the_row_and_a_link_leads_back_to_it(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    table = geopandas.read_parquet(one.table)
    address = serve(one.folder).address
    page = opened(address + look_at(table, 1234, 120))
    box = page.page.locator("#pane-a").bounding_box()
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.page.wait_for_selector("#nucleus", state="visible")
    page.page.wait_for_timeout(500)
    told = page.page.inner_text("#nucleus")
    assert str(table["nucleus_id"][1234]) in told
    assert table["class_name"][1234] in told
    assert f"{table['area_um2'][1234]:.4g} µm²" in told
    page.page.click("#link")
    link = page.page.evaluate("location.href")
    again = opened(link)
    assert str(table["nucleus_id"][1234]) in again.page.inner_text("#nucleus")
    assert again.page.evaluate("location.hash") == page.page.evaluate("location.hash")
    page.page.click("#close")
    assert not page.page.is_visible("#nucleus")


def test_keys_fill_outlines_and_never_turn_the_slide(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    page = opened(f"{serve(one.folder).address}#x=700&y=700&w=300")
    page.page.mouse.click(200, 300)
    before = page.page.inner_text(".pointer")
    for key in ("f", "r"):
        page.page.keyboard.press(key)
    page.rest()
    assert page.page.is_checked("#fill")
    page.page.mouse.move(201, 300)
    page.page.mouse.move(200, 300)
    assert page.page.inner_text(".pointer") == before != ""


def test_filters_and_classes_keep_what_they_say(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    table = geopandas.read_parquet(one.table)
    middle = float(table["area_um2"].median())
    page = opened(f"{serve(one.folder).address}#kept=area_um2:{middle}:")
    kept = table["area_um2"].to_numpy(np.float32) >= middle
    assert page.number("#shown") == kept.sum()
    page.page.uncheck(".classes li:nth-child(2) input")
    page.rest()
    assert page.number("#shown") == (kept & (table["class_id"] != 1)).sum()
    page.page.select_option("#more", "score")
    page.page.wait_for_selector("[data-column=score]")
    page.page.focus("[data-column=score] input[aria-label$=lowest]")
    for _ in range(5):
        page.page.keyboard.press("PageUp")
    page.rest()
    bound = float(page.page.evaluate("location.hash").split("kept=score:")[1].split(":")[0])
    score = table["score"].to_numpy(np.float32)
    assert 0 < bound < 1
    both = kept & (table["class_id"] != 1) & (score >= bound)
    assert page.number("#shown") == both.sum()
    page.page.click("[data-column=score] button")
    page.page.click("[data-column=area_um2] button")
    page.page.check(".classes li:nth-child(2) input")
    page.rest()
    assert page.number("#shown") == len(table)


def test_any_column_colours_and_the_far_picture_as_well(
    one: StoredResult, serve: Serve, opened: Open
) -> None:
    page = opened(f"{serve(one.folder).address}#show=density&by=class")
    page.page.uncheck("#slide")
    page.rest()
    by_class = seen(page.page)
    page.page.select_option("#by", "density")
    page.rest()
    assert "per mm²" in page.page.inner_text(".legend")
    by_density = seen(page.page)
    page.page.select_option("#by", "area_um2")
    page.rest()
    assert page.page.is_visible(".legend .ramp")
    by_area = seen(page.page)
    pictures = (by_class, by_density, by_area)
    changed = [np.abs(a - b).mean() for a, b in pairwise(pictures)]
    assert min(changed) > 5


def test_holding_h_shows_the_slide_alone(
    run: StoredResult, small: DrawnSlide, serve: Serve, opened: Open
) -> None:
    table = geopandas.read_parquet(run.table)
    page = opened(serve(run.folder, small.path).address + look_at(table, 0, 120)).page
    colour = colour_of(run, 0) if len(run.classes) > 1 else (0, 190, 130)
    assert share_of(colour, seen(page)) > 0
    page.keyboard.down("h")
    assert share_of(colour, seen(page)) == 0
    page.keyboard.up("h")
    assert share_of(colour, seen(page)) > 0
    page.wait_for_selector("body[data-same=true]")


def test_two_results_lie_beside_each_other_and_move_together(
    one: StoredResult, other: StoredResult, serve: Serve, opened: Open
) -> None:
    page = opened(f"{serve(one.folder, None, other.folder).address}#x=700&y=700&w=900&mode=side")
    shares = [page.page.locator(f"#pane-{key}").bounding_box()["width"] for key in "ab"]
    assert abs(shares[0] - shares[1]) < 2
    page.page.mouse.move(300, 400)
    page.page.mouse.wheel(0, -240)
    page.page.wait_for_timeout(1500)
    page.rest()
    in_a, in_b = (
        int(part.split()[0].replace(",", ""))
        for part in page.page.inner_text("#in-view").split(", ")
    )
    x, y, w = (
        float(page.page.evaluate(f"new URLSearchParams(location.hash.slice(1)).get('{k}')"))
        for k in "xyw"
    )
    assert w < 440
    box = page.page.locator("#pane-a").bounding_box()
    h = w * box["height"] / box["width"]
    for result, found in ((one, in_a), (other, in_b)):
        table = geopandas.read_parquet(result.table)
        near = (abs(table["x_um"] - x) < w / 2) & (abs(table["y_um"] - y) < h / 2)
        assert abs(found - near.sum()) <= 2  # the address is rounded


def test_a_difference_counts_and_hides_what_diff_found(
    one: StoredResult, other: StoredResult, serve: Serve, opened: Open
) -> None:
    page = opened(f"{serve(one.folder, None, other.folder).address}#mode=difference")
    tally = compare(one, other).tally()
    assert page.number("#shown") == 7000
    lost = page.page.locator(".classes li", has_text="lost")
    assert f"{tally.lost:,}" in lost.inner_text()
    lost.locator("input").uncheck()
    page.rest()
    assert page.number("#shown") == 7000 - tally.lost


def test_triangles_of_every_outline_cover_it_once(
    run: StoredResult, small: DrawnSlide, serve: Serve, opened: Open
) -> None:
    page = opened(serve(run.folder, small.path).address).page
    areas = page.evaluate(
        """async () => {
          const { clipEars } = await import('./triangles.js');
          const data = await (await fetch('results/a/outlines/0')).arrayBuffer();
          const n = new Uint32Array(data, 0, 1)[0];
          const start = new Uint32Array(data, 4, n + 1);
          const xy = new Float32Array(data, 4 * (n + 2));
          const areas = [];
          for (let i = 0; i < n; i += 1) {
            const corners = [];
            clipEars(xy, start[i], start[i + 1], corners);
            let area = 0;
            for (let k = 0; k < corners.length; k += 3) {
              const [a, b, c] = corners.slice(k, k + 3).map((v) => [xy[2 * v], xy[2 * v + 1]]);
              area += Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) / 2;
            }
            areas.push(area);
          }
          return areas;
        }"""
    )
    table = geopandas.read_parquet(run.table)
    np.testing.assert_allclose(areas, table.geometry.area[: len(areas)], rtol=1e-9)


def test_without_webgl_a_density_is_seen_and_the_page_says_so(
    one: StoredResult, serve: Serve, browser: Any
) -> None:
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.add_init_script(
        """const own = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
          return kind === 'webgl2' ? null : own.call(this, kind, ...more);
        };"""
    )
    page.goto(f"{serve(one.folder).address}#x=700&y=700&w=300")
    page.wait_for_selector("body[data-state=ready]", timeout=120_000)
    page.wait_for_selector("body[data-still=true]")
    assert page.get_attribute("body", "data-stage") == "density"
    assert "density only" in page.inner_text(".notes")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_narrow_screens_and_dark_rooms(
    scheme: str, one: StoredResult, serve: Serve, browser: Any
) -> None:
    context = browser.new_context(viewport={"width": 420, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(serve(one.folder).address)
    page.wait_for_selector("body[data-state=ready]", timeout=120_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in paper[4:-1].split(",")) > 3 * 128
    assert light is (scheme == "light")
    context.close()
