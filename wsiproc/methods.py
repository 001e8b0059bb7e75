"""Training methods: what a plugin is, and which are installed.

A plugin is a package that names its method in the entry-point group ``wsiproc.methods`` and the
models it ships in ``wsiproc.models``.  Finding them imports the packages, so a plugin's
``__init__`` must not import torch; its training code is imported when it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from pydantic import ConfigDict

from wsiproc.errors import ConfigError
from wsiproc.frozen import Frozen

METHODS, MODELS = "wsiproc.methods", "wsiproc.models"


class MethodConfig(Frozen):
    """Base of every method's settings; frozen, and unknown settings are refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class TrainingResumed:
    """Training goes on from a checkpoint: `step` of `steps` of this `stage` were done before."""

    stage: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """`step` of `steps` is done; `seconds_left` is a guess from the steps so far."""

    stage: str
    step: int
    steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class TrainingChecked:
    """The network was measured on the validation split; `best` says that none was better."""

    stage: str
    step: int
    metrics: Mapping[str, float]
    best: bool


@dataclass(frozen=True, slots=True)
class TrainingNote:
    """Something that people should read: an assumption made, a stage begun, a check passed."""

    stage: str
    message: str


TrainingEvent = TrainingResumed | TrainingStep | TrainingChecked | TrainingNote


def _unheard(event: TrainingEvent) -> None:
    """The listener of a training that nobody watches."""


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """What a training is given besides its settings.

    Parameters
    ----------
    data
        Folders of annotated data sets (`wsiproc.datasets`), the train split of which is learnt
        from and the val split of which chooses.
    out
        Folder for checkpoints, curves and the finished model; a training found there unfinished
        is gone on with.
    unlabelled
        Folders of data sets of which only the images are used.
    templates
        File with boxes around nuclei, for methods that learn from a few of them.
    seed
        Of everything random.
    threads
        Threads torch may use; 0 takes all cores.
    command
        The command line, for the model's card.
    listener
        Is told how it goes.
    """

    data: tuple[Path, ...]
    out: Path
    unlabelled: tuple[Path, ...] = ()
    templates: Path | None = None
    seed: int = 0
    threads: int = 0
    command: str = ""
    listener: Callable[[TrainingEvent], None] = _unheard


@runtime_checkable
class Method(Protocol):
    """A way to train a model from some kind of labels."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def summary(self) -> str:
        """One line: the labels it needs, and the paper it comes from."""

    @property
    def config(self) -> type[MethodConfig]:
        """Its settings; lengths in µm."""

    @property
    def presets(self) -> Mapping[str, MethodConfig]:
        """At least ``default`` and ``smoke``; published methods also have ``paper``."""

    def train(self, config: MethodConfig, inputs: TrainingInputs) -> tuple[Path, ...]:
        """Train, or go on training, and return the carded ONNX files."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model that a plugin package carries.

    Parameters
    ----------
    name
        What ``--model`` calls it.
    package, resource
        Where its ONNX file lies among the package's data.
    sha256
        Digest of the file, recorded when it was committed.
    """

    name: str
    package: str
    resource: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The plugins found, and why those that failed did."""

    methods: Mapping[str, Method] = field(default_factory=dict)
    models: Mapping[str, ShippedModel] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


def installed() -> Installed:
    """Find plugins by entry point; one that fails to import is reported, never fatal.

    Raises
    ------
    ConfigError
        If two packages claim the same name: which is meant could only be guessed.
    """
    methods: dict[str, Method] = {}
    models: dict[str, ShippedModel] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=METHODS):
        try:
            method = point.load()
        except Exception as error:  # noqa: BLE001  a stranger's package may fail in any way
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        if point.name in methods:
            raise ConfigError(f"two installed packages provide the method {point.name!r}")
        if not isinstance(method, Method) or method.name != point.name:
            broken[point.name] = f"{point.value} is no wsiproc method called {point.name!r}"
            continue
        methods[point.name] = method
    for point in entry_points(group=MODELS):
        try:
            shipped = tuple(point.load())
        except Exception as error:  # noqa: BLE001
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        for model in shipped:
            if model.name in models:
                raise ConfigError(f"two installed packages ship a model called {model.name!r}")
            models[model.name] = model
    return Installed(methods, models, broken)


def find_method(name: str) -> Method:
    """The installed method called `name`.

    Raises
    ------
    ConfigError
        That says which there are, or why this one failed to import.
    """
    found = installed()
    if name in found.methods:
        return found.methods[name]
    if name in found.broken:
        raise ConfigError(f"the method {name!r} failed to import: {found.broken[name]}")
    names = ", ".join(sorted(found.methods)) or "none"
    raise ConfigError(f"no method {name!r}; installed: {names}")
