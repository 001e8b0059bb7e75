"""Each nucleus once, however the slide was cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsiproc.nuclei import Nuclei, concat
from wsiproc.seams import Parts, Seams, join, split
from wsiproc.testing.strategies import a_card, frame_of
from wsiproc.tiling import Grid, Tile, make_grid, tiles_of

LARGEST = 40  # px; longest nucleus that is planted, and the decoder's reach
See = Callable[[Nuclei, Tile], Nuclei]


def grid_of(size: int, tile_px: int, *, handover: int = 20, reach: int = LARGEST) -> Grid:
    card = a_card(step=8, margin=8)
    return make_grid(
        frame_of(size, size),
        card,
        window=64,
        reach_px=reach,
        handover_px=handover,
        tile_px=tile_px,
    )


def outlined(shapes: Sequence[shapely.Polygon], score: float = 1.0) -> Nuclei:
    """Nuclei with these outlines; the reference pixel is the one at the topmost vertex."""
    if not len(shapes):
        return Nuclei.none(polygons=True)
    rings = []
    for shape in shapes:
        ring = shapely.get_coordinates(shapely.orient_polygons(shape))[:-1]
        rings.append(np.roll(ring, -int(np.lexsort((ring[:, 0], ring[:, 1]))[0]), axis=0))
    centre = shapely.centroid(np.array(shapes, object))
    tops = np.array([ring[0] for ring in rings])
    n = len(rings)
    return Nuclei(
        ref_x=np.floor(tops[:, 0]).astype(np.int64),
        ref_y=np.floor(tops[:, 1]).astype(np.int64),
        x=shapely.get_x(centre),
        y=shapely.get_y(centre),
        class_id=np.zeros(n, np.int16),
        score=np.full(n, score, np.float32),
        cut=np.zeros(n, np.bool_),
        ring=np.concatenate(rings),
        ring_start=np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]).astype(np.int64),
    )


def ellipse(x: float, y: float, a: float, b: float, turn: float = 0.0) -> shapely.Polygon:
    angle = np.arange(24) * (np.pi / 12)
    u, v = a * np.cos(angle), b * np.sin(angle)
    c, s = np.cos(turn), np.sin(turn)
    return shapely.Polygon(np.stack([x + c * u - s * v, y + s * u + c * v], axis=-1))


def planted(size: int, seed: int, *, pitch: int = 28, least: float = 4) -> Nuclei:
    """Disjoint ellipses of up to 28 x 22 px all over the slide, and past its edge."""
    rng = np.random.default_rng(seed)
    spots = np.stack(np.meshgrid(*[np.arange(pitch // 2, size, pitch)] * 2), axis=-1).reshape(-1, 2)
    shapes: list[shapely.Polygon] = []
    for x, y in spots + rng.uniform(-4, 4, spots.shape):
        shapes.append(ellipse(x, y, *rng.uniform(least, 10, 2), rng.uniform(0, np.pi)))
    found = outlined(shapes)
    on_slide = (found.ref_x >= 0) & (found.ref_y >= 0)
    return found.take(on_slide & (found.ref_x < size) & (found.ref_y < size))


def polygons(nuclei: Nuclei) -> NDArray[np.object_]:
    assert nuclei.ring is not None
    assert nuclei.ring_start is not None
    rings = np.split(nuclei.ring, nuclei.ring_start[1:-1]) if len(nuclei) else []
    return np.array([shapely.Polygon(ring) for ring in rings], object)


def perfect(nuclei: Nuclei, tile: Tile) -> Nuclei:
    """A tile sees every nucleus it decodes a part of, with its true outline; cut ones clipped."""
    area = shapely.box(*tile.decoded.as_tuple())
    near = tile.decoded.grown(LARGEST).holds(nuclei.ref_x, nuclei.ref_y)
    nuclei = nuclei.take(near)
    seen = polygons(nuclei)
    clipped = [shapely.intersection(shape, area) for shape in seen[shapely.overlaps(seen, area)]]
    return concat([nuclei.take(shapely.covered_by(seen, area)), cut(outlined(clipped))])


def cut(nuclei: Nuclei) -> Nuclei:
    return Nuclei(
        **{f: getattr(nuclei, f) for f in Nuclei.__slots__} | {"cut": np.ones(len(nuclei), bool)}
    )


def run(truth: Nuclei, grid: Grid, see: See, **settings: object) -> tuple[Nuclei, Seams]:
    """Every tile looks, the seams are joined, and what stays is put together."""
    tiles = tiles_of(grid, lambda box: True)
    parts = {tile: split(see(truth, tile), tile, grid) for tile in tiles}
    seams = join(tiles, parts.__getitem__, grid, **{"local": False} | settings)  # type: ignore[arg-type]
    return concat([seams.kept(tile, parts[tile].core) for tile in tiles]).in_order(), seams


def same(a: Nuclei, b: Nuclei) -> bool:
    a, b = a.in_order(), b.in_order()
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in Nuclei.__slots__ if f != "cut")


def found_once(truth: Nuclei, found: Nuclei) -> tuple[int, int]:
    """(doubles, misses): planted nuclei that two outcomes or none show."""
    true, seen = polygons(truth), polygons(found)
    i, j = shapely.STRtree(seen).query(true)
    common = shapely.area(shapely.intersection(true[i], seen[j]))
    shows = common >= 0.5 * np.minimum(shapely.area(true[i]), shapely.area(seen[j]))
    times = np.bincount(i[shows], minlength=len(true))
    return int((times > 1).sum()), int((times == 0).sum())


# --- Tiles that agree


@pytest.mark.parametrize("tile_px", [1, 60, 100, 199, 2000])
@pytest.mark.parametrize("handover", [0, 8, 20])
def test_planted_nuclei_come_out_exactly_once_whatever_the_tile(
    tile_px: int, handover: int
) -> None:
    truth = planted(250, seed=1)
    found, seams = run(truth, grid_of(250, tile_px, handover=handover), perfect, local=True)
    assert same(found, truth)
    assert seams.audit.errors == 0
    assert not seams.changes
    assert seams.audit.checked == seams.audit.agreed


def test_nuclei_on_seams_and_corners_come_out_once() -> None:
    grid = grid_of(900, 200)
    seam = grid.core
    places = [(seam, 50), (50, seam), (seam, seam), (2 * seam, seam), (seam + 0.5, 2 * seam - 3)]
    truth = outlined([ellipse(x, y, 9, 6, 0.4) for x, y in places])
    found, seams = run(truth, grid, perfect, local=True)
    assert same(found, truth)
    assert seams.audit.checked > 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 400), st.integers(0, 20))
def test_the_outcome_does_not_depend_on_the_tile(seed: int, tile_px: int, handover: int) -> None:
    truth = planted(200, seed=seed, pitch=25)
    found, seams = run(truth, grid_of(200, tile_px, handover=handover), perfect, local=True)
    assert same(found, truth)
    assert seams.audit.errors == 0


def test_only_processed_tiles_are_asked() -> None:
    """Tiles without tissue are never made; nobody misses their word."""
    grid = grid_of(420, 100)
    truth = planted(420, seed=2)
    tiles = tiles_of(grid, lambda box: True)[::2]
    parts = {tile: split(perfect(truth, tile), tile, grid) for tile in tiles}
    seams = join(tiles, parts.__getitem__, grid, local=True)
    found = concat([seams.kept(tile, parts[tile].core) for tile in tiles])
    owned = np.any([t.core.holds(truth.ref_x, truth.ref_y) for t in tiles], axis=0)
    assert same(found, truth.take(owned))
    assert seams.audit.errors == 0


# --- Tiles that don't


def jittered(strength: float) -> See:
    """Each tile draws each nucleus a little differently, and with its own score."""

    def see(truth: Nuclei, tile: Tile) -> Nuclei:
        rng = np.random.default_rng(tile.row * 1000 + tile.column)
        near = truth.take(tile.decoded.grown(LARGEST).holds(truth.ref_x, truth.ref_y))
        moved = [
            shapely.affinity.translate(
                shape.buffer(rng.uniform(-strength, strength) / 2),
                *rng.uniform(-strength, strength, 2),
            )
            for shape in polygons(near)
        ]
        return perfect(outlined(moved, score=float(rng.uniform(0.5, 1))), tile)

    return see


def well_inside(size: int, seed: int) -> Nuclei:
    """Planted nuclei that don't slip off the slide when they are drawn differently."""
    truth = planted(size, seed, least=6)
    return truth.take((truth.ref_x > 8) & (truth.ref_y > 8))


