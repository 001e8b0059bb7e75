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
app.command("run")(run.run)
app.command("batch")(batch.batch)
app.command("status")(status.status)
app.command("check")(check.check)
app.command("gc")(gc.gc)
app.add_typer(audit.app, name="audit")
app.command("query")(query.query)
app.command("info")(info.info)
app.command("sample")(sample.sample)
app.command("models")(models.models)
app.command("methods")(train.methods)
app.command("train", cls=train.TrainCommand)(train.train)
app.command("select")(select.select)
app.command("synthesize")(synthesize.synthesize)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("diff")(diff.diff)
app.command("propose")(propose.propose)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)


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
