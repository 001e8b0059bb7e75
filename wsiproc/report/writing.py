"""A report as a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsiproc.errors import ConfigError
from wsiproc.report.many import report_many
from wsiproc.report.page import report
from wsiproc.results.stored import find_results
from wsiproc.store.disk import storing, write_whole
from wsiproc.store.manifest import MANIFEST


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: of how many slides, and how large it is."""

    slides: int
    bytes: int


def write_report(results: Path, out: Path, *, slide: Path | None = None) -> Written:
    """Write the report of a result, or of a folder of results, in the place of what is there.

    Parameters
    ----------
    results
        A result's folder, or one of many, such as the output of a batch.
    slide
        Of a result: its slide's file.

    Raises
    ------
    ConfigError
        If `slide` is given for a folder of many, or is another slide.
    SlideError, StoreError
        If something cannot be read, or the page not be written.
    """
    found = find_results([results])
    if (results / MANIFEST).is_file():
        page = report(found[0], slide)
    elif slide is not None:
        raise ConfigError("--slide is of one result: name it instead of the folder of many")
    else:
        page = report_many(results, found)
    data = page.encode()
    with storing(out.name):
        write_whole(out, data)
    return Written(len(found), len(data))
