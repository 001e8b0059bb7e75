"""One digest for all bytes of a slide."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsiproc.errors import SlideFormatError
from wsiproc.slide.files import files_of


def fingerprint(path: Path) -> str:
    """SHA-256 over every file of the slide, as hex.

    Of a slide in one file it is that file's own SHA-256.  Of one in several files it is the
    SHA-256 of their SHA-256 digests (binary) in ascending order, so that neither names nor
    places of files are part of it.  Memory use does not grow with the slide.

    Raises
    ------
    SlideFormatError
        If there is no file at the path, or one of the slide's files cannot be read.
    """
    try:
        digests = sorted(_digest(file) for file in files_of(path))
    except OSError as error:
        raise SlideFormatError(f"a file of the slide cannot be read: {error.strerror}") from None
    return digests[0].hex() if len(digests) == 1 else hashlib.sha256(b"".join(digests)).hexdigest()


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
