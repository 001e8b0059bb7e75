"""The command line: one file a verb, errors as one sentence and an exit code."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

import wsiproc
from wsiproc.cli import (
    audit,
    batch,
    check,
    diff,
    doctor,
    evaluate,
    export,
    gc,
    info,
    models,
    propose,
    query,
    report,
    run,
    sample,
    select,
    status,
    synthesize,
    train,
    view,
)
from wsiproc.errors import InterruptedRunError, WsiprocError

app = typer.Typer(
    name="wsiproc",
    help="Every nucleus of a whole-slide image, as a table.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
FIND, ASK, LEARN, MACHINE = (
    "Find nuclei",
    "Ask results",
    "Models and how they learn",
    "Slides and this machine",
)
app.command("run", rich_help_panel=FIND)(run.run)
app.command("batch", rich_help_panel=FIND)(batch.batch)
app.command("status", rich_help_panel=FIND)(status.status)
app.command("check", rich_help_panel=FIND)(check.check)
app.command("gc", rich_help_panel=FIND)(gc.gc)
app.add_typer(audit.app, name="audit", rich_help_panel=FIND)
app.command("query", rich_help_panel=ASK)(query.query)
app.command("report", rich_help_panel=ASK)(report.report)
app.command("view", rich_help_panel=ASK)(view.view)
app.command("diff", rich_help_panel=ASK)(diff.diff)
app.command("export", rich_help_panel=ASK)(export.export)
app.command("models", rich_help_panel=LEARN)(models.models)
app.command("methods", rich_help_panel=LEARN)(train.methods)
app.command("train", cls=train.TrainCommand, rich_help_panel=LEARN)(train.train)
app.command("evaluate", rich_help_panel=LEARN)(evaluate.evaluate)
app.command("propose", rich_help_panel=LEARN)(propose.propose)
app.command("select", rich_help_panel=LEARN)(select.select)
app.command("synthesize", rich_help_panel=LEARN)(synthesize.synthesize)
app.command("info", rich_help_panel=MACHINE)(info.info)
app.command("sample", rich_help_panel=MACHINE)(sample.sample)
app.command("doctor", rich_help_panel=MACHINE)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"wsiproc {wsiproc.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every nucleus of a whole-slide image, as a table."""


def main() -> None:
    """Run the command line; the exit codes are those of `wsiproc.errors`."""
    try:
        app()
    except WsiprocError as error:
        code = error.code if isinstance(error, InterruptedRunError) else error.exit_code
        if "--json" in sys.argv:
            refused = {"status": "failed", "error": type(error).__name__, "message": str(error)}
            sys.stdout.write(json.dumps(refused | {"exit_code": code}) + "\n")
        # As text: brackets in what people wrote are no markup.
        said = Text.assemble(("error:", "bold red"), f" {error}")
        Console(stderr=True).print(said, highlight=False, soft_wrap=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
