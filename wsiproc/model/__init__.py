"""Models: found, verified, and loaded into an engine."""

from wsiproc.model.adding import add_model
from wsiproc.model.devices import cores, gpu_placement, visible_gpus
from wsiproc.model.locality import ShiftReport, shift_check
from wsiproc.model.registry import (
    Model,
    ModelEntry,
    list_models,
    load_model,
    models_dir,
)
from wsiproc.model.session import (
    Session,
    SessionFacts,
    devices_that_load,
    open_session,
    real_device,
)

__all__ = [
    "Model",
    "ModelEntry",
    "Session",
    "SessionFacts",
    "ShiftReport",
    "add_model",
    "cores",
    "devices_that_load",
    "gpu_placement",
    "list_models",
    "load_model",
    "models_dir",
    "open_session",
    "real_device",
    "shift_check",
    "visible_gpus",
]
