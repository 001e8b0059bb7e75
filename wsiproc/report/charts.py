"""Histograms as inline SVG: no script draws them, and they stay sharp in print."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wsiproc.report.measures import Quartiles

_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _FOOT = 320, 132, 6, 6, 18, 20
_BINS: Final = 32
_MOST_BINS: Final = 48


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Values of one class, and its name and colour."""

    name: str
    color: tuple[int, int, int]
    values: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Axis:
    """Bins of a histogram: `bins` of width `step` from `low`; `more` of the values lie beyond."""

    low: float
    step: float
    bins: int

    @property
    def high(self) -> float:
        """Where the last bin ends."""
        return self.low + self.step * self.bins

    def counts(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """``[bins]`` values in each bin; those beyond the last are counted in it."""
        at = np.floor((np.asarray(values, np.float64) - self.low) / self.step + 1e-9)
        return np.bincount(np.clip(at, 0, self.bins - 1).astype(np.intp), minlength=self.bins)


def axis_of(values: NDArray[np.floating], *, unit_interval: bool = False) -> Axis:
    """Bins of 1, 2, 2.5 or 5 times a power of ten that show all but the largest .5 % of values.

    Parameters
    ----------
    unit_interval
        For measures from 0 to 1: bins end at 1, and begin where values do.
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return Axis(0.0, 1 / _BINS if unit_interval else 1.0, _BINS)
    if unit_interval:
        low = math.floor(10 * min(0.9, float(np.percentile(there, 0.5)))) / 10
        bins = round((1 - low) / 0.1) * max(1, _BINS // round((1 - low) / 0.1))
        return Axis(low, (1 - low) / bins, bins)
    largest = float(np.percentile(there, 99.5))
    if not largest > 0:
        return Axis(0.0, 1.0, 1)
    rough = largest / _MOST_BINS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * (1 - 1e-9))
    return Axis(0.0, step, math.floor(largest / step) + 1)


def histogram(
    title: str, unit: str, parts: Sequence[Part], axis: Axis, *, what: str = "nuclei"
) -> str:
    """A histogram of all parts stacked on each other, with its quartiles; a figure of the page."""
    parts = [Part(p.name, p.color, p.values[np.isfinite(p.values)]) for p in parts]
    every = np.concatenate([p.values for p in parts]) if parts else np.empty(0)
    head = f"<figcaption><b>{html.escape(title)}</b> {_spread(every, unit)}</figcaption>"
    if not len(every):
        return f'<figure class="chart">{head}</figure>'
    counts = np.array([axis.counts(p.values) for p in parts])
    tall = max(1, int(counts.sum(axis=0).max()))
    plot_high, plot_wide = _HIGH - _TOP - _FOOT, _WIDE - _LEFT - _RIGHT
    base = _TOP + plot_high
    bar = plot_wide / axis.bins
    drawn = []
    for number in range(axis.bins):
        top = float(base)
        for part, count in zip(parts, counts[:, number].tolist(), strict=True):
            if count:
                edge = plot_high * count / tall
                top -= edge
                drawn.append(
                    f'<rect x="{_LEFT + number * bar + 0.4:.1f}" y="{top:.2f}" '
                    f'width="{bar - 0.8:.1f}" height="{edge:.2f}" fill="{rgb(part.color)}">'
                    f"<title>{_bin(axis, number)} {html.escape(unit)}: {count:,} "
                    f"{html.escape(part.name)}</title></rect>"
                )
    beyond = int((every > axis.high).sum())
    more = f", {beyond:,} larger ones in the last bar" if beyond else ""
    label = html.escape(f"{title}: histogram of {len(every):,} {what}{more}")
    return (
        f'<figure class="chart">{head}<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" '
        f'aria-label="{label}">{_middle(every, axis, base)}{"".join(drawn)}'
        f"{_ticks(axis, base, beyond)}</svg></figure>"
    )


def spark(values: NDArray[np.floating], axis: Axis, color: tuple[int, int, int]) -> str:
    """A histogram the size of a word; empty without values."""
    there = values[np.isfinite(values)]
    if not len(there):
        return ""
    counts = axis.counts(there)
    tall, bar = int(counts.max()), 100 / axis.bins
    steps = "".join(
        f"L{number * bar:.1f},{24 - 23 * count / tall:.1f}h{bar:.1f}"
        for number, count in enumerate(counts.tolist())
    )
    return (
        f'<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0,24{steps}V24Z" fill="{rgb(color)}"/></svg>'
    )


def rgb(color: tuple[int, int, int]) -> str:
    """A colour for SVG and CSS."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def plain(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 0 if value == 0 else 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, min(3, digits))}f}"


def _spread(values: NDArray[np.floating], unit: str) -> str:
    found = Quartiles.of(np.asarray(values, np.float32))
    if found is None:
        return "<span>none</span>"
    after = f" {html.escape(unit)}" if unit else ""
    return (
        f"<span>median <b>{plain(found.middle)}</b>{after} "
        f"({plain(found.low)}–{plain(found.high)})</span>"
    )


def _middle(values: NDArray[np.floating], axis: Axis, base: float) -> str:
    """The middle half of all values, as a band, and their median, as a line."""
    found = Quartiles.of(np.asarray(values, np.float32))
    assert found is not None, "there are values"
    left, middle, right = (_x(v, axis) for v in (found.low, found.middle, found.high))
    return (
        f'<rect class="half" x="{left:.1f}" y="{_TOP - 8}" width="{max(0.5, right - left):.1f}" '
        f'height="{base - _TOP + 8:.1f}"/><line class="median" x1="{middle:.1f}" '
        f'x2="{middle:.1f}" y1="{_TOP - 12}" y2="{base:.1f}"/>'
    )


def _x(value: float, axis: Axis) -> float:
    inside = min(max(value, axis.low), axis.high)
    return _LEFT + (inside - axis.low) / (axis.high - axis.low) * (_WIDE - _LEFT - _RIGHT)


def _ticks(axis: Axis, base: float, beyond: int) -> str:
    """A line below the bars, and four to six numbers."""
    wide = len(f"{axis.high:,.10g}") > 6
    rough = (axis.high - axis.low) / (3 if wide else 5)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= rough * (1 - 1e-9))
    drawn = [f'<line x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{base}" y2="{base}"/>']
    number = math.ceil(axis.low / step - 1e-9)
    while (value := number * step) <= axis.high + 1e-9:
        x = _x(value, axis)
        anchor = "start" if x < _LEFT + 8 else "end" if x > _WIDE - _RIGHT - 8 else "middle"
        said = f"{value:,.10g}" + ("+" if beyond and anchor == "end" else "")
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 3}"/>'
            f'<text x="{x:.1f}" y="{base + 15}" text-anchor="{anchor}">{said}</text>'
        )
        number += 1
    return "".join(drawn)


def _bin(axis: Axis, number: int) -> str:
    low = axis.low + number * axis.step
    if number == axis.bins - 1 and axis.high != 1:
        return f"{low:.6g} and more"
    return f"{low:.6g} to {low + axis.step:.6g}"
