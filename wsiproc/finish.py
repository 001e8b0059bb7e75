"""The end of a slide: seams settled, table written, checked and published at once."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiproc.density import DensityGrid
from wsiproc.errors import StoreError
from wsiproc.geometry import Box
from wsiproc.model import Model
from wsiproc.nuclei import Nuclei
from wsiproc.overview import draw_overview
from wsiproc.plan import Job, Planned
from wsiproc.seams import Parts, Seams, join
from wsiproc.store.fragments import read_fragment, unread
from wsiproc.store.manifest import (
    Manifest,
    ModelRecord,
    SlideRecord,
    params_digest,
    work_folder,
)
from wsiproc.store.maps import finish_maps
from wsiproc.store.schema import Provenance
from wsiproc.store.staging import LostRace, Published, discard_work, publish, staging
from wsiproc.store.tables import Written, write_nuclei, write_skipped, write_tissue
from wsiproc.tiling import Grid, Tile

VERSIONS = ("wsiproc", "numpy", "scipy", "numba", "shapely", "pyarrow", "distributed")
MAPS = "maps.ome.zarr"
MM2 = 1e6
"""µm² in a mm²."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has done for a slide before its end; receipts, added up.

    Parameters
    ----------
    tiles_total, tiles_reused
        Tiles of the slide, and those of them that an earlier run had finished.
    windows
        Windows the network was given by this run.
    seconds
        By stage, summed over all workers.
    peaks
        The most memory each process has held resident, by pid.
    began
        When planning began, seconds since the epoch.
    """

    tiles_total: int = 0
    tiles_reused: int = 0
    windows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[int, int] = field(default_factory=dict)
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A published slide: what ``--json`` prints of it."""

    summary: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What one tile contributes to the slide, loaded when it is wanted."""

    folder: Path
    tile: Tile
    seams: Seams

    def load(self) -> Nuclei:
        return self.seams.kept(self.tile, _parts(self.folder, self.tile).core)


def tiles_folder(job: Job, key: str, grid: Grid) -> Path:
    """Where a job's tiles of one grid are kept; those with maps apart from those without."""
    return work_folder(job.out, key) / (f"{grid.key}-maps" if job.execution.maps else grid.key)


def _parts(folder: Path, tile: Tile) -> Parts:
    fragment = read_fragment(folder, tile.row, tile.column)
    if fragment is None:
        raise StoreError(
            f"the result of tile {tile.key} has gone or is damaged: run again, it will be redone"
        )
    return Parts(fragment.core, fragment.handed)


def finish(
    job: Job, planned: Planned, model: Model, grid: Grid, tiles: tuple[Tile, ...], work: Work
) -> Finished:
    """Join the tiles, write the tables and the picture, and publish them with their manifest.

    Raises
    ------
    StoreError
        If a fragment has gone, or the result cannot be written.
    """
    plan, card = planned.plan, model.card
    frame, facts = plan.view.frame, plan.facts
    folder = tiles_folder(job, plan.job_key, grid)
    seconds = dict(work.seconds)
    skipped: tuple[Tile, ...] = ()
    if job.science.max_bad_tiles:
        skipped = tuple(tile for tile in tiles if unread(folder, tile.row, tile.column))
        # The seams then take them for tiles that nobody made, as beside the glass.
        tiles = tuple(tile for tile in tiles if tile not in skipped)
    with timed(seconds, "seams"):
        radius = card.post.radius_um / card.mpp if card.post.kind == "points" else 0.0
        seams = join(
            tiles,
            lambda tile: _parts(folder, tile),
            grid,
            local=card.tiles_agree,
            radius_px=radius,
        )
    provenance = Provenance(
        slide_id=job.slide_id,
        slide_sha256=plan.fingerprint,
        level0_size=(facts.width, facts.height),
        mpp_source=facts.mpp_source,
        bounds_offset=_offset(facts.bounds),
        model_sha256=model.sha256,
        params_sha256=params_digest(job.science),
    )
    density = DensityGrid.over(facts.width * frame.mpp_x, facts.height * frame.mpp_y)

    def hear(x: NDArray[np.float64], y: NDArray[np.float64], _class: NDArray[np.int16]) -> None:
        density.add(x, y)

    with staging(job.out, job.slide_id) as stage:
        with timed(seconds, "store"):
            written = write_nuclei(
                stage,
                [_Kept(folder, tile, seams) for tile in tiles],
                frame=frame,
                card=card,
                provenance=provenance,
                heard=hear,
            )
            regions = planned.region.polygons_um(frame)
            write_tissue(stage, regions, frame=frame, card=card, provenance=provenance)
            if skipped:
                left_out = [(tile, tile.core & grid.slide) for tile in skipped]
                write_skipped(stage, left_out, frame=frame, card=card, provenance=provenance)
        with timed(seconds, "overview"):
            picture = draw_overview(
                planned.picture, planned.region, density, frame, title=job.slide_id
            )
            (stage / "overview.png").write_bytes(picture)
        if job.execution.maps and (folder / MAPS).exists():
            with timed(seconds, "maps"):
                finish_maps(
                    folder / MAPS, [p.name for p in (folder / MAPS).iterdir() if p.is_dir()]
                )
                (folder / MAPS).rename(stage / MAPS)
        # By the wall clock, since it began in another process: that may have been set back.
        seconds["total"] = max(0.0, time.time() - work.began)
        manifest = _manifest(
            job, planned, model, grid, work, seams, written, seconds, bad_tiles=len(skipped)
        )
        published = publish(stage, manifest, job.out, replace=job.replace)
    discard_work(job.out, plan.job_key)
    match published:
        case Published(manifest=ours):
            return Finished(summary_of(ours, "done"))
        case LostRace(manifest=theirs):
            return Finished(summary_of(theirs, "already done"))


