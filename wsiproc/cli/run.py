"""``wsiproc run``: one slide through one model."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from wsiproc.cli.watching import closing_summary, watching
from wsiproc.config import read_config
from wsiproc.errors import InterruptedRunError, TimeLimitError


def run(
    slide: Annotated[Path, typer.Argument(help="The slide's file.", show_default=False)],
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A registered model (`wsiproc models`) or FILE.onnx."),
    ] = "unet",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of results; the slide gets one inside it.")
    ] = Path("wsiproc-out"),
    card: Annotated[
        Path | None, typer.Option(help="Card (TOML) of an ONNX file that has none inside.")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="µm per level-0 pixel, where the slide doesn't say or is wrong."),
    ] = None,
    exact_mpp: Annotated[
        bool, typer.Option("--exact-mpp", help="Resample even from a level within 2 %.")
    ] = False,
    roi: Annotated[
        str | None,
        typer.Option(help="Only here: GeoJSON file, or x,y,w,h; level-0 pixels."),
    ] = None,
    no_tissue: Annotated[
        bool, typer.Option("--no-tissue", help="Look at the whole slide, glass too.")
    ] = False,
    no_stain: Annotated[bool, typer.Option("--no-stain", help="Leave the stain as it is.")] = False,
    tile_px: Annotated[
        int | None, typer.Option(help="Edge of a tile's core in model px, rounded up.")
    ] = None,
    window_px: Annotated[
        int | None, typer.Option(help="Edge of a network window; one that the card lists.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Windows the network takes at once.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; 0 works in this process.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of inference for each worker.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that has workers.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, tensorrt or openvino.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    slide_id: Annotated[
        str | None, typer.Option(help="What results call the slide; its stem by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings (TOML, tables science and execution).")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a result made with other settings.")
    ] = False,
    maps: Annotated[
        bool, typer.Option("--maps", help="Also write the network's maps as OME-Zarr.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, for machines.")
    ] = False,
) -> None:
    """Find every nucleus of SLIDE and write it to OUT/SLIDE_ID/ as GeoParquet.

    A run that was stopped goes on where it stopped; a finished one is not done again.
    """
    from wsiproc import api
    from wsiproc.tissue import roi_from_text

    given: dict[str, dict[str, Any]] = {
        "science": {
            "mpp": mpp,
            "exact_mpp": exact_mpp or None,
            "roi": roi_from_text(roi) if roi is not None else None,
            "tissue": False if no_tissue else None,
            "stain": False if no_stain else None,
        },
        "execution": {
            "tile_px": tile_px,
            "window_px": window_px,
            "batch": batch,
            "workers": workers,
            "threads": threads,
            "scheduler": scheduler,
            "device": device,
            "precision": precision,
            "maps": maps or None,
        },
    }
    settings = read_config(config, given)
    if dry_run:
        preview = api.preview(slide, model, settings=settings, card=card)
        sys.stdout.write(json.dumps(preview, indent=None if as_json else 2) + "\n")
        return
    with stoppable(), watching(quiet=as_json) as listen:
        result = api.run(
            slide,
            model,
            out,
            settings=settings,
            card=card,
            slide_id=slide_id,
            replace=replace,
            listen=listen,
        )
    if as_json:
        sys.stdout.write(json.dumps(result.summary) + "\n")
    else:
        closing_summary(result)


@contextmanager
def stoppable(*, warning: signal.Signals | None = None) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an error that ends the run in good order.

    Parameters
    ----------
    warning
        A signal that says that time is nearly over, as schedulers send it.
    """
    signals = {signal.SIGINT, signal.SIGTERM} | ({warning} if warning is not None else set())
    kept = "what is finished is kept, and the same command goes on from there"

    def stop(signum: int, _frame: FrameType | None) -> None:
        # A second signal while things are being closed must not leave them half closed.
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        if signum == warning:
            raise TimeLimitError(f"told that time is nearly over; {kept}")
        raise InterruptedRunError(f"stopped; {kept}", signum)

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
