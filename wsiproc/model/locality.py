"""Whether a model is local: proven by looking at the same pixels through shifted windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.errors import ModelError
from wsiproc.geometry import Box
from wsiproc.model.session import Session


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """What shifted windows said of the pixels they share.

    Parameters
    ----------
    windows
        How many were run.
    compared
        How many values were seen by two windows.
    different
        How many of those differ in any bit.
    max_abs_diff
        The largest difference; infinite where one value is no number.
    """

    windows: int
    compared: int
    different: int
    max_abs_diff: float

    @property
    def local(self) -> bool:
        """Whether everything was the same, bit for bit; what `Card.local` claims."""
        return self.compared > 0 and self.different == 0


def shift_check(session: Session, card: Card, pixels: NDArray[np.uint8]) -> ShiftReport:
    """Run windows of different origins over `pixels` and compare their valid parts.

    Origins are multiples of the card's step; of each window the card's margin is left out.  So a
    model whose receptive field is larger than its card says, whose poolings don't fit its step,
    or that normalises by statistics of the window, is found out.

    Parameters
    ----------
    pixels
        ``[H, W, 3]`` uint8, larger than a window by a step at least, and not blank: use tissue.

    Raises
    ------
    ModelError
        If `pixels` are too small.
    """
    window = session.facts.window
    step = math.lcm(card.step, card.stride)
    room_y, room_x = (
        (edge - window) // step * step if edge >= window else 0 for edge in pixels.shape[:2]
    )
    if not room_x and not room_y:
        raise ModelError(
            f"to compare shifted windows of {window} px, an image has to be {window + step} px "
            f"wide or high at least, not {pixels.shape[1]} x {pixels.shape[0]}"
        )
    seen: list[tuple[Box, dict[str, NDArray[np.float32]]]] = []
    for x, y in _origins((room_x, room_y), step, window - 2 * card.margin):
        maps = session.run(pixels[None, y : y + window, x : x + window])
        seen.append((Box.of_size(x, y, window, window), maps))
    compared = different = 0
    worst = 0.0
    for i, (box, maps) in enumerate(seen):
        for other_box, others in seen[:i]:
            shared = box.grown(-card.margin) & other_box.grown(-card.margin)
            if shared.empty:
                continue
            for name, values in maps.items():
                ours = _part(values, shared, box, card.stride)
                theirs = _part(others[name], shared, other_box, card.stride)
                unequal = ours.view(np.uint32) != theirs.view(np.uint32)
                compared += ours.size
                different += int(unequal.sum())
                if unequal.any():
                    apart = np.abs(ours[unequal] - theirs[unequal])
                    worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max()))
    return ShiftReport(len(seen), compared, different, worst)


def _origins(room: tuple[int, int], step: int, valid: int) -> Sequence[tuple[int, int]]:
    """Origins (x, y): none, one step, about half and nearly all of what still overlaps."""
    reach_x, reach_y = (min(edge, (valid - 1) // step * step) for edge in room)
    half_x, half_y = (reach // (2 * step) * step for reach in (reach_x, reach_y))
    one_x, one_y = (min(step, reach) for reach in (reach_x, reach_y))
    wanted = [(0, 0), (one_x, 0), (0, one_y), (half_x, half_y), (reach_x, half_y)]
    return list(dict.fromkeys([*wanted, (half_x, reach_y)]))


def _part(values: NDArray[np.float32], shared: Box, box: Box, stride: int) -> NDArray[np.float32]:
    """The values ``[n, C, h, w]`` of `shared` in a window's map over `box`."""
    rows, columns = (
        slice(-(-span.start // stride), span.stop // stride) for span in shared.slices_in(box)
    )
    return np.ascontiguousarray(values[:, :, rows, columns])
