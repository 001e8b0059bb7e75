"""The flow: a slide becomes a table.  Read this page first.

::

    plan_slide ──► process_tile, once a tile, anywhere, in any order ──► finish_slide

Nothing here knows who runs it.  The three functions talk through files under
``OUT/.wsiproc/JOB_KEY`` and hand small receipts to their caller, so a run can stop at any moment
and the next one goes on from what it finds there.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

from wsiproc.card import Card
from wsiproc.decode import Views, decode, reach_px
from wsiproc.errors import AlreadyThereError, ConfigError, SlideReadError
from wsiproc.finish import (
    MAPS,
    MM2,
    Finished,
    Work,
    finish,
    summary_of,
    tiles_folder,
    timed,
)
from wsiproc.inference import network_says, store_maps, whole_outputs
from wsiproc.nuclei import Nuclei
from wsiproc.plan import (
    Job,
    Planned,
    check_unchanged,
    fingerprint_of,
    make_plan,
    read_plan,
    write_plan,
)
from wsiproc.seams import split
from wsiproc.slide import describe
from wsiproc.store.fragments import finished, unread, write_fragment, write_unread
from wsiproc.store.manifest import job_key, read_manifest, work_folder
from wsiproc.store.staging import claim
from wsiproc.tiling import Grid, make_grid, tile_at, tiles_of, windows_of
from wsiproc.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Opened:
    """A slide that has its plan, and what is left to do for it.

    Parameters
    ----------
    job_key
        Digest of all that decides the result; names the work folder.
    waiting
        (row, column) of the tiles that have no fragment yet; those with most windows first, so
        that no worker is left with a large one at the end, and among equals row by row.
    tiles_total
        Tiles of the slide in this grid.
    warnings
        What people should know, from the plan.
    seconds
        What planning took.
    done
        The result, where this very job was published before.
    batch
        Windows the network takes at once.
    """

    job_key: str
    waiting: tuple[tuple[int, int], ...] = ()
    tiles_total: int = 0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    done: Finished | None = None
    batch: int = 0


@dataclass(frozen=True, slots=True)
class TileReceipt:
    """A tile whose fragment is on disk.

    Parameters
    ----------
    row, column
        Which tile.
    nuclei
        Nuclei its core owns.
    windows
        Windows the network was given.
    seconds
        By stage: ``read`` (waiting for pixels), ``network``, ``decode``, ``write``.
    pid, peak_bytes
        The process that did it, and the most memory it has held so far.
    unread
        Whether it was left out, because its pixels cannot be read.
    """

    row: int
    column: int
    nuclei: int
    windows: int
    seconds: dict[str, float]
    pid: int
    peak_bytes: int
    unread: bool = False


def plan_slide(job: Job, bench: Workbench) -> Opened:
    """Open the slide and the model, make or find the plan, and see which tiles are left.

    Raises
    ------
    SlideError, ModelError, ConfigError
        If slide, model and settings don't go together; `NotReadyError` if the slide's files are
        not those that the job has seen.
    AlreadyThereError
        If another result stands where this one would go, and the job doesn't replace it.
    """
    began = time.monotonic()
    model = bench.model(job)
    if job.execution.maps and model.card.kind == "instances":
        raise ConfigError(f"{model.name!r} names nuclei and has no maps: leave --maps out")
    with bench.slide(job) as slide, bench.session(job) as session:
        digest = fingerprint_of(job)
        key = job_key(digest, model.digest, job.science, session.facts.numerics)
        if claim(job.out, job.slide_id, key, replace=job.replace) == "done":
            manifest = read_manifest(job.out / job.slide_id)
            if job.execution.maps and not any(name.startswith(MAPS) for name in manifest.files):
                raise AlreadyThereError(
                    f"the result {job.slide_id!r} is there, but without maps: name another --out"
                )
            return Opened(key, done=Finished(summary_of(manifest, "already done")))
        folder = work_folder(job.out, key)
        planned = read_plan(folder, job.science)
        if planned is None:
            planned = make_plan(
                job,
                slide,
                model.card,
                model.sha256,
                session.facts,
                fingerprint=digest,
                job_key=key,
            )
            write_plan(folder, planned)
    grid = grid_of(job, planned, model.card)
    tiles = tiles_of(grid, planned.touches)
    folder = tiles_folder(job, key, grid)
    there = finished(folder)
    if job.science.max_bad_tiles:
        # What could not be read may be read today.
        there -= {tile for tile in there if unread(folder, *tile)}
    left = [tile for tile in tiles if (tile.row, tile.column) not in there]
    left.sort(key=lambda tile: -len(windows_of(grid, tile, planned.touches)))
    return Opened(
        job_key=key,
        waiting=tuple((tile.row, tile.column) for tile in left),
        tiles_total=len(tiles),
        warnings=planned.plan.warnings,
        seconds=time.monotonic() - began,
        batch=planned.plan.session.batch,
    )


def process_tile(
    job: Job, opened: Opened, row: int, column: int, bench: Workbench, *, leave_out: bool = False
) -> TileReceipt:
    """Read, run, decode and store one tile.

    Parameters
    ----------
    leave_out
        Whether a tile whose pixels cannot be read is stored as such, instead of failing.

    Raises
    ------
    SlideReadError
        If a region of the slide cannot be read.
    DeviceError
        If this worker's numerics are not those of the plan: its nuclei might differ.
    StoreError
        If the fragment cannot be written.
    """
    seconds = dict.fromkeys(("read", "network", "decode", "write"), 0.0)
    folder = work_folder(job.out, opened.job_key)
    planned = bench.plan(folder, job)
    card = bench.model(job).card
    grid = grid_of(job, planned, card)
    tile = tile_at(grid, row, column)
    windows = windows_of(grid, tile, planned.touches)
    box = whole_outputs(tile.decoded & grid.slide, card.stride)
    tiles = tiles_folder(job, opened.job_key, grid)
    try:
        said = network_says(job, planned, card, box, windows, bench, seconds)
    except SlideReadError:
        if not leave_out:
            raise
        write_unread(tiles, row, column, polygons=card.polygons)
        return TileReceipt(row, column, 0, 0, seconds, os.getpid(), peak_bytes(), unread=True)
    with timed(seconds, "decode"):
        nuclei = (
            decode(card, said, box, grid.slide) if said else Nuclei.none(polygons=card.polygons)
        )
        nuclei = nuclei.take(planned.keeps(nuclei.ref_x, nuclei.ref_y))
        parts = split(nuclei, tile, grid)
    with timed(seconds, "write"):
        if job.execution.maps and not isinstance(said, Views):
            store_maps(tiles / MAPS, said, card, grid, tile, planned)
        write_fragment(tiles, row, column, parts.core, parts.handed)
    return TileReceipt(
        row, column, len(parts.core), len(windows), seconds, os.getpid(), peak_bytes()
    )


def finish_slide(job: Job, opened: Opened, work: Work, bench: Workbench) -> Finished:
    """Settle the seams, write the table, and publish it.

    Raises
    ------
    StoreError
        If it cannot be written, or a fragment has gone.
    NotReadyError
        If the slide's files have changed since the job has seen them.
    """
    check_unchanged(job)
    planned = bench.plan(work_folder(job.out, opened.job_key), job)
    model = bench.model(job)
    grid = grid_of(job, planned, model.card)
    return finish(job, planned, model, grid, tiles_of(grid, planned.touches), work)


def preview(job: Job, bench: Workbench) -> dict[str, Any]:
    """What a run would do; looks at the slide and writes nothing."""
    model = bench.model(job)
    with bench.slide(job) as slide, bench.session(job) as session:
        planned = make_plan(
            job, slide, model.card, model.sha256, session.facts, fingerprint="", job_key=""
        )
        facts = describe(slide.facts)
    grid = grid_of(job, planned, model.card)
    tiles = tiles_of(grid, planned.touches)
    frame = planned.plan.view.frame
    return {
        "slide": facts,
        "model": model.card.name,
        "device": planned.plan.session.device,
        "numerics": planned.plan.session.numerics,
        "level": planned.plan.view.level,
        "resampled": not planned.plan.view.native,
        "um_per_model_px": frame.um_per_px,
        "tissue_mm2": planned.region.area_um2(frame) / MM2,
        "grid": grid.key,
        "tiles_total": len(tiles),
        "windows": sum(len(windows_of(grid, tile, planned.touches)) for tile in tiles),
        "area_factor": grid.area_factor,
        "warnings": list(planned.plan.warnings),
    }


def grid_of(job: Job, planned: Planned, card: Card) -> Grid:
    """The grid a job lays on its slide: the same in every process."""
    return make_grid(
        planned.plan.view.frame,
        card,
        window=planned.plan.session.window,
        reach_px=reach_px(card),
        tile_px=job.execution.tile_px,
    )


def peak_bytes() -> int:
    """The most memory this process has held resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
