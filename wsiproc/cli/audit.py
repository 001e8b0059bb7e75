"""``wsiproc audit``: whether the audit log is whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from wsiproc.errors import StoreError

app = typer.Typer(help="The audit log of a batch.", no_args_is_help=True, add_completion=False)
_MOST = 20
"""Problems that are told to people; machines get all."""


@app.callback()
def _root() -> None:
    """The audit log of a batch."""


@app.command("verify")
def verify(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder of a batch.")],
    noted: Annotated[
        list[str] | None,
        typer.Option(help="A digest that an earlier verify gave: must still be in the chain."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Read the audit log from its first line to its last; the exit code is 73 if it is broken.

    Prints the digest of the last line. Note it elsewhere and give it back as --noted: a chain
    that somebody has written anew is found only so.
    """
    from wsiproc.batch.audit import AUDIT, read_chain

    chain = read_chain(out / AUDIT, noted or ())
    if as_json:
        facts = {
            "status": "broken" if chain.problems else "whole",
            "lines": chain.lines,
            "digest": chain.digest,
            "torn": list(chain.torn),
            "problems": list(chain.problems),
        }
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        for problem in chain.problems[:_MOST]:
            console.print(Text(problem, "bold red"))
        if len(chain.problems) > _MOST:
            console.print(f"and {len(chain.problems) - _MOST:,} more problems")
        for torn in chain.torn:
            console.print(Text(torn, "dim"))
        word, colour = ("broken", "bold red") if chain.problems else ("whole", "bold green")
        console.print(Text(f"{word}: {chain.lines:,} lines, the last is {chain.digest}", colour))
    if chain.problems:
        raise typer.Exit(StoreError.exit_code)
