"""Registering a model that somebody else made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from wsiproc.errors import ModelError
from wsiproc.methods import installed
from wsiproc.model.locality import shift_check
from wsiproc.model.registry import (
    RECORD_SCHEMA,
    Model,
    ModelEntry,
    added,
    from_file,
    models_dir,
)
from wsiproc.model.session import open_session

_SHIFTS = 8
"""Steps of the card that a window can be shifted by when a model is tried out."""


def add_model(file: Path, card: Path | None = None) -> ModelEntry:
    """Copy a model and its card to the user's models, under the card's name.

    Adding the same again does nothing.

    Parameters
    ----------
    file
        The ONNX file.
    card
        TOML card, for a file that has none inside.

    Raises
    ------
    ModelError
        If it does not run on this machine's CPU, is not as local as its card says, or another
        model has the name.
    """
    model = from_file(file, card)
    name = model.card.name
    if name in installed().models:
        raise ModelError(f"a model {name!r} is shipped; give yours another name on its card")
    try_out(model)
    folder = models_dir()
    target = folder / name
    record = {
        "schema": RECORD_SCHEMA,
        "sha256": model.sha256,
        "digest": model.digest,
        "card": model.card.model_dump(mode="json"),
    }
    stage: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".adding-", dir=folder))
        _write(stage / "model.onnx", model.data)
        _write(stage / "model.json", json.dumps(record, indent=1, sort_keys=True).encode())
        stage.chmod(0o755)
        # Fails if the name is taken: a folder that is not empty is never replaced.
        stage.rename(target)
    except OSError as error:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        if not target.exists():
            raise ModelError(f"cannot write to the folder of models: {error.strerror}") from None
        if added(target).digest != model.digest:
            raise ModelError(
                f"another model is registered as {name!r}; give this one another name on its "
                f"card, or delete the folder {target}"
            ) from None
    return ModelEntry(name, "user", model.sha256, model.card)


def try_out(model: Model) -> None:
    """Run a model over drawn tissue, shifted if its card claims that it is local.

    Raises
    ------
    ModelError
        If it fails, or what it says of a pixel depends on where its window lies.
    """
    # Drawing brings codecs with it, which running a model does not need.
    from wsiproc.slide._drawn import draw_image

    card = model.card
    window = min(card.windows)
    session = open_session(model, device="cpu", window=window)
    edge = window + _SHIFTS * max(card.step, card.stride)
    try:
        pixels, _ = draw_image(edge, edge, mpp=min(card.mpp, 2.0))
        if not card.local:
            session.run(pixels[None, :window, :window])
            return
        report = shift_check(session, card, pixels)
    finally:
        session.close()
    if not report.local:
        raise ModelError(
            f"the card says that the model is local, but {report.different} of {report.compared} "
            f"values differ between shifted windows, by up to {report.max_abs_diff:g}: give it a "
            f"larger margin than {card.margin} px, a larger step than {card.step}, or "
            "local = false"
        )


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
