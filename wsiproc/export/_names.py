"""Names of nuclei in the world: the same nucleus of the same result has the same one everywhere."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Final

from wsiproc.results.stored import StoredResult

SPACE: Final = uuid.UUID("0c4b8a52-6d0f-5c39-9a41-3a3f7f0d1e26")
"""Name space (RFC 9562) of the UUIDs that exports give."""

_VARIANT: Final = "89ab"


def nucleus_uuids(result: StoredResult, nucleus_ids: Iterable[int]) -> list[str]:
    """UUIDs (version 5) of nuclei: of slide, model, settings and `nucleus_id` alone.

    A result that is made once more has the same ones, whatever its slide is called.
    """
    begin = hashlib.sha1(
        SPACE.bytes + f"{result.manifest.job_key}/".encode(), usedforsecurity=False
    )
    names = []
    for one in nucleus_ids:
        digest = begin.copy()
        digest.update(b"%d" % one)
        h = digest.hexdigest()
        # As `uuid.uuid5` does it, in a fifth of its time.
        variant = _VARIANT[int(h[16], 16) & 3]
        names.append(f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant}{h[17:20]}-{h[20:32]}")
    return names


def dicom_uid(result: StoredResult, what: str) -> str:
    """A DICOM UID (PS3.5, B.2: ``2.25.`` and a UUID) of something made from a result."""
    return f"2.25.{uuid.uuid5(SPACE, f'{result.manifest.job_key}/{what}').int}"
