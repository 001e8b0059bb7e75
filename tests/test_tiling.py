"""Every pixel of a slide belongs to one tile, and is computed with all it depends on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.card import Card
from wsiproc.errors import ConfigError
from wsiproc.geometry import Box, Frame
from wsiproc.testing.strategies import a_card, cards, frame_of, grids
from wsiproc.tiling import Grid, Tile, make_grid, owner, tile_at, tiles_of, windows_of

quick = settings(max_examples=40, deadline=None)


@pytest.fixture
def card() -> Card:
    return a_card()


def everywhere(box: Box) -> bool:
    return True


def only(region: Box) -> Callable[[Box], bool]:
    return lambda box: not (box & region).empty


def painted(grid: Grid, boxes: list[Box], area: Box) -> np.ndarray:
    """How often each pixel of `area` is covered."""
    count = np.zeros((area.height, area.width), np.int32)
    for box in boxes:
        part = box & area
        if not part.empty:
            count[part.slices_in(area)] += 1
    return count


@quick
@given(grids())
def test_cores_partition_the_slide(grid: Grid) -> None:
    cores = [tile.core for tile in tiles_of(grid, everywhere)]
    assert (painted(grid, cores, grid.slide) == 1).all()
    assert all(not (core & grid.slide).empty for core in cores)


@quick
@given(grids(), st.data())
def test_valid_parts_partition_what_a_tile_decodes(grid: Grid, data: st.DataObject) -> None:
    tile = data.draw(st.sampled_from(tiles_of(grid, everywhere)))
    valid = [w.valid for w in windows_of(grid, tile, everywhere)]
    inside = tile.decoded & grid.slide
    assert (painted(grid, valid, inside) == 1).all()
    assert all(box in tile.decoded for box in valid)


@quick
@given(grids(), st.data())
def test_windows_have_one_shape_and_lie_on_multiples_of_the_step(
    grid: Grid, data: st.DataObject
) -> None:
    tile = data.draw(st.sampled_from(tiles_of(grid, everywhere)))
    for window in windows_of(grid, tile, everywhere):
        assert (window.read.width, window.read.height) == (grid.window, grid.window)
        assert window.read == window.valid.grown(grid.margin)
        assert all(edge % grid.step == 0 for edge in window.read.as_tuple())
        assert all(edge % grid.step == 0 for edge in window.valid.as_tuple())


@quick
@given(grids(), st.data())
def test_whatever_a_counted_nucleus_depends_on_is_decoded(grid: Grid, data: st.DataObject) -> None:
    tile = data.draw(st.sampled_from(tiles_of(grid, everywhere)))
    x = data.draw(st.integers(tile.core.x0 - grid.handover, tile.core.x1 + grid.handover - 1))
    y = data.draw(st.integers(tile.core.y0 - grid.handover, tile.core.y1 + grid.handover - 1))
    assert Box.of_size(x, y, 1, 1).grown(grid.reach) in tile.decoded


@quick
@given(grids(), st.data())
def test_leaving_out_windows_leaves_out_nothing_that_counts(
    grid: Grid, data: st.DataObject
) -> None:
    """A nucleus counts by its reference pixel; all within reach of one must be computed."""
    x = data.draw(st.integers(0, grid.width - 1))
    y = data.draw(st.integers(0, grid.height - 1))
    region = Box.of_size(x, y, data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    touches = only(region & grid.slide)
    tiles = tiles_of(grid, touches)
    assert {t for t in tiles_of(grid, everywhere) if not (t.core & region).empty} == set(tiles)
    for tile in tiles:
        valid = [w.valid for w in windows_of(grid, tile, touches)]
        counted = tile.core.grown(grid.handover) & region & grid.slide
        needed = counted.grown(grid.reach) & grid.slide
        assert (painted(grid, valid, needed) == 1).all()


@quick
@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300), st.data())
def test_fixed_windows_lie_on_one_lattice_whatever_the_tiles(
    width: int, height: int, reach: int, data: st.DataObject
) -> None:
    card = a_card(local=False, margin=40)
    fixed = Card.model_validate(
        card.model_dump()
        | {"kind": "instances", "post": {"kind": "instances", "chosen_on": "x"}, "windows": (160,)}
    )
    seen = []
    for tile_px in (1, data.draw(st.integers(1, 1000))):
        grid = make_grid(
            frame_of(width, height), fixed, window=160, reach_px=reach, tile_px=tile_px
        )
        windows = {
            window
            for tile in tiles_of(grid, everywhere)
            for window in windows_of(grid, tile, everywhere)
        }
        assert all(edge % grid.valid == 0 for w in windows for edge in w.valid.as_tuple())
        seen.append(windows)
    assert seen[0] == seen[1]
    assert (painted(grid, [w.valid for w in windows], grid.slide) == 1).all()


def test_a_region_in_one_corner_costs_few_windows(card: Card) -> None:
    grid = make_grid(frame_of(3000, 3000), card, window=256, reach_px=40, tile_px=3000)
    tile = tile_at(grid, 0, 0)
    assert len(windows_of(grid, tile, only(Box(0, 0, 50, 50)))) == 1
    assert len(windows_of(grid, tile, everywhere)) > 100


def test_a_slide_smaller_than_a_core_costs_only_the_windows_it_fills(card: Card) -> None:
    grid = make_grid(frame_of(100, 60), card, window=256, reach_px=40)
    (tile,) = tiles_of(grid, everywhere)
    assert grid.windows_across > 5
    assert len(windows_of(grid, tile, everywhere)) == 1


@quick
@given(cards(), st.sampled_from([256, 512, 1024]), st.integers(1, 3000))
def test_a_wanted_tile_is_rounded_up_by_less_than_one_window(
    card: Card, window: int, tile_px: int
) -> None:
    grid = make_grid(frame_of(10_000, 10_000), card, window=window, reach_px=70, tile_px=tile_px)
    assert grid.core >= tile_px
    assert grid.core - grid.valid < tile_px


@pytest.mark.parametrize(
    ("window", "across", "factor"),
    [(256, 29, 2.67), (512, 11, 1.59), (1024, 4, 1.30), (2048, 2, 1.30)],
)
def test_the_default_core_keeps_the_work_small(
    card: Card, window: int, across: int, factor: float
) -> None:
    asking = card.model_copy(update={"margin": 48})
    grid = make_grid(frame_of(60_000, 60_000), asking, window=window, reach_px=40, handover_px=8)
    assert grid.halo == 48
    assert grid.windows_across == across
    assert 2000 <= grid.core <= 4600
    assert grid.area_factor <= factor


def test_a_core_is_as_small_as_the_area_factor_allows(card: Card) -> None:
    narrow = card.model_copy(update={"margin": 24, "step": 8})
    grid = make_grid(frame_of(60_000, 60_000), narrow, window=512, reach_px=24, handover_px=8)
    assert grid.area_factor <= 1.30
    fewer = (grid.windows_across - 1) * grid.valid - 2 * grid.halo
    assert fewer < 2000 or ((grid.windows_across - 1) * grid.window / fewer) ** 2 > 1.30


def test_a_halo_wider_than_a_window_still_leaves_a_core(card: Card) -> None:
    grid = make_grid(frame_of(500, 500), card, window=128, reach_px=300, tile_px=1)
    assert grid.core > 0
    assert grid.halo >= 300


def test_strided_outputs_fall_on_whole_pixels(card: Card) -> None:
    strided = card.model_copy(update={"step": 4, "stride": 6, "margin": 20})
    grid = make_grid(frame_of(500, 500), strided, window=240, reach_px=33, handover_px=5)
    assert grid.step == 12
    for length in (grid.core, grid.halo, grid.margin, grid.valid, grid.window):
        assert length % 12 == 0


def test_a_window_that_the_model_cannot_take_is_refused(card: Card) -> None:
    with pytest.raises(ConfigError, match="no multiple of 8"):
        make_grid(frame_of(100, 100), card, window=260, reach_px=10)
    with pytest.raises(ConfigError, match="nothing left inside"):
        make_grid(frame_of(100, 100), card, window=32, reach_px=10)


@quick
@given(grids(), st.data())
def test_each_pixel_is_owned_by_the_tile_whose_core_holds_it(
    grid: Grid, data: st.DataObject
) -> None:
    x = np.array([data.draw(st.integers(0, grid.width - 1))])
    y = np.array([data.draw(st.integers(0, grid.height - 1))])
    row, column = owner(grid, x, y)
    tile: Tile = tile_at(grid, int(row[0]), int(column[0]))
    assert tile.core.holds(x, y).all()
    assert 0 <= tile.row < grid.rows
    assert 0 <= tile.column < grid.columns


def test_keys_tell_grids_and_tiles_apart(card: Card) -> None:
    frame: Frame = frame_of(9000, 9000)
    one = make_grid(frame, card, window=512, reach_px=40)
    other = make_grid(frame, card, window=512, reach_px=40, tile_px=1000)
    assert one.key == make_grid(frame, card, window=512, reach_px=40).key
    assert one.key != other.key
    keys = [tile.key for tile in tiles_of(other, everywhere)]
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