@pytest.mark.parametrize(("tile_px", "strength"), [(60, 0.5), (60, 2.0), (100, 1.0), (160, 2.0)])
def test_views_that_differ_leave_no_doubles_and_no_gaps(tile_px: int, strength: float) -> None:
    truth = well_inside(300, seed=3)
    found, _ = run(truth, grid_of(300, tile_px), jittered(strength))
    assert found_once(truth, found) == (0, 0)
    assert len(np.unique(found.ids)) == len(found)


def test_ownership_alone_would_leave_doubles_and_gaps() -> None:
    """The rule is needed: without it the same views give both."""
    truth = well_inside(350, seed=3)
    grid = grid_of(350, 60)
    see = jittered(2.0)
    parts = {t: split(see(truth, t), t, grid) for t in tiles_of(grid, lambda box: True)}
    doubles, misses = found_once(truth, concat([part.core for part in parts.values()]))
    audit = join(parts, parts.__getitem__, grid, local=False).audit
    assert audit.doubles >= doubles > 0
    assert audit.rescued >= misses > 0


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_tiles_changes_nothing(random: object) -> None:
    truth = planted(200, seed=4)
    grid = grid_of(200, 60)
    tiles = list(tiles_of(grid, lambda box: True))
    parts = {tile: split(jittered(2.0)(truth, tile), tile, grid) for tile in tiles}
    straight = join(tiles, parts.__getitem__, grid, local=False)
    random.shuffle(tiles)  # type: ignore[attr-defined]
    shuffled = join(tiles, parts.__getitem__, grid, local=False)
    assert straight.audit == shuffled.audit
    for tile in tiles:
        assert same(straight.kept(tile, parts[tile].core), shuffled.kept(tile, parts[tile].core))


