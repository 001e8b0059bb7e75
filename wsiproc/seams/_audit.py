"""What the seams of a run looked like."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei
from wsiproc.seams._judge import Verdict
from wsiproc.seams._views import Rows
from wsiproc.tiling import Grid, Tile


@dataclass(frozen=True, slots=True)
class SeamAudit:
    """What the seams of a run looked like; stored with every result.

    Parameters
    ----------
    checked
        Nuclei near a seam, times the neighbours that reported each or should have.
    agreed
        Of those, reported with the same name, centroid and score.
    differing
        Of those, reported with the same name, but another centroid or score.
    conflicts
        Reported under another name, by the neighbour only, or by the owner only.
    doubles
        Removed, because another tile owns a better view.
    rescued
        Adopted, because each tile took the other for the owner.
    not_fully_seen
        Kept nuclei that reach the edge of what their tile decoded.
    united
        Of those, joined with what other tiles saw of them.
    seam_nuclei, interior_nuclei, seam_px, interior_px
        Kept nuclei whose reference pixel is within the hand-over margin of a seam between two
        tiles, and the others; and the model px of cores where these were looked for.
    local
        Whether the model promises that tiles agree.
    """

    checked: int
    agreed: int
    differing: int
    conflicts: int
    doubles: int
    rescued: int
    not_fully_seen: int
    united: int
    seam_nuclei: int
    interior_nuclei: int
    seam_px: int
    interior_px: int
    local: bool

    @property
    def errors(self) -> int:
        """Broken promises of a local model; 0 for others, which promise nothing."""
        found = self.differing + self.conflicts + self.doubles + self.rescued + self.not_fully_seen
        return found if self.local else 0

    @property
    def seam_density(self) -> float | None:
        """Nuclei per million model px near seams; None without any seam."""
        return 1e6 * self.seam_nuclei / self.seam_px if self.seam_px else None

    @property
    def interior_density(self) -> float | None:
        """Nuclei per million model px elsewhere."""
        return 1e6 * self.interior_nuclei / self.interior_px if self.interior_px else None

    def to_dict(self) -> dict[str, int | float | bool | None]:
        """All of it for the manifest."""
        return asdict(self) | {
            "errors": self.errors,
            "seam_density_per_mpx": self.seam_density,
            "interior_density_per_mpx": self.interior_density,
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """Nuclei near seams and elsewhere, and the px of cores where these were looked for."""

    seam: int
    interior: int
    seam_px: int
    interior_px: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.seam + other.seam,
            self.interior + other.interior,
            self.seam_px + other.seam_px,
            self.interior_px + other.interior_px,
        )


def _interior(tile: Tile, grid: Grid, where: Rows) -> Box:
    """The core without a hand-over margin along each side on which another tile lies."""

    def beside(row: int, column: int) -> int:
        there = 0 <= row < grid.rows and 0 <= column < grid.columns and where[row, column] >= 0
        return grid.handover if there else 0

    r, c, core = tile.row, tile.column, tile.core
    return Box(
        core.x0 + beside(r, c - 1),
        core.y0 + beside(r - 1, c),
        core.x1 - beside(r, c + 1),
        core.y1 - beside(r + 1, c),
    )


def count(core: Nuclei, tile: Tile, grid: Grid, where: Rows) -> Counts:
    """Of the nuclei that one tile owns, before anything is decided."""
    inner = _interior(tile, grid, where)
    inside = int(inner.holds(core.ref_x, core.ref_y).sum())
    inner_px = (inner & grid.slide).area
    return Counts(len(core) - inside, inside, (tile.core & grid.slide).area - inner_px, inner_px)


def audit_of(
    verdict: Verdict,
    counted: Counts,
    tiles: tuple[Tile, ...],
    grid: Grid,
    where: Rows,
    local: bool,
) -> SeamAudit:
    """The audit of a verdict, with what `counted` owned nuclei become by it."""
    views = verdict.views
    for rows, sign in ((verdict.removed, -1), (verdict.adopted, 1)):
        for view in np.flatnonzero(rows):
            inner = _interior(tiles[verdict.owner[view]], grid, where)
            inside = bool(inner.holds(views.ref_x[view : view + 1], views.ref_y[view : view + 1]))
            counted = counted + Counts(sign * (not inside), sign * inside, 0, 0)
    return SeamAudit(
        checked=verdict.checked,
        agreed=verdict.agreed,
        differing=verdict.differing,
        conflicts=verdict.conflicts,
        doubles=int(verdict.removed.sum()),
        rescued=int(verdict.adopted.sum()),
        not_fully_seen=verdict.not_fully_seen,
        united=sum(len(shown) > 1 for _, shown in verdict.pieces),
        seam_nuclei=counted.seam,
        interior_nuclei=counted.interior,
        seam_px=counted.seam_px,
        interior_px=counted.interior_px,
        local=local,
    )
