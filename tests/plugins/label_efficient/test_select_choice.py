"""Which windows are chosen, given what they look like: promises that hold for any features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.errors import ConfigError
from wsiproc_label_efficient.clustering import kmeans
from wsiproc_label_efficient.config import SelectConfig
from wsiproc_label_efficient.consistency import Looked, Pool, choose, disagreement, ranked


def a_pool(images: int = 3, rows: int = 9, columns: int = 9, edge: int = 4) -> Pool:
    image, row, column = np.indices((images, rows, columns)).reshape(3, -1)
    return Pool(image, row, column, edge)


def looked_at(pool: Pool, of_place: np.ndarray) -> Looked:
    """What a pool looks like, if features `of_place` ``[image, row, column, d]`` are those of the
    cells of the lattice, and windows and quarters are their means."""
    rows, columns, d = of_place.shape[1:]
    half = pool.edge // 2

    def means(edge: int, height: int, width: int) -> np.ndarray:
        return np.stack(
            [of_place[:, y : y + height, x : x + width] for y in range(edge) for x in range(edge)]
        ).mean(0)

    quarters = means(half, rows - half + 1, columns - half + 1)
    across = quarters.shape[2]
    windows = means(pool.edge, rows - pool.edge + 1, columns - pool.edge + 1)
    corner = (pool.image * quarters.shape[1] + pool.row) * across + pool.column
    parts = corner[:, None] + np.array([0, half, half * across, half * (across + 1)])
    return Looked(
        windows.reshape(-1, d).astype(np.float32), quarters.reshape(-1, d).astype(np.float32), parts
    )


def tissue(seed: int, kinds: int = 3) -> tuple[Pool, Looked]:
    """Images each of a kind of its own, with some noise; a window an edge of 4 cells."""
    rng = np.random.default_rng(seed)
    of_place = rng.normal(0, 0.3, (kinds, 12, 12, 5))
    of_place += 10 * np.arange(kinds)[:, None, None, None]
    return a_pool(kinds), looked_at(a_pool(kinds), of_place)


@pytest.mark.parametrize("method", ["cps", "kmeans"])
def test_each_kind_of_tissue_gives_one_patch(method: str) -> None:
    pool, looked = tissue(1)
    config = SelectConfig(method=method, k=3, k2=2)
    chosen = choose(pool, config, 0, lambda: looked)
    assert sorted(pool.image[list(chosen)]) == [0, 1, 2]


def test_kmeans_takes_the_window_nearest_to_its_cluster_s_centre() -> None:
    _, looked = tissue(2)
    config = SelectConfig(method="kmeans", k=3)
    for rank in ranked(looked, config, np.random.default_rng(0)):
        windows = looked.windows[rank]
        off = np.linalg.norm(windows - windows.mean(0), axis=1)
        assert off[0] == off.min()


def test_cps_is_the_sum_of_its_three_terms() -> None:
    """Equation 1, window by window, with one cluster of windows and one of quarters."""
    _, looked = tissue(3, kinds=1)
    parts = looked.quarters[looked.parts].astype(np.float64)
    windows = looked.windows.astype(np.float64)
    first = np.linalg.norm(windows - windows.mean(0), axis=1)
    second = np.linalg.norm(parts - parts.mean((0, 1)), axis=2).mean(1)
    third = np.array(
        [max(np.linalg.norm(p[i] - p[j]) for i in range(4) for j in range(4)) for p in parts]
    )
    for with_second, with_third in [(True, True), (False, True), (True, False)]:
        score = first + with_second * second + with_third * third
        config = SelectConfig(k=1, k2=1, second=with_second, third=with_third)
        (rank,) = ranked(looked, config, np.random.default_rng(0))
        assert np.all(np.diff(score[rank]) > -1e-4)
        assert rank[0] == score.argmin()


def test_the_third_term_avoids_windows_of_two_halves() -> None:
    """All windows but some are of one cloth; those have the mean of all, and are taken by k-means
    and left by what asks for consistency."""
    of_place = np.zeros((1, 12, 12, 2))
    of_place[:, :, 6:, 0] = 1.0
    pool = a_pool(1)
    looked = looked_at(pool, of_place)
    chosen = {
        method: choose(pool, SelectConfig(method=method, k=1, k2=1), 0, lambda: looked)[0]
        for method in ("kmeans", "cps")
    }
    mixed = disagreement(looked.quarters[looked.parts])
    assert mixed[chosen["kmeans"]] > 0
    assert mixed[chosen["cps"]] == 0


@given(st.integers(0, 10_000), st.sampled_from(["cps", "kmeans", "random"]), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_no_two_patches_lie_on_the_same_pixels(seed: int, method: str, k: int) -> None:
    pool, looked = tissue(seed % 7)
    config = SelectConfig(method=method, k=k, k2=2, starts=1)
    chosen = choose(pool, config, seed, lambda: looked)
    assert len(set(chosen)) == k
    for one in chosen:
        others = [other for other in chosen if other != one]
        assert not pool.overlap(one)[others].any()


@given(st.integers(0, 100), st.integers(0, 242), st.integers(0, 242))
@settings(deadline=None, max_examples=40)
def test_overlap_is_the_intersection_over_the_union_of_pixels(seed: int, a: int, b: int) -> None:
    pool = a_pool()
    drawn = np.zeros((2, 3, 12, 12), bool)
    for sheet, window in zip(drawn, (a, b), strict=True):
        y, x = pool.row[window], pool.column[window]
        sheet[pool.image[window], y : y + pool.edge, x : x + pool.edge] = True
    both, either = (drawn[0] & drawn[1]).sum(), (drawn[0] | drawn[1]).sum()
    assert pool.overlap(a)[b] == pytest.approx(both / either)


def test_some_overlap_may_be_allowed() -> None:
    pool, looked = tissue(4, kinds=1)
    config = SelectConfig(k=6, k2=1, most_overlap=0.4)
    chosen = list(choose(pool, config, 0, lambda: looked))
    worst = max(np.delete(pool.overlap(i)[chosen], chosen.index(i)).max() for i in chosen)
    assert worst <= 0.4


@pytest.mark.parametrize("method", ["cps", "random"])
def test_more_patches_than_there_is_room_for_are_refused(method: str) -> None:
    pool, looked = tissue(5, kinds=1)
    with pytest.raises(ConfigError, match=r"beside the \d patches chosen there is no room"):
        choose(pool, SelectConfig(method=method, k=30, k2=1), 0, lambda: looked)


def test_middles_lie_in_the_middle_of_different_images() -> None:
    pool = a_pool(5)
    chosen = list(choose(pool, SelectConfig(method="centre", k=4), 0, _never))
    assert len(set(pool.image[chosen])) == 4
    assert set(pool.row[chosen]) == set(pool.column[chosen]) == {4}
    with pytest.raises(ConfigError, match="6 middles are wanted of 5 images"):
        choose(pool, SelectConfig(method="centre", k=6), 0, _never)


@pytest.mark.parametrize("method", ["random", "centre"])
def test_ways_that_compare_nothing_look_at_nothing_and_follow_the_seed(method: str) -> None:
    pool = a_pool(5)
    config = SelectConfig(method=method, k=4)
    draws = [choose(pool, config, seed, _never) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_a_stride_that_puts_quarters_between_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of stride_um"):
        SelectConfig(size_um=64, stride_um=3.75)


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_clusters_have_members_and_their_means_for_centres(seed: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, 3)).astype(np.float32)
    centres, member = kmeans(rows, clusters, rng, starts=2)
    assert set(member) == set(range(len(centres)))
    for i, centre in enumerate(centres):
        np.testing.assert_allclose(centre, rows[member == i].mean(0), atol=1e-5)


def test_rows_that_are_alike_make_no_more_clusters_than_they_differ() -> None:
    rows = np.repeat(np.array([[0.0, 1.0], [5.0, 5.0]], np.float32), 10, axis=0)
    centres, member = kmeans(rows, 6, np.random.default_rng(0), starts=3)
    assert len(centres) == 2
    assert len(set(member[:10])) == len(set(member[10:])) == 1


def _never() -> Looked:
    raise AssertionError("this way looks at nothing")