# --- One case each: two tiles side by side, the seam at x == grid.core


@pytest.fixture
def pair() -> tuple[Grid, Tile, Tile]:
    grid = grid_of(150, 100)
    left, right = tiles_of(grid, lambda box: box.y0 == 0)
    return grid, left, right


def judged(
    pair: tuple[Grid, Tile, Tile], left: Nuclei, right: Nuclei, **settings: object
) -> tuple[Nuclei, Nuclei, Seams]:
    grid, *tiles = pair
    parts = {t: split(n, t, grid) for t, n in zip(tiles, (left, right), strict=True)}
    seams = join(tiles, parts.__getitem__, grid, **{"local": False} | settings)  # type: ignore[arg-type]
    a, b = (seams.kept(tile, parts[tile].core) for tile in tiles)
    return a, b, seams


def square(x: int, y: int, width: int, height: int = 10) -> shapely.Polygon:
    return shapely.box(x, y, x + width, y + height)


def test_the_owner_has_the_last_word_on_its_place(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    owned, reported = outlined([square(s + 2, 20, 10)]), outlined([square(s + 3, 20, 10)])
    a, b, seams = judged(pair, left=reported, right=owned)
    assert len(a) == 0
    assert same(b, owned)
    assert (seams.audit.conflicts, seams.audit.doubles) == (1, 0)


def test_what_only_the_neighbour_sees_is_not_kept(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    a, b, seams = judged(
        pair, left=outlined([square(s + 2, 20, 10)]), right=Nuclei.none(polygons=True), local=True
    )
    assert len(a) == len(b) == 0
    assert (seams.audit.conflicts, seams.audit.errors) == (1, 1)


def test_what_only_the_owner_sees_is_kept_and_counted(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    owned = outlined([square(s + 2, 20, 10)])
    _, b, seams = judged(pair, left=Nuclei.none(polygons=True), right=owned, local=True)
    assert same(b, owned)
    assert (seams.audit.checked, seams.audit.conflicts, seams.audit.errors) == (1, 1, 1)


def test_of_two_owned_views_the_larger_stays(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    small, large = square(s - 1, 20, 8), square(s, 20, 12)
    a, b, seams = judged(pair, left=outlined([small]), right=outlined([large]))
    assert len(a) == 0
    assert same(b, outlined([large]))
    assert seams.audit.doubles == 1


def test_of_two_equal_views_the_smaller_name_stays(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    one, other = square(s - 1, 20, 10), square(s + 1, 20, 10)
    a, b, _ = judged(pair, left=outlined([one]), right=outlined([other]))
    assert len(b) == 0
    assert same(a, outlined([one]))


def test_a_nucleus_that_each_takes_for_the_others_is_adopted_once(
    pair: tuple[Grid, Tile, Tile],
) -> None:
    s = pair[0].core
    of_left, of_right = outlined([square(s, 20, 10)]), outlined([square(s - 2, 20, 10)])
    a, b, seams = judged(pair, left=of_left, right=of_right, local=True)
    assert len(a) + len(b) == 1
    assert same(a, of_right)  # equal in size, so by name; it stands in the tile that owns the place
    assert (seams.audit.rescued, seams.audit.conflicts, seams.audit.errors) == (1, 0, 1)


def test_neighbours_that_only_touch_are_both_kept(pair: tuple[Grid, Tile, Tile]) -> None:
    s = pair[0].core
    shapes = [square(s - 10, 20, 10), square(s, 20, 10), square(s + 6, 31, 10)]
    found = outlined(shapes)
    a, b, seams = judged(pair, left=found, right=found, local=True)
    assert len(a) + len(b) == 3
    assert seams.audit.errors == 0


def test_three_views_in_a_row_lose_only_the_middle_one(pair: tuple[Grid, Tile, Tile]) -> None:
    """b shows the same as both a1 and a2, which are two nuclei: whoever is better stays."""
    s = pair[0].core
    a1, a2 = square(s - 2, 20, 14, 21), square(s - 2, 41, 14, 20)
    b = square(s, 31, 8, 20)
    left, right, seams = judged(pair, left=outlined([a1, a2]), right=outlined([b]))
    assert len(left) == 2
    assert len(right) == 0
    assert seams.audit.doubles == 1


def test_the_same_name_with_another_score_breaks_a_local_promise(
    pair: tuple[Grid, Tile, Tile],
) -> None:
    s = pair[0].core
    shape = square(s + 2, 20, 10)
    _, b, seams = judged(pair, outlined([shape], score=0.5), outlined([shape]), local=True)
    assert b.score[0] == 1.0
    assert (seams.audit.differing, seams.audit.errors) == (1, 1)


def test_a_nucleus_nobody_saw_whole_is_united(pair: tuple[Grid, Tile, Tile]) -> None:
    _, left, right = pair
    whole = square(30, 40, 150, 12)
    views = [
        cut(outlined([shapely.intersection(whole, shapely.box(*t.decoded.as_tuple()))], score))
        for t, score in ((left, 1.0), (right, 0.5))
    ]
    assert all(shapely.area(polygons(view)[0]) < shapely.area(whole) for view in views)
    a, b, seams = judged(pair, *views)
    assert len(b) == 0
    assert len(a) == 1
    assert polygons(a)[0].equals(whole)
    assert 0.5 < a.score[0] < 1.0
    assert (a.x[0], a.y[0]) == pytest.approx((105, 46))
    assert (a.ref_x[0], a.ref_y[0]) == (30, 40)
    assert (seams.audit.not_fully_seen, seams.audit.united) == (1, 1)


def test_a_nucleus_one_tile_saw_whole_is_not_united(pair: tuple[Grid, Tile, Tile]) -> None:
    grid, left, _ = pair
    s = grid.core
    whole = outlined([square(s + 1, 20, 60)])
    part = cut(outlined([square(s + 1, 20, left.decoded.x1 - s - 1)]))
    a, b, seams = judged(pair, left=part, right=whole)
    assert len(a) == 0
    assert same(b, whole)
    assert (seams.audit.not_fully_seen, seams.audit.united, seams.audit.doubles) == (0, 0, 0)


def test_a_part_that_covers_two_whole_nuclei_costs_neither(pair: tuple[Grid, Tile, Tile]) -> None:
    """What the right tile saw cut off and run together is no reason to lose what was seen whole."""
    grid, _, right = pair
    edge = right.decoded.x0
    two = outlined([square(edge + 1, 20, 30), square(edge + 1, 31, 30)])
    blob = cut(outlined([square(edge, 19, grid.core - edge + 4, 23)]))
    a, b, seams = judged(pair, left=two, right=blob)
    assert same(a, two)
    assert len(b) == 0
    assert (seams.audit.united, seams.audit.doubles) == (0, 0)


# --- Points


def peaks(xy: NDArray[np.float64], score: NDArray[np.float64]) -> Nuclei:
    n = len(xy)
    return Nuclei(
        ref_x=np.floor(xy[:, 0]).astype(np.int64),
        ref_y=np.floor(xy[:, 1]).astype(np.int64),
        x=xy[:, 0].copy(),
        y=xy[:, 1].copy(),
        class_id=np.zeros(n, np.int16),
        score=score.astype(np.float32),
        cut=np.zeros(n, np.bool_),
    )


def scattered(size: int, seed: int, apart: float) -> Nuclei:
    """Peaks in random places, each further than `apart` from the next."""
    rng = np.random.default_rng(seed)
    pitch = 1.7 * apart  # no divisor of the cores
    spots = np.stack(np.meshgrid(*[np.arange(pitch / 2, size, pitch)] * 2), axis=-1).reshape(-1, 2)
    spots = np.floor(spots + rng.uniform(-0.25 * apart, 0.25 * apart, spots.shape)) + 0.5
    return peaks(spots, rng.uniform(0.5, 1, len(spots)))


def in_sight(truth: Nuclei, tile: Tile) -> Nuclei:
    return truth.take(tile.decoded.holds(truth.ref_x, truth.ref_y))


@pytest.mark.parametrize("tile_px", [1, 60, 300])
def test_points_come_out_exactly_once(tile_px: int) -> None:
    truth = scattered(200, seed=5, apart=8)
    grid = grid_of(200, tile_px)
    found, seams = run(truth, grid, in_sight, local=True, radius_px=8.0)
    assert same(found, truth)
    assert seams.audit.errors == 0


@pytest.mark.parametrize("tile_px", [60, 100])
def test_points_that_wander_are_neither_doubled_nor_lost(tile_px: int) -> None:
    truth = scattered(500, seed=6, apart=14)
    truth = truth.take((truth.ref_x > 3) & (truth.ref_y > 3))
    truth = truth.take((truth.ref_x < 497) & (truth.ref_y < 497))

    def see(nuclei: Nuclei, tile: Tile) -> Nuclei:
        rng = np.random.default_rng(tile.row * 100 + tile.column)
        xy = np.stack([nuclei.x, nuclei.y], axis=-1)
        xy += rng.integers(-2, 3, xy.shape)
        return in_sight(peaks(xy, rng.uniform(0.5, 1, len(xy))), tile)

    found, seams = run(truth, grid_of(500, tile_px), see, radius_px=8.0)
    gap = np.hypot(truth.x[:, None] - found.x, truth.y[:, None] - found.y)
    assert ((gap <= 4).sum(axis=1) == 1).all()
    assert len(found) == len(truth)
    assert seams.audit.doubles + seams.audit.rescued > 0


def test_of_two_peaks_within_the_radius_the_higher_stays() -> None:
    grid = grid_of(150, 100)
    left, right = tiles_of(grid, lambda box: box.y0 == 0)
    s = grid.core
    a = peaks(np.array([[s - 1.5, 20.5]]), np.array([0.6]))
    b = peaks(np.array([[s + 1.5, 20.5]]), np.array([0.9]))
    parts = {left: split(a, left, grid), right: split(b, right, grid)}
    seams = join([right, left], parts.__getitem__, grid, local=False, radius_px=4.0)
    assert len(seams.kept(left, parts[left].core)) == 0
    assert same(seams.kept(right, parts[right].core), b)


# --- The audit


def test_a_slide_without_nuclei_or_tiles_has_an_empty_audit() -> None:
    grid = grid_of(420, 100)
    none = Parts(Nuclei.none(polygons=True), Nuclei.none(polygons=True))
    for tiles in (tiles_of(grid, lambda box: True), ()):
        seams = join(tiles, lambda tile: none, grid, local=True)
        assert not seams.changes
        assert seams.audit.checked == seams.audit.errors == seams.audit.seam_nuclei == 0
        json.dumps(seams.audit.to_dict())


def test_the_audit_compares_density_near_seams_with_the_interior() -> None:
    truth = scattered(600, seed=7, apart=4)
    grid = grid_of(600, 200)
    found, seams = run(truth, grid, in_sight, local=True, radius_px=4.0)
    audit = seams.audit
    assert audit.seam_nuclei + audit.interior_nuclei == len(found)
    assert audit.seam_px + audit.interior_px == 600 * 600
    assert audit.seam_density == pytest.approx(audit.interior_density, rel=0.1)

    def blind_at_seams(nuclei: Nuclei, tile: Tile) -> Nuclei:
        return in_sight(nuclei, tile).take(
            tile.core.grown(-grid.handover).holds(nuclei.ref_x, nuclei.ref_y)[
                tile.decoded.holds(nuclei.ref_x, nuclei.ref_y)
            ]
        )

    _, worse = run(truth, grid, blind_at_seams, local=True, radius_px=4.0)
    assert worse.audit.seam_nuclei < 0.1 * audit.seam_nuclei
    assert worse.audit.interior_nuclei > 0.9 * audit.interior_nuclei


def test_what_neither_owns_nor_reports_is_dropped() -> None:
    grid = grid_of(420, 100, handover=8)
    tile = tiles_of(grid, lambda box: True)[0]
    e = tile.core.x1
    at = np.array([[e - 1.0, 20], [e, 21], [e + 7.5, 22], [e + 8.5, 23]])
    parts = split(peaks(at, np.ones(4)), tile, grid)
    assert parts.core.ref_y.tolist() == [20]
    assert parts.handed.ref_y.tolist() == [21, 22]
