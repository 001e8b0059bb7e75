"""``wsiproc batch``: many slides, every night."""

from __future__ import annotations

import json
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiproc.cli.night import Watcher, closing_lines, watching_night
from wsiproc.cli.run import stoppable
from wsiproc.config import read_config
from wsiproc.errors import ConfigError, WsiprocError

if TYPE_CHECKING:
    from wsiproc.batch.run import Report

UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def batch(
    slides: Annotated[
        list[Path],
        typer.Argument(
            help="Slides, a folder that holds slides, or a list of them (MANIFEST.csv with the "
            "column slide, and mpp if need be).",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A registered model (`wsiproc models`).")
    ] = "unet",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of results; each slide gets one inside it.")
    ] = Path("wsiproc-out"),
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; 0 works in this process.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that has workers.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="ID", help="Only the slide with this id.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try slides in quarantine again.")
    ] = False,
    time_limit: Annotated[
        str | None,
        typer.Option(help="Save progress and end after so long: 6h, 90m, 3600s."),
    ] = None,
    stable_for: Annotated[
        str, typer.Option(help="A slide unchanged for so long is no longer being copied.")
    ] = "120s",
    site_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Key that slide ids are made with; the user's own."),
    ] = None,
    max_bad_tiles: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Leave out tiles that cannot be read, up to this share of a slide's: 0.1%.",
        ),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For Prometheus; OUT/metrics.prom.")
    ] = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per level-0 pixel of all slides, where they are wrong.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings (TOML, tables science and execution).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, for machines.")
    ] = False,
) -> None:
    """Find every nucleus of many slides, again and again: only what is missing is done.

    Slides are called by ids that tell nothing of their names; `wsiproc status OUT --names` shows
    which is which to who holds the site key.
    """
    from wsiproc.batch.retry import Policy
    from wsiproc.batch.run import Batch, run_batch
    from wsiproc.batch.slides import Wish

    share = fraction(max_bad_tiles) if max_bad_tiles is not None else None
    given: dict[str, dict[str, Any]] = {
        "science": {"mpp": mpp, "max_bad_tiles": share},
        "execution": {"workers": workers, "scheduler": scheduler},
    }
    asked = Batch(
        given=tuple(slides),
        model=model,
        out=out,
        settings=read_config(config, given),
        policy=Policy(stable_for_s=seconds(stable_for)),
        wish=Wish(only=only, retry_failed=retry_failed),
        time_limit_s=seconds(time_limit) if time_limit is not None else None,
        key_file=site_key,
        metrics=metrics,
    )
    with _nameless(), stoppable(warning=signal.SIGUSR1), watching_night(quiet=as_json) as watcher:
        report = _run(run_batch, asked, watcher)
    if as_json:
        sys.stdout.write(json.dumps(as_object(report)) + "\n")
    else:
        closing_lines(report, out)
    raise typer.Exit(report.night.exit_code or 0)


def _run(run_batch: Any, asked: Any, watcher: Watcher) -> Report:
    report: Report = run_batch(asked, watcher.hear, found=watcher.found, tell=watcher.tell)
    return report


def as_object(report: Report) -> dict[str, Any]:
    """What ``--json`` prints of a night: counts, and how each slide stands, by id."""
    night = report.night
    status = "stopped" if report.stopped else "done" if night.exit_code == 0 else "incomplete"
    return {
        "status": status,
        "exit_code": night.exit_code,
        "stopped": report.stopped or None,
        "night": night.model_dump(mode="json", exclude={"slides", "night_version"}),
        "slides": {
            slide_id: {
                "state": state,
                "trouble": report.troubles[slide_id].model_dump(mode="json")
                if slide_id in report.troubles
                else None,
            }
            for slide_id, state in report.states.items()
        },
    }


def seconds(text: str) -> float:
    """``6h``, ``90m``, ``1h30m``, ``3600s`` or ``3600`` in seconds.

    Raises
    ------
    ConfigError
        If it is none of these.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ConfigError(f"a time is written as 6h, 90m, 1h30m or 3600s, not {text!r}")
    return sum(float(number) * UNITS_S[unit] for number, unit in parts)


def fraction(text: str) -> float:
    """``0.1%`` or ``0.001`` as a fraction.

    Raises
    ------
    ConfigError
        If it is neither, or not between 0 and 1.
    """
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if number != text.strip() else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"a share is written as 0.1% or 0.001, below 1, not {text!r}")
    return share


@contextmanager
def _nameless() -> Iterator[None]:
    """Tell of a bug where it happened, but not its message: that may hold a slide's path."""
    try:
        yield
    except WsiprocError:
        raise
    except Exception as error:  # noqa: BLE001
        sys.stderr.write("".join(traceback.format_tb(error.__traceback__)))
        sys.stderr.write(f"{type(error).__name__}: a bug of wsiproc, please report it\n")
        raise typer.Exit(1) from None
