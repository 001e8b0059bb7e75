"""What stands where a slide's result would go, told from its manifest alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from wsiproc.config import Science
from wsiproc.errors import AlreadyThereError, StoreError
from wsiproc.finish import summary_of
from wsiproc.store.manifest import Manifest, read_manifest
from wsiproc.store.schema import SCHEMA_VERSION

Standing = Literal["absent", "damaged"] | dict[str, Any]
"""Nothing; a result that has lost files, or whose manifest cannot be read; or its summary."""


def standing(
    out: Path, slide_id: str, *, fingerprint: str, model_sha256: str, science: Science
) -> Standing:
    """What stands at ``out/slide_id``; a slide is done if its summary is given.

    A result counts as the one that is wanted if slide, model and settings are.  Which device
    and version computed it stands in its manifest: a driver or library that is new tonight is no
    reason to do a thousand slides again, though their last bits might differ.

    Raises
    ------
    AlreadyThereError
        If it was made with another model or other settings.
    """
    folder = out / slide_id
    if not folder.exists():
        return "absent"
    try:
        manifest = read_manifest(folder)
    except StoreError:
        # The id says that nothing but this slide's result was ever put here.
        return "damaged" if any(folder.iterdir()) else "absent"
    wanted = (SCHEMA_VERSION, fingerprint, model_sha256, science.model_dump(mode="json"))
    if _made_with(manifest) != wanted:
        raise AlreadyThereError(
            f"the result {slide_id} in the output folder was made with another model or other "
            "settings: name another --out, one for each model and settings"
        )
    whole = all(_size(folder / name) == file.bytes for name, file in manifest.files.items())
    return summary_of(manifest, "already done") if whole else "damaged"


def _made_with(manifest: Manifest) -> tuple[int, str, str, dict[str, Any]]:
    made = (manifest.schema_version, manifest.slide.sha256, manifest.model.sha256)
    return (*made, manifest.science)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
