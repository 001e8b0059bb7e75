"""One thing to at most one other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def firsts(group: Ints, key: NDArray[np.float64] | Ints) -> Ints:
    """Row of the smallest `key` of each group, the first of equal ones; by group."""
    order = np.lexsort((key, group))
    return order[np.flatnonzero(np.diff(group[order], prepend=-1))].astype(np.int64)


def heaviest(i: Ints, j: Ints, weight: Floats) -> Ints:
    """Rows of the one-to-one choice among pairs (i, j) with the largest total weight (> 0).

    Solved one connected part of the graph at a time; these are tiny, which is what makes a whole
    slide cheap.
    """
    if not len(i):
        return np.empty(0, np.int64)
    left, right = int(i.max()) + 1, int(j.max()) + 1
    graph = coo_array((np.ones(len(i), np.bool_), (i, left + j)), (left + right, left + right))
    part = connected_components(graph, directed=False)[1][i]
    order = np.argsort(part, kind="stable")
    chosen: list[Ints] = []
    for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        if len(rows) == 1:
            chosen.append(rows)
            continue
        a, at_a = np.unique(i[rows], return_inverse=True)
        b, at_b = np.unique(j[rows], return_inverse=True)
        dense = np.zeros((len(a), len(b)))
        dense[at_a, at_b] = weight[rows]
        row_of = np.full(dense.shape, -1, np.int64)
        row_of[at_a, at_b] = rows
        picked = row_of[linear_sum_assignment(dense, maximize=True)]
        chosen.append(picked[picked >= 0])
    return np.concatenate(chosen).astype(np.int64)
