"""Numbers that can be compared with published ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from wsiproc.metrics import (
    DetectionCounts,
    InstanceCounts,
    PixelCounts,
    bootstrap_interval,
    compare,
    detection,
    instances,
    instances_by_class,
    mean_over_images,
    overlaps,
    pixels,
    precision_recall,
    ranked_hits,
)
from wsiproc.testing.strategies import label_maps

quick = settings(max_examples=60, deadline=None)
Labels = NDArray[np.int32]

points = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6).map(
    lambda found: np.array(found, np.float64).reshape(-1, 2)
)


def blank() -> Labels:
    return np.zeros((40, 80), np.int32)


def two_squares() -> Labels:
    labels = blank()
    labels[5:15, 5:15] = 1
    labels[5:15, 40:50] = 2
    return labels


# --- Worked examples


def test_one_exact_and_one_shifted_square() -> None:
    shifted = blank()
    shifted[5:15, 5:15] = 1
    shifted[5:15, 45:55] = 2
    counts = instances(two_squares(), shifted)
    scores = counts.scores()
    assert scores["aji"] == pytest.approx(0.6)
    assert scores["aji_plus"] == pytest.approx(0.6)
    assert (scores["dq"], scores["sq"], scores["pq"]) == (0.5, 1.0, 0.5)
    assert scores["object_dice"] == pytest.approx(0.75)
    assert scores["ncs"] == pytest.approx(2 / 3)
    assert scores["dsb_map"] == pytest.approx(1 / 3)
    assert [counts.ap(k) for k in range(10)] == pytest.approx([1 / 3] * 10)


def test_one_prediction_over_two_nuclei() -> None:
    true, pred = blank(), blank()
    true[5:15, 5:15], true[5:15, 15:25] = 1, 2
    pred[5:15, 5:25] = 1
    scores = instances(true, pred).scores()
    assert scores["aji"] == pytest.approx(0.5)
    assert scores["aji_plus"] == pytest.approx(1 / 3)


def test_a_missed_nucleus() -> None:
    pred = np.where(two_squares() == 1, 1, 0)
    scores = instances(two_squares(), pred).scores()
    assert scores["aji"] == pytest.approx(0.5)
    assert scores["aji_qu_code"] == pytest.approx(1 / 3)


def test_a_poor_prediction_is_charged_unless_after_lou() -> None:
    """One nucleus of 100 px; a good prediction, and a second that only grazes it."""
    true, pred = blank(), blank()
    true[5:15, 5:15] = 1
    pred[5:14, 5:15] = 1
    pred[14:24, 5:15] = 2
    scores = instances(true, pred).scores()
    assert scores["aji"] == pytest.approx(90 / (100 + 100))
    assert scores["aji_lou"] == pytest.approx(90 / 100)


def test_points_that_cross_over() -> None:
    true = [(0, 0), (10, 0)]
    for match in ("hungarian", "qu_code"):
        counts = detection(true, [(5, 0), (4, 0)], 6, match=match)
        assert (counts.tp, counts.fp, counts.fn) == (2, 0, 0)
        assert (counts.precision, counts.recall) == (1, 1)
        assert (counts.mean_distance, counts.std_distance) == (4.5, 0.5)
    assert detection(true, [(5, 0), (5.2, 0)], 5.5).tp == 2


def test_a_confusion_of_pixels() -> None:
    counts = PixelCounts(n11=30, n10=10, n01=20, n00=40)
    assert counts.accuracy == pytest.approx(0.70)
    assert counts.mean_accuracy == pytest.approx(0.70833, abs=1e-5)
    assert counts.iou == pytest.approx(0.5)
    assert counts.iou_background == pytest.approx(0.5714, abs=1e-4)
    assert counts.weighted_iou == pytest.approx(0.54286, abs=1e-5)
    assert counts.dice == pytest.approx(0.66667, abs=1e-5)


# --- Points


@pytest.mark.parametrize(
    ("match", "tp", "fp", "fn"),
    [("hungarian", 2, 1, 0), ("qu_code", 1, 2, 1), ("qu_paper", 1, 2, 1), ("many", 3, 0, 0)],
)
def test_rules_of_matching_differ_where_they_should(match: str, tp: int, fp: int, fn: int) -> None:
    """Two true points share what is near; the first in raster order takes the second's only one."""
    true = [(0, 0), (6, 0)]
    pred = [(2.5, 0), (-3.5, 0), (-3.6, 0)]
    counts = detection(true, pred, 4, match=match)  # type: ignore[arg-type]
    assert (counts.tp, counts.fp, counts.fn) == (tp, fp, fn)


def test_a_point_at_the_radius_is_found_but_not_by_the_code_of_qu() -> None:
    assert detection([(0, 0)], [(3, 4)], 5).tp == 1
    assert detection([(0, 0)], [(3, 4)], 5, match="qu_code").tp == 0


