"""A small slide, an instant model, and what an undisturbed run makes of them."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiproc import overview, pipeline
from wsiproc.api import run
from wsiproc.config import Execution, RunConfig, Science
from wsiproc.finish import Work
from wsiproc.plan import Job
from wsiproc.slide._drawn import draw_slide
from wsiproc.store.manifest import read_manifest, verify
from wsiproc.testing.models import one_layer_model
from wsiproc.workbench import Workbench

SETTINGS = RunConfig(execution=Execution(workers=0, threads=1, tile_px=128, window_px=128))
NAME = "slide"
UNDISTURBED = "undisturbed"


@dataclass(frozen=True)
class Scene:
    """What all rounds share.

    Parameters
    ----------
    folder
        Where rounds may make folders of their own.
    slide, model
        The files.
    wanted
        SHA-256 of each table of an undisturbed run.
    seconds
        From the first fragment to the end of that run.
    """

    folder: Path
    slide: Path
    model: Path
    wanted: dict[str, str]
    seconds: float

    def run(self, out: Path, **more: Any) -> dict[str, Any]:
        """Run the slide in this process; its summary."""
        result = run(self.slide, str(self.model), out, settings=SETTINGS, slide_id=NAME, **more)
        return result.summary

    def job(self, slide: Path, out: Path, name: str = NAME, **science: Any) -> Job:
        return Job(
            slide=slide,
            slide_id=name,
            model=str(self.model),
            out=out,
            science=Science(**science),
            execution=SETTINGS.execution,
        )

    @property
    def undisturbed(self) -> Path:
        """The result of an undisturbed run."""
        return self.folder / UNDISTURBED / NAME

    def new(self, name: str) -> Path:
        """A folder that is not there yet, whatever an earlier round left."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def whole(self, out: Path) -> bool:
        """Whether what is published is complete and what it should be."""
        folder = out / NAME
        return not verify(folder) and tables(folder) == self.wanted


def tables(folder: Path) -> dict[str, str]:
    """SHA-256 of each table of a result, as its manifest says."""
    files = read_manifest(folder).files
    return {name: file.sha256 for name, file in files.items() if name.endswith(".parquet")}


def fragments(out: Path) -> int:
    """Finished tiles on disk."""
    return sum(1 for _ in out.glob(".wsiproc/*/*/*.frag"))


def make_scene(folder: Path) -> Scene:
    """Draw the slide, run it twice in this process (which warms it), and note what came out."""
    # The picture takes most of the time of so small a slide, and is the same at any size.
    overview._LONGEST, overview._SHORTEST = 160, 80  # type: ignore[misc]
    folder.mkdir(parents=True, exist_ok=True)
    slide, model = folder / "slide.tiff", folder / "model.onnx"
    if not slide.exists():
        draw_slide(slide, width=500, height=400, seed=1, mpp=0.5)
    model.write_bytes(one_layer_model(mpp=0.5, window=128))
    scene = Scene(folder, slide, model, {}, 0.0)
    for _ in range(2):
        out = scene.new(UNDISTURBED)
        out.mkdir()
        summary, seconds = _steps(scene.job(slide, out))
    assert summary["nuclei"] > 50
    assert summary["tiles_total"] >= 9
    return Scene(folder, slide, model, tables(out / NAME), seconds)


def _steps(job: Job) -> tuple[dict[str, Any], float]:
    """The pipeline without Dask, whose threads no child could have."""
    bench = Workbench(1)
    try:
        opened = pipeline.plan_slide(job, bench)
        began = time.monotonic()
        for row, column in opened.waiting:
            pipeline.process_tile(job, opened, row, column, bench)
        work = Work(tiles_total=opened.tiles_total, began=time.time())
        done = pipeline.finish_slide(job, opened, work, bench)
        return done.summary, time.monotonic() - began
    finally:
        bench.close()