def _manifest(
    job: Job,
    planned: Planned,
    model: Model,
    grid: Grid,
    work: Work,
    seams: Seams,
    written: Written,
    seconds: dict[str, float],
    *,
    bad_tiles: int,
) -> Manifest:
    plan, card, facts = planned.plan, model.card, planned.plan.facts
    frame, session = plan.view.frame, plan.session
    area = planned.region.area_um2(frame) / MM2
    warnings = list(plan.warnings)
    if seams.audit.errors:
        warnings.append(
            f"{seams.audit.errors} nuclei near seams differ between tiles, though the model's card "
            "promises that they agree: see the seam audit"
        )
    if bad_tiles:
        warnings.append(
            f"{bad_tiles} of {work.tiles_total} tiles cannot be read and "
            "were left out, though their area counts in the density: see skipped.parquet"
        )
    return Manifest(
        slide_id=job.slide_id,
        job_key=plan.job_key,
        slide=SlideRecord(
            sha256=plan.fingerprint,
            width=facts.width,
            height=facts.height,
            mpp=facts.mpp,
            mpp_source=facts.mpp_source,
            bounds_offset_px=_offset(facts.bounds),
            vendor=facts.vendor,
            objective=facts.objective,
        ),
        model=ModelRecord(
            name=card.name,
            version=card.version,
            sha256=model.sha256,
            card=card.model_dump(mode="json"),
        ),
        um_to_px=(1 / frame.mpp_x, 0.0, 0.0, 0.0, 1 / frame.mpp_y, 0.0),
        science=job.science.model_dump(mode="json"),
        numerics=session.numerics,
        nuclei=written.nuclei,
        classes={c.name: n for c, n in zip(card.classes, written.by_class, strict=True)},
        execution={
            "engine": session.engine,
            "device": session.device,
            "precision": session.precision,
            "window": session.window,
            "batch": session.batch,
            "threads": job.execution.threads or session.threads,
            "workers": len(work.peaks),
            "backend": facts.backend,
            "grid": grid.key,
            "area_factor": round(grid.area_factor, 4),
            "tiles_total": work.tiles_total,
            "tiles_reused": work.tiles_reused,
            "windows": work.windows,
            "peak_bytes": sum(work.peaks.values()),
        },
        software={"python": platform.python_version(), **_versions()},
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        seams=seams.audit.to_dict(),
        audit={
            "tissue_mm2": round(area, 6),
            "nuclei_per_mm2": round(written.nuclei / area, 3) if area else None,
            "outlines_repaired": written.repaired,
            "outlines_collapsed": written.collapsed,
            **({"bad_tiles": bad_tiles} if job.science.max_bad_tiles else {}),
        },
        warnings=tuple(warnings),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def summary_of(manifest: Manifest, status: str) -> dict[str, Any]:
    """A result in one flat object, for ``--json`` and the closing summary."""
    return {
        "status": status,
        "slide_id": manifest.slide_id,
        "model": manifest.model.name,
        "model_sha256": manifest.model.sha256,
        "nuclei": manifest.nuclei,
        "classes": manifest.classes,
        **manifest.audit,
        **manifest.execution,
        "numerics": manifest.numerics,
        "seconds": manifest.seconds,
        "seam_audit": manifest.seams,
        "files": {name: file.model_dump(mode="json") for name, file in manifest.files.items()},
        "warnings": list(manifest.warnings),
    }


def _offset(bounds: Box | None) -> tuple[int, int]:
    return (0, 0) if bounds is None else (bounds.x0, bounds.y0)


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add what passes inside to ``seconds[stage]``."""
    began = time.monotonic()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
