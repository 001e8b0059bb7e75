"""What ``import wsiproc`` offers: the same as the command line, from Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsiproc import pipeline
from wsiproc.cluster import Done, Failed, Identified, run_slides
from wsiproc.config import Execution, RunConfig, Science
from wsiproc.errors import StoreError
from wsiproc.plan import Job
from wsiproc.progress import Listener, unheard
from wsiproc.results.asking import query
from wsiproc.slide import open_slide
from wsiproc.slide.naming import checked_id, named
from wsiproc.store.manifest import read_manifest
from wsiproc.workbench import Workbench

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Result", "open_slide", "preview", "query", "read_nuclei", "run"]

IN_PROCESS = RunConfig(execution=Execution(workers=0))
"""From Python a run works in the caller's process, unless it asks for workers: new processes
would import the caller's script once more."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished slide.

    Parameters
    ----------
    folder
        Where its files are.
    slide_id
        What they call the slide.
    summary
        Counts, densities, seconds, device and seam audit, as ``--json`` prints them.
    """

    folder: Path
    slide_id: str
    summary: dict[str, Any]

    def nuclei(self) -> GeoDataFrame:
        """The nuclei, see `read_nuclei`."""
        return read_nuclei(self.folder)


def run(
    slide: str | Path,
    model: str = "unet",
    out: str | Path = "wsiproc-out",
    *,
    mpp: float | None = None,
    settings: RunConfig = IN_PROCESS,
    card: Path | None = None,
    slide_id: str | None = None,
    replace: bool = False,
    listen: Listener = unheard,
) -> Result:
    """Find every nucleus of a slide and publish them at ``out/SLIDE_ID/``.

    A run that was stopped goes on where it stopped; a finished one is not done again.

    Parameters
    ----------
    slide
        The slide's file.
    model
        Name of a registered model, or path of an ONNX file.
    out
        Folder of results, made if need be.
    mpp
        µm per level-0 px, where the slide does not say; short for ``settings.science.mpp``.
    settings
        Everything else.  To use worker processes, give ``Execution(workers=n)`` and call from
        under ``if __name__ == "__main__":``.
    card
        Card (TOML) of an ONNX file that has none.
    slide_id
        What results call the slide; by default the stem of its file name.
    replace
        Replace a result made with other settings.
    listen
        Is told what happens.

    Raises
    ------
    WsiprocError
        See `wsiproc.errors`.
    """
    if mpp is not None:
        science = Science.model_validate(settings.science.model_dump() | {"mpp": mpp})
        settings = RunConfig(science=science, execution=settings.execution)
    out = Path(out)
    job = _job(Path(slide), model, out, settings, card, slide_id, replace=replace)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the output folder cannot be made: {error.strerror}") from None
    for outcome in run_slides([job], settings.execution, listen):
        match outcome:
            case Failed():
                raise outcome.error
            case Done():
                return Result(out / job.slide_id, job.slide_id, outcome.finished.summary)
            case Identified():
                raise AssertionError("a run asks for more than a fingerprint")
    raise AssertionError("a job has an outcome")


def preview(
    slide: str | Path,
    model: str = "unet",
    *,
    settings: RunConfig = IN_PROCESS,
    card: Path | None = None,
) -> dict[str, Any]:
    """What `run` would do: tissue, tiles, windows, device; writes nothing."""
    bench = Workbench()
    try:
        return pipeline.preview(_job(Path(slide), model, Path(), settings, card, None), bench)
    finally:
        bench.close()


def _job(
    slide: Path,
    model: str,
    out: Path,
    settings: RunConfig,
    card: Path | None,
    slide_id: str | None,
    *,
    replace: bool = False,
) -> Job:
    """Paths are made absolute, since workers may live in another folder."""
    return Job(
        slide=slide.absolute(),
        slide_id=named(slide) if slide_id is None else checked_id(slide_id),
        model=str(Path(model).absolute()) if model.endswith(".onnx") else model,
        out=out.absolute(),
        card=card.absolute() if card is not None else None,
        science=settings.science,
        execution=settings.execution,
        replace=replace,
    )


def read_nuclei(result: str | Path) -> GeoDataFrame:
    """The nuclei of a published result, one row each; geometry in µm (x right, y down).

    Outlines where the model gives them, centroids otherwise.

    Raises
    ------
    StoreError
        If `result` is no published result.
    """
    import geopandas

    folder = Path(result)
    files = read_manifest(folder).files
    name = "nuclei.parquet" if "nuclei.parquet" in files else "centroids.parquet"
    return geopandas.read_parquet(folder / name)