@quick
@given(points, points, st.integers(1, 8))
def test_hungarian_is_the_best_of_all_matchings(
    true: NDArray[np.float64], pred: NDArray[np.float64], radius: int
) -> None:
    """As many pairs as possible; among these the shortest: against trying out everything."""
    counts = detection(true, pred, radius)
    few, many = sorted([true, pred], key=len)
    best = (0, 0.0)
    for chosen in itertools.permutations(range(len(many)), len(few)):
        d = np.hypot(*(few - many[list(chosen)]).T) if len(few) else np.empty(0)
        best = max(best, (int((d <= radius).sum()), -float(d[d <= radius].sum())))
    assert counts.tp == best[0]
    assert counts.distance == pytest.approx(-best[1])


@quick
@given(points, points)
def test_swapping_truth_and_prediction_swaps_precision_and_recall(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> None:
    one, other = detection(a, b, 3), detection(b, a, 3)
    assert (one.tp, one.fp, one.fn) == (other.tp, other.fn, other.fp)


def test_a_crowd_is_matched_piece_by_piece() -> None:
    """Far more points than a dense matrix would hold."""
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 4000, (20_000, 2))
    counts = detection(true, true + rng.normal(0, 0.5, true.shape), 6)
    assert counts.tp > 19_990


def test_points_pool_and_average_as_named() -> None:
    one, two = detection([(0, 0)], [(1, 0)], 2), detection([(0, 0)], [(9, 0), (9, 9), (2, 0)], 2)
    assert (one + two).precision == 0.5
    assert mean_over_images([one.precision, two.precision]) == pytest.approx(2 / 3)
    assert (one + two).mean_distance == 1.5
    assert (one + two).std_distance == 0.5


def test_nothing_to_find_is_no_score_and_nothing_found_is_zero() -> None:
    none = detection([], [], 5)
    assert none == DetectionCounts()
    assert math.isnan(none.f1)
    assert detection([(0, 0)], [], 5).precision == 0
    assert detection([], [(0, 0)], 5).recall == 0
    assert mean_over_images([0.5, none.f1]) == 0.5
    assert math.isnan(mean_over_images([]))


def test_a_radius_that_finds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        detection([(0, 0)], [(0, 0)], 0)
    with pytest.raises(ValueError, match="qu_paper"):
        detection([(0, 0)], [(0, 0)], 1, match="best")  # type: ignore[arg-type]


@quick
@given(points, points, st.data())
def test_the_curve_is_the_hungarian_rule_at_every_threshold(
    true: NDArray[np.float64], pred: NDArray[np.float64], data: st.DataObject
) -> None:
    score = np.array([data.draw(st.integers(0, 4)) for _ in pred], float)
    curve = precision_recall(score, ranked_hits(true, pred, score, 4), len(true))
    assert (np.diff(curve.threshold) < 0).all()
    assert set(curve.threshold) == set(score)
    for threshold, precision, recall in zip(
        curve.threshold, curve.precision, curve.recall, strict=True
    ):
        counts = detection(true, pred[score >= threshold], 4)
        assert precision == counts.precision
        assert recall == counts.recall


def test_average_precision_by_hand() -> None:
    """Hit, miss, hit of two: precision 1 at recall .5, and 2/3 at recall 1."""
    curve = precision_recall([0.9, 0.8, 0.7], [True, False, True], 2)
    assert curve.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


# --- Instances


@quick
@given(label_maps(), label_maps())
def test_the_table_of_overlaps_counts_every_pixel(true: Labels, pred: Labels) -> None:
    table = overlaps(true, pred)
    both = (true > 0) & (pred > 0)
    assert table.common.sum() == both.sum()
    assert table.true_area.sum() == (true > 0).sum()
    names = [(t, p) for t in np.unique(true[true > 0]) for p in np.unique(pred[pred > 0])]
    by_hand = [int(((true == t) & (pred == p)).sum()) for t, p in names]
    assert table.common.tolist() == [count for count in by_hand if count]


def brute_aji(true: Labels, pred: Labels) -> float:
    """Kumar 2017, as written: for each nucleus the prediction with the largest Jaccard index."""
    part = whole = 0
    used = set()
    for t in np.unique(true[true > 0]):
        found = [
            ((np.sum((true == t) & (pred == p)) / np.sum((true == t) | (pred == p))), -p)
            for p in np.unique(pred[(true == t) & (pred > 0)])
        ]
        if not found:
            whole += np.sum(true == t)
            continue
        p = -max(found)[1]
        used.add(p)
        part += np.sum((true == t) & (pred == p))
        whole += np.sum((true == t) | (pred == p))
    whole += sum(np.sum(pred == p) for p in np.unique(pred[pred > 0]) if p not in used)
    return float(part / whole) if whole else 1.0


@quick
@given(label_maps(), label_maps())
def test_aji_is_what_its_paper_says(true: Labels, pred: Labels) -> None:
    assert instances(true, pred).scores()["aji"] == pytest.approx(brute_aji(true, pred))


