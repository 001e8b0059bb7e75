"""Columns stay in step, and a name says where and what a nucleus is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiproc.nuclei import CLASS_BITS, X_BITS, Y_BITS, Nuclei, concat, pack_id
from wsiproc.testing.strategies import nuclei

quick = settings(max_examples=50, deadline=None)
COLUMNS = ("ref_x", "ref_y", "x", "y", "class_id", "score", "cut")


def rows(found: Nuclei) -> list[tuple[object, ...]]:
    """Each nucleus with all it has, outline and all."""
    plain = zip(*(getattr(found, name).tolist() for name in COLUMNS), strict=True)
    if found.ring is None or found.ring_start is None:
        return [(*row, None) for row in plain]
    outlines = [
        found.ring[a:b].tolist()
        for a, b in zip(found.ring_start[:-1], found.ring_start[1:], strict=True)
    ]
    return [(*row, outline) for row, outline in zip(plain, outlines, strict=True)]


@quick
@given(nuclei(), st.data())
def test_taking_rows_takes_them_whole(found: Nuclei, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(found) - 1), max_size=10)) if len(found) else []
    taken = found.take(np.array(wanted, np.intp))
    assert rows(taken) == [rows(found)[k] for k in wanted]
    assert all(getattr(taken, c).dtype == getattr(found, c).dtype for c in COLUMNS)


@quick
@given(nuclei())
def test_a_mask_takes_what_it_marks(found: Nuclei) -> None:
    assert rows(found.take(found.cut)) == [row for row in rows(found) if row[COLUMNS.index("cut")]]


@quick
@given(st.booleans().flatmap(lambda p: st.lists(nuclei(polygons=p), min_size=1, max_size=4)))
def test_joining_puts_parts_one_after_the_other(parts: list[Nuclei]) -> None:
    joined = concat(parts)
    assert rows(joined) == [row for part in parts for row in rows(part)]
    assert joined.polygons == parts[0].polygons


@quick
@given(nuclei())
def test_order_is_by_name_and_keeps_everything(found: Nuclei) -> None:
    ordered = found.in_order()
    assert (np.diff(ordered.ids) > 0).all()
    keys = [(y, x, c) for x, y, _, _, c, *_ in rows(ordered)]
    assert keys == sorted(keys)
    assert {str(row) for row in rows(ordered)} == {str(row) for row in rows(found)}


@quick
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**Y_BITS - 1),
            st.integers(0, 2**X_BITS - 1),
            st.integers(0, 2**CLASS_BITS - 1),
        ),
        unique=True,
        min_size=1,
    )
)
def test_names_are_unique_positive_and_in_reading_order(places: list[tuple[int, int, int]]) -> None:
    y, x, c = np.array(places).T
    names = pack_id(x, y, c).tolist()
    assert len(set(names)) == len(names)
    assert min(names) >= 0
    assert [places[k] for k in np.argsort(names)] == sorted(places)


@pytest.mark.parametrize("polygons", [True, False])
def test_no_nuclei_are_nuclei_too(polygons: bool) -> None:
    none = Nuclei.none(polygons=polygons)
    assert len(none) == len(none.ids) == len(none.in_order()) == 0
    assert none.polygons == concat([none, none]).polygons == polygons


def test_outlines_and_points_do_not_mix() -> None:
    with pytest.raises(ValueError, match="outlines"):
        concat([Nuclei.none(polygons=True), Nuclei.none(polygons=False)])
    with pytest.raises(ValueError, match="nothing to join"):
        concat([])
