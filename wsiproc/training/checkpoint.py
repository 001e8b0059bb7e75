"""What a training leaves on disk, such that a kill at any moment loses a minute at most."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsiproc.errors import ConfigError, StoreError
from wsiproc.methods import MethodConfig, TrainingInputs
from wsiproc.store.disk import staged, write_whole

IDENTITY = "training.json"


def write_atomically(path: Path, data: bytes) -> None:
    """`path` holds `data`, or what it held before, whatever happens meanwhile.

    Raises
    ------
    StoreError
        If the folder cannot be written to.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise StoreError(
            f"{path.name} cannot be written ({error.strerror}): choose another --out, or make room"
        ) from None


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises
    ------
    StoreError
        If the folder cannot be written to.
    """
    try:
        with staged(path) as temporary, temporary.open("xb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"the checkpoint {path.name} cannot be written: {error}") from None


def load(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None where there is none; runs no code out of the file.

    Raises
    ------
    StoreError
        If it is damaged; it says to remove it.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  torch raises whatever the damage leads it to
        raise StoreError(
            f"the checkpoint {path.name} is damaged; remove it to begin that stage again"
        ) from None
    return state


def keep(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """Write what a training made itself, an array for each image, so that going on finds it.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *arrays)
    write_atomically(path, buffer.getvalue())


def kept(path: Path) -> list[NDArray[Any]] | None:
    """What `keep` wrote; None where it did not.

    Raises
    ------
    StoreError
        If the file is damaged; it says to remove it.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return [found[f"arr_{i}"] for i in range(len(found.files))]
    except Exception:  # noqa: BLE001  zip and numpy raise whatever the damage leads them to
        raise StoreError(
            f"{path.parent.name}/{path.name} is damaged; remove it to have it made again"
        ) from None


def claim(
    method: str, config: MethodConfig, inputs: TrainingInputs, *, templates: bool = False
) -> bool:
    """Make ``inputs.out`` the folder of this training, or find that it already is.

    Parameters
    ----------
    templates
        Whether the method learns from templates; if not, being given some is refused.

    Returns
    -------
    bool
        Whether a training was begun here before and is to be gone on with.

    Raises
    ------
    ConfigError
        If another training (other settings, data or seed) has left its work there, or there are
        templates that nothing would be learnt from.
    """
    if inputs.templates is not None and not templates:
        raise ConfigError(f"{method} learns from no templates: leave --templates out")
    identity = {
        "method": method,
        "config": config.model_dump(mode="json"),
        "seed": inputs.seed,
        "data": [_digest(folder) for folder in inputs.data],
        "unlabelled": [_digest(folder) for folder in inputs.unlabelled],
    }
    if inputs.templates is not None:
        identity["templates"] = digest_of(inputs.templates)
    return claim_as(inputs.out, identity, "a training")


def claim_as(out: Path, identity: Mapping[str, Any], work: str) -> bool:
    """Make `out` the folder of the work that `identity` names, or find that it already is.

    Parameters
    ----------
    identity
        Everything that the work depends on, as JSON has it.
    work
        What to call it, ``a training``.

    Returns
    -------
    bool
        Whether it was begun here before and is to be gone on with.

    Raises
    ------
    ConfigError
        If other work was begun there.
    StoreError
        If the folder cannot be made.
    """
    path = out / IDENTITY
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if found == identity:
            return True
        keys = [k for k in {**identity, **found} if found.get(k) != identity.get(k)]
        raise ConfigError(
            f"--out holds {work} with another {' and '.join(keys)}; choose another --out, or "
            f"remove that one"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"--out cannot be made: {error.strerror}") from None
    write_atomically(path, json.dumps(identity, indent=1, sort_keys=True).encode())
    return False


def release(out: Path, *stages: str) -> None:
    """Take back what `claim_as` wrote, and the checkpoints of these stages.

    For work that cannot be done as it was asked for, so that it may be asked for otherwise.
    """
    for name in (IDENTITY, *(f"{stage}.pt" for stage in stages)):
        (out / name).unlink(missing_ok=True)


def _digest(folder: Path) -> dict[str, str]:
    """A data set's name and the digest of what it says of itself (paths stay out)."""
    toml = folder / "dataset.toml"
    if not toml.is_file():
        raise ConfigError(f"{folder.name}: no data set, it has no dataset.toml")
    return {"name": folder.name, "sha256": digest_of(toml)}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hex.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}") from None