@quick
@given(label_maps(), label_maps())
def test_readings_of_aji_are_ordered(true: Labels, pred: Labels) -> None:
    """What each reading charges more than the next makes it smaller."""
    scores = instances(true, pred).scores()
    assert scores["aji_qu_code"] <= scores["aji"] + 1e-12
    assert all(0 <= scores[k] <= 1 for k in scores if k.startswith("aji"))


@quick
@given(label_maps())
def test_a_map_agrees_with_itself(labels: Labels) -> None:
    scores = instances(labels, labels).scores()
    if labels.any():
        assert scores == pytest.approx(dict.fromkeys(scores, 1.0))
    else:
        assert scores["aji"] == 1
        assert math.isnan(scores["pq"])


@quick
@given(label_maps(), label_maps(), st.permutations(range(1, 40, 5)))
def test_scores_do_not_depend_on_how_labels_are_numbered(
    true: Labels, pred: Labels, names: list[int]
) -> None:
    lut = np.array([0, *names])
    one, other = instances(true, pred).scores(), instances(lut[true], pred).scores()
    for name in ("pq", "ncs", "dsb_map", "f1", "sq"):
        assert one[name] == pytest.approx(other[name], nan_ok=True)


@quick
@given(label_maps(), label_maps())
def test_panoptic_quality_is_symmetric(true: Labels, pred: Labels) -> None:
    assert instances(true, pred).pq == pytest.approx(instances(pred, true).pq, nan_ok=True)


def test_only_one_side_empty_is_zero() -> None:
    for one, other in ((two_squares(), blank()), (blank(), two_squares())):
        scores = instances(one, other).scores()
        assert scores["aji"] == scores["aji_plus"] == scores["aji_qu_code"] == 0
        assert scores["pq"] == scores["object_dice"] == scores["dsb_map"] == 0


def test_an_instance_in_two_parts_is_one() -> None:
    labels = two_squares()
    labels[labels > 0] = 7
    assert instances(labels, labels).true == 1


def test_instances_pool() -> None:
    hit, miss = instances(two_squares(), two_squares()), instances(two_squares(), blank())
    pooled = hit + miss + InstanceCounts()
    assert (pooled.true, pooled.predicted, pooled.hits[0]) == (4, 2, 2)
    assert pooled.scores()["aji"] == 0.5
    assert pooled.recall == 0.5
    assert pooled.precision == 1


def test_half_an_overlap_is_no_hit() -> None:
    """IoU has to exceed .5: at .5 two predictions could claim one nucleus."""
    true, pred = blank(), blank()
    true[0:10, 0:10], pred[0:10, 0:5] = 1, 1
    assert instances(true, pred).hits[0] == 0
    pred[0:10, 5] = 1
    assert instances(true, pred).hits[:3] == (1, 1, 0)


def test_classes_are_scored_apart() -> None:
    labels = two_squares()
    one, two = instances_by_class(
        labels, np.array([0, 0, 1]), labels, np.array([0, 0, 0]), classes=2
    )
    assert (one.true, one.predicted, one.hits[0]) == (1, 2, 1)
    assert (two.true, two.predicted, two.hits[0]) == (1, 0, 0)


def test_maps_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        instances(blank(), blank()[:-1])
    with pytest.raises(ValueError, match="negative"):
        instances(two_squares() - 1, blank())
    with pytest.raises(ValueError, match="shape"):
        pixels(blank(), blank()[:-1])


# --- Pixels


@quick
@given(label_maps(), label_maps())
def test_pixels_are_counted_by_what_is_not_background(true: Labels, pred: Labels) -> None:
    counts = pixels(true, pred)
    a, b = true > 0, pred > 0
    by_hand = [int((x & y).sum()) for x in (~a, a) for y in (~b, b)]
    assert [counts.n00, counts.n01, counts.n10, counts.n11] == by_hand
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou), nan_ok=True)
    assert (counts + counts).scores() == pytest.approx(counts.scores(), nan_ok=True)


# --- Between methods


def test_two_methods_are_compared_image_by_image() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0.5, 0.9, 14)
    b = a - rng.uniform(-0.01, 0.05, 14)
    found = compare(a, b)
    assert found.t_test == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert found.low < found.difference < found.high
    assert found == compare(a, b)


def test_a_method_does_not_differ_from_itself() -> None:
    found = compare([0.5, 0.6, math.nan], [0.5, 0.6, 0.7])
    assert (found.images, found.difference, found.t_test, found.wilcoxon) == (2, 0, 1, 1)


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        compare([0.5, 0.6], [0.5])
    with pytest.raises(ValueError, match="two images"):
        compare([0.5, math.nan], [0.5, 0.6])


def test_an_interval_narrows_with_images() -> None:
    rng = np.random.default_rng(0)
    few, many = (bootstrap_interval(rng.normal(0, 1, n)) for n in (10, 1000))
    assert many[1] - many[0] < few[1] - few[0]
    assert many[1] - many[0] == pytest.approx(2 * 1.96 / math.sqrt(1000), rel=0.1)
