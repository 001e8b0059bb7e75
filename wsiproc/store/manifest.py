"""The manifest: what a result is, where it comes from, and the digests of its files.

A reader trusts a manifest and nothing else.  It is written last into a folder that then appears
at ``OUT/SLIDE_ID`` at once (`store.staging`), so a result that has one is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError

from wsiproc.config import Science
from wsiproc.errors import StoreError
from wsiproc.frozen import Frozen, canonical
from wsiproc.store.schema import SCHEMA_VERSION

MANIFEST: Final = "manifest.json"
WORK: Final = ".wsiproc"
MANIFEST_VERSION: Final = 1

State = Literal["absent", "done", "damaged", "other", "foreign"]


class StoredFile(Frozen):
    """One file of a result."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int | None = None
    """Of a Parquet file."""


class SlideRecord(Frozen):
    """The slide, without anything that could name a patient."""

    sha256: str
    width: int
    height: int
    mpp: tuple[float, float]
    mpp_source: Literal["file", "given"]
    bounds_offset_px: tuple[int, int] = (0, 0)
    vendor: str = ""
    objective: float | None = None


class ModelRecord(Frozen):
    """The model and its whole card."""

    name: str
    version: str
    sha256: str
    card: dict[str, Any] = {}


class Manifest(Frozen):
    """A result.  `files` is filled in when it is published; times and hosts stand only here."""

    manifest_version: Literal[1] = 1
    schema_version: int = SCHEMA_VERSION
    slide_id: str
    job_key: str
    slide: SlideRecord
    model: ModelRecord
    um_to_px: tuple[float, float, float, float, float, float]
    """As in the Parquet files: level-0 px from µm."""
    science: dict[str, Any]
    """The settings that decide the result, all of them."""
    numerics: str
    """Engine, precision, instruction set and window shape."""
    nuclei: int
    classes: dict[str, int]
    """Nuclei of each class, by name."""
    files: dict[str, StoredFile] = {}
    execution: dict[str, Any] = {}
    """Settings and device of this run; they don't change the result."""
    software: dict[str, str] = {}
    """Versions."""
    seconds: dict[str, float] = {}
    seams: dict[str, Any] = {}
    """The seam audit."""
    audit: dict[str, Any] = {}
    """Other numbers about how the result came to be, e.g. outlines repaired."""
    warnings: tuple[str, ...] = ()
    finished: str = ""
    """UTC, ISO 8601."""
    seal: str = ""
    """SHA-256 of the manifest's own text with nothing in this field, which is its last."""

    def sealed(self) -> Self:
        """With its seal."""
        bare = self.model_copy(update={"seal": ""})
        seal = hashlib.sha256(bare.to_json().encode()).hexdigest()
        return bare.model_copy(update={"seal": seal})

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def job_key(fingerprint: str, model_sha256: str, science: Science, numerics: str) -> str:
    """Digest (hex, 64 digits) of everything that decides the bytes of a result.

    Parameters
    ----------
    fingerprint
        SHA-256 over the slide's files, hex.
    model_sha256
        Digest of the model's file, hex.
    numerics
        The session's numerics tag.
    """
    what = {
        "schema_version": SCHEMA_VERSION,
        "slide": fingerprint,
        "model": model_sha256,
        "science": science.model_dump(mode="json"),
        "numerics": numerics,
    }
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def params_digest(science: Science) -> str:
    """Digest of the science settings alone, for the Parquet files' metadata."""
    return hashlib.sha256(canonical(science).encode()).hexdigest()


def work_folder(out: Path, key: str) -> Path:
    """Where the plan and the fragments of a job are kept until it is published; may not exist."""
    return out / WORK / key


def lease_of(out: Path, key: str) -> Path:
    """The file that says who is working on a job."""
    return out / WORK / f"{key}.lease"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a result.

    Raises
    ------
    StoreError
        If there is none, or none that this version reads.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise StoreError("there is no result here: it has no manifest.json") from None
    except NotADirectoryError:
        raise StoreError("a result is a folder with a manifest.json, and this is a file") from None
    except OSError as error:
        raise StoreError(f"the manifest cannot be read: {error.strerror}") from None
    return _parsed(text)


def _parsed(text: bytes) -> Manifest:
    try:
        fields = json.loads(text)
    except ValueError:
        raise StoreError("the manifest is damaged: it is not JSON") from None
    version = fields.get("manifest_version") if isinstance(fields, dict) else None
    if version != MANIFEST_VERSION:
        raise StoreError(
            f"the manifest's version is {version!r}, this wsiproc reads {MANIFEST_VERSION}: "
            "use the wsiproc that wrote it, or run the slide again"
        )
    try:
        return Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        wrong = ", ".join(".".join(str(part) for part in e["loc"]) for e in error.errors())
        raise StoreError(f"the manifest is damaged: {wrong}") from None


def state_of(out: Path, slide_id: str, key: str) -> State:
    """What stands at ``OUT/SLIDE_ID``, from its manifest and the sizes of its files.

    ``absent``: nothing, or an empty folder.  ``done``: the result of this very job.  ``damaged``:
    the result of this job, with files missing or cut short.  ``other``: another job's result.
    ``foreign``: something that wsiproc did not write.

    It is one folder that is looked at, even where another run replaces it at this moment.
    """
    folder = out / slide_id
    while True:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return "foreign" if folder.is_symlink() else "absent"
        except NotADirectoryError:
            return "foreign"
        try:
            state = _state(handle, key)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    return state
        finally:
            os.close(handle)


def _state(folder: int, key: str) -> State:
    """What is in an open folder."""
    if not os.listdir(folder):
        return "absent"
    try:
        with os.fdopen(os.open(MANIFEST, os.O_RDONLY, dir_fd=folder), "rb") as file:
            manifest = _parsed(file.read())
    except (FileNotFoundError, IsADirectoryError):
        return "foreign"
    except OSError:
        return "other"
    if manifest.job_key != key:
        return "other"
    whole = all(_size(name, folder) == file.bytes for name, file in manifest.files.items())
    return "done" if whole else "damaged"


def _size(name: str, folder: int) -> int | None:
    """Size of a file in an open folder; None if it is not there."""
    try:
        return os.stat(name, dir_fd=folder).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def verify(folder: Path) -> list[str]:
    """What is wrong with a result: every file is hashed again; nothing wrong gives [].

    Raises
    ------
    StoreError
        If it has no manifest to compare with.
    """
    manifest = read_manifest(folder)
    problems = [] if _seal_holds(folder, manifest) else [f"{MANIFEST}: its content has changed"]
    for name, file in manifest.files.items():
        path = folder / name
        try:
            if path.stat().st_size != file.bytes:
                problems.append(f"{name}: {path.stat().st_size} bytes instead of {file.bytes}")
            elif digest(path) != file.sha256:
                problems.append(f"{name}: its content has changed")
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    unknown = sorted(there - set(manifest.files) - {MANIFEST})
    return problems + [f"{name}: not in the manifest" for name in unknown]


def _seal_holds(folder: Path, manifest: Manifest) -> bool:
    """Whether a manifest is the text that was sealed; older ones have no seal."""
    if not manifest.seal:
        return True
    text = (folder / MANIFEST).read_bytes()
    bare = text.replace(f'"seal": "{manifest.seal}"\n}}\n'.encode(), b'"seal": ""\n}\n')
    return hashlib.sha256(bare).hexdigest() == manifest.seal


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
