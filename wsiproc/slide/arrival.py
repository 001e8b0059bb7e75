"""Whether a slide's files have come, from what the file system says of them.

Nothing here decodes a slide.  A `Stamp` costs a look at each file; a fingerprint reads them all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from wsiproc.errors import NotReadyError, SlideFormatError, StorageError
from wsiproc.slide.files import files_of
from wsiproc.slide.fingerprint import fingerprint

CHECKSUMS = {".sha256": "sha256", ".md5": "md5"}
"""Suffixes of files that hold a slide's digest, as the tools of these names write it."""
DONE = ".done"
"""Suffix of the empty file that whoever copies puts beside a slide that is complete."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all files of a slide look like from outside; equal as long as none has changed.

    Parameters
    ----------
    files, size
        How many, and their bytes together.
    changed
        When any of them was last written, or had its times set: seconds since the epoch, by the
        clock of its file system.  It is the later of mtime and ctime, since tools that copy give
        a file its old mtime, and nothing can give it an old ctime.
    digest
        Of every file's place below the slide's folder, size and mtime in nanoseconds.
    """

    files: int
    size: int
    changed: float = field(compare=False)
    digest: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A slide's fingerprint, and the stamp of the files it was taken of."""

    fingerprint: str
    stamp: Stamp


def stamp_of(slide: Path) -> Stamp:
    """Look at all files of a slide.

    Raises
    ------
    NotReadyError
        If there is none, or one has gone.
    StorageError
        If the file system does not say.
    """
    found = hashlib.sha256()
    files, size, changed = 0, 0, 0.0
    try:
        for file in files_of(slide):
            facts = file.stat()
            place = file.relative_to(slide.parent).as_posix()
            found.update(f"{place}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
            files, size = files + 1, size + facts.st_size
            changed = max(changed, facts.st_mtime, facts.st_ctime)
    except (FileNotFoundError, SlideFormatError):
        raise NotReadyError("the slide's file, or a part of it, is not there") from None
    except OSError as error:
        raise StorageError(f"the slide's files cannot be looked at: {error.strerror}") from None
    return Stamp(files, size, changed, found.hexdigest())


def announced(slide: Path) -> bool:
    """Whether a ``.done`` or a checksum lies beside a slide: its copier says that it is whole."""
    return any(mark.is_file() for suffix in (DONE, *CHECKSUMS) for mark in _marks(slide, suffix))


def see(slide: Path) -> Seen:
    """Read all files of a slide for its fingerprint, and compare with the checksums beside it.

    Raises
    ------
    NotReadyError
        If the files change meanwhile, or are not (yet) what a checksum says.
    StorageError
        If they cannot be read.
    """
    before = stamp_of(slide)
    try:
        digest = fingerprint(slide)
        for suffix, kind in CHECKSUMS.items():
            for mark in _marks(slide, suffix):
                if mark.is_file() and not _agrees(slide, mark, kind):
                    raise NotReadyError(
                        f"the slide is not what the {kind} beside it says: it is still being "
                        "copied, or was damaged on its way"
                    )
    except SlideFormatError as error:
        raise StorageError(str(error)) from None
    except OSError as error:
        raise StorageError(f"the slide's files cannot be read: {error.strerror}") from None
    if stamp_of(slide) != before:
        raise NotReadyError("the slide changed while it was read: it is still being copied")
    return Seen(digest, before)


def _marks(slide: Path, suffix: str) -> tuple[Path, Path]:
    """``a.svs.done`` or ``a.done`` for ``a.svs``."""
    return slide.with_name(slide.name + suffix), slide.with_suffix(suffix)


def _agrees(slide: Path, mark: Path, kind: str) -> bool:
    """Whether the digest in `mark` is that of the slide's own file.

    It is the first thing in the file that has a digest's length; ``md5sum`` writes it before the
    name, others after it.  Of a list of several files the line with the slide's name counts.
    """
    length = hashlib.new(kind).digest_size * 2
    text = mark.read_text("utf-8", errors="replace")
    lines = [line for line in text.splitlines() if slide.name in line] or [text]
    said = re.findall(rf"(?<![0-9a-fA-F])[0-9a-fA-F]{{{length}}}(?![0-9a-fA-F])", lines[0])
    with slide.open("rb") as file:
        return bool(said) and said[0].lower() == hashlib.file_digest(file, kind).hexdigest()
