"""Models: found, verified, and loaded into an engine."""

from wsiproc.model.devices import gpu_placement, visible_gpus
from wsiproc.model.registry import (
    Model,
    ModelEntry,
    add_model,
    list_models,
    load_model,
    models_dir,
)
from wsiproc.model.session import Session, SessionFacts, open_session, real_device

__all__ = [
    "Model",
    "ModelEntry",
    "Session",
    "SessionFacts",
    "add_model",
    "gpu_placement",
    "list_models",
    "load_model",
    "models_dir",
    "open_session",
    "real_device",
    "visible_gpus",
]
