"""Which slides a batch is given: by name, in a folder, or in a list.

Only names are looked at here.  The one exception are DICOM files, whose first bytes say which of
them belong together; no slide is opened.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from wsiproc.config import Science
from wsiproc.errors import ConfigError
from wsiproc.frozen import faults
from wsiproc.slide.files import series_uid

OF_TIFF = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".svslide", ".bif")
SUFFIXES = frozenset((*OF_TIFF, ".mrxs", ".vms", ".vmu", ".dcm", ".jp2", ".zarr"))
"""What a slide in a folder is told by; a slide that is named, or listed, may be called anything."""
COLUMNS = ("mpp", "exact_mpp", "tissue", "stain")
"""Science settings that a list may give for each slide, beside the column ``slide``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A slide of the batch, not looked at yet; its settings are the batch's with its own."""

    path: Path = field(repr=False)
    science: Science


def find_slides(given: Sequence[Path], science: Science, *, out: Path) -> tuple[Candidate, ...]:
    """All slides given, each once.

    ===============  ===========================================================================
    a folder         the slides in it and in all folders below, by their suffixes and in the
                     order of their names; but for hidden ones and for `out`.  A MIRAX slide is
                     its ``.mrxs`` file, a DICOM slide the first file of each series
    ``.csv``         one slide a row, see `read_list`
    anything else    a slide
    ===============  ===========================================================================

    Parameters
    ----------
    given
        Paths as they were given.
    science
        Settings of all slides.
    out
        Folder of results, which may lie in a folder of slides.

    Raises
    ------
    ConfigError
        If one is not there, or a list is not understood; or if a slide is given twice, with
        different settings.
    """
    found: dict[Path, Candidate] = {}
    some: Iterable[Candidate]
    for number, path in enumerate(given, 1):
        place = path.absolute()
        if place.is_dir() and place.suffix.lower() != ".zarr":
            some = (Candidate(slide, science) for slide in _below(place, out.absolute()))
        elif place.suffix.lower() == ".csv":
            some = read_list(place, science)
        elif place.exists():
            some = (Candidate(place, science),)
        else:
            raise ConfigError(
                f"there is nothing at path {number} of those given: neither a slide, a folder "
                "nor a list (.csv)"
            )
        for candidate in some:
            if found.setdefault(candidate.path, candidate) != candidate:
                raise ConfigError("a slide is given twice, with different settings")
    return tuple(found.values())


def read_list(file: Path, science: Science) -> list[Candidate]:
    """The slides of a CSV file with a header: ``slide``, and any of `COLUMNS`.

    Paths are relative to the file; empty fields leave the batch's setting.  Comma or semicolon.
    A slide that is listed and not there has not come yet: that is for later to find out.

    Raises
    ------
    ConfigError
        That names the line.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"the list of slides cannot be read: {why}") from None
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in head else ",", strict=True)
    columns = [name.strip() for name in rows.fieldnames or ()]
    unknown = sorted(set(columns) - {"slide", *COLUMNS})
    if "slide" not in columns or unknown or len(set(columns)) < len(columns):
        odd = f"; not understood: {', '.join(unknown)}" if unknown else ""
        raise ConfigError(
            f"the list of slides needs the column slide and may have {', '.join(COLUMNS)}, each "
            f"once, named in its first line{odd}"
        )
    rows.fieldnames = columns
    try:
        return [_listed(row, file.parent, science, rows.line_num) for row in rows]
    except csv.Error as error:
        raise ConfigError(f"line {rows.line_num} of the list of slides: {error}") from None


def _listed(row: dict[str, str], home: Path, science: Science, line: int) -> Candidate:
    place = f"line {line} of the list of slides"
    if None in row or None in row.values():
        raise ConfigError(f"{place} has another number of fields than the first line")
    slide = row["slide"].strip()
    if not slide:
        raise ConfigError(f"{place} names no slide")
    own = {name: row[name].strip() for name in COLUMNS if row.get(name, "").strip()}
    try:
        settings = Science.model_validate(science.model_dump() | own)
    except ValidationError as error:
        raise ConfigError(f"{place}: {faults(error, 'settings')}") from None
    return Candidate(Path(os.path.normpath(home / slide)), settings)


def _below(folder: Path, out: Path) -> Iterator[Path]:
    """Slides in `folder` and below, in a fixed order."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"a folder of slides cannot be listed: {error.strerror}") from None
    companions = {e.with_suffix("") for e in entries if e.suffix.lower() == ".mrxs"}
    series: set[str] = set()
    for entry in entries:
        kind = entry.suffix.lower()
        if entry.name.startswith(".") or entry == out or entry in companions:
            continue
        if entry.is_dir() and kind != ".zarr":
            # Folders that are links are left alone: they may lead in circles.
            if not entry.is_symlink():
                yield from _below(entry, out)
        elif kind == ".dcm" and (uid := series_uid(entry)) is not None:
            if uid not in series:
                series.add(uid)
                yield entry
        elif kind in SUFFIXES and not _empty(entry):
            yield entry


def _empty(entry: Path) -> bool:
    """Whether a file has no byte yet; one that went meanwhile counts as empty."""
    try:
        return entry.is_file() and entry.stat().st_size == 0
    except OSError:
        return True
