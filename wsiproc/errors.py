"""Every error raised on purpose.

::

    WsiprocError
    ├── ConfigError              settings that contradict each other or the slide   exit  2
    ├── SlideError               this slide cannot be processed                     exit 65
    │   ├── SlideFormatError         no backend reads it
    │   ├── SlideReadError           it opened, and then a region could not be read
    │   ├── SlideResolutionError     no usable micrometres per pixel
    │   ├── NotReadyError            it is still being copied                   exit 20
    │   └── StorageError             it was there, and cannot be read now       exit 75
    ├── ModelError               this model cannot be used                          exit 66
    │   └── DeviceError              the device asked for is not there              exit 69
    ├── StoreError               results cannot be written or read                  exit 73
    │   ├── AlreadyThereError        another result stands where this one would go
    │   ├── BusyError                another run is working on the same result     exit 75
    │   └── DiskFullError            no space, or no quota, is left                exit 75
    ├── WorkerLostError          the tile takes its process down, or hangs          exit 65
    ├── InterruptedRunError      stopped by a signal, progress saved                exit 130, 143
    │   └── TimeLimitError           stopped by the time limit, progress saved      exit 124
    └── MissingExtraError        an optional part is not installed                  exit  2

All of them cross process borders, so each is built from its message alone (or says in
`__reduce__` how to be built again).  A message says what is wrong and what to do about it;
it never holds the path of a slide, because a path can name a patient.
"""

from __future__ import annotations

from typing import Any, ClassVar


class WsiprocError(Exception):
    """Base of every error that wsiproc raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(WsiprocError, ValueError):
    """Settings that contradict each other, the model or the slide."""

    exit_code = 2


class SlideError(WsiprocError):
    """This slide cannot be processed; others can."""

    exit_code = 65


class SlideFormatError(SlideError):
    """No backend reads this file: it is no slide, is damaged, or is in a format not supported."""


class SlideReadError(SlideError, OSError):
    """The slide opened, but a region of it could not be read.

    Parameters
    ----------
    message
        What went wrong, without the file's name.
    level
        Pyramid level of the read, or None where no single level is to blame.
    box
        ``(x0, y0, x1, y1)`` in pixels of that level, or None.
    """

    def __init__(
        self,
        message: str,
        level: int | None = None,
        box: tuple[int, int, int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.level = level
        self.box = box

    def __str__(self) -> str:
        if self.level is None:
            return self.message
        return f"{self.message} (level {self.level}, box {self.box})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.level, self.box)


class SlideResolutionError(SlideError):
    """The slide does not say how many micrometres a pixel is, or says something absurd."""


class NotReadyError(SlideError):
    """The slide is still being copied, or parts of it have not come yet; try again later."""

    exit_code = 20


class StorageError(SlideError):
    """The slide's files were there before and cannot be read now; try again later."""

    exit_code = 75


class ModelError(WsiprocError):
    """This model cannot be used: missing, unverified, without a card, or not what its card says."""

    exit_code = 66


class DeviceError(ModelError):
    """The device that was asked for is not there, or does not load."""

    exit_code = 69


class StoreError(WsiprocError, OSError):
    """Results cannot be written, or what is written cannot be read back."""

    exit_code = 73


class AlreadyThereError(StoreError):
    """Another result stands where this one would be published."""


class BusyError(StoreError):
    """Another run is working on the same result right now; try again later."""

    exit_code = 75


class DiskFullError(StoreError):
    """The disk, or the quota on it, is full; free space and run again."""

    exit_code = 75


class WorkerLostError(WsiprocError):
    """A tile took its worker process down, or hung, when it ran alone in a fresh one.

    Parameters
    ----------
    message
        What died, and how.
    killed
        Whether the process was killed from outside, as the system does when memory is short.
    """

    exit_code = 65

    def __init__(self, message: str, killed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.killed = killed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.killed)


class StrangeError(Exception):
    """A bug that showed in a process of its own; `name` is its class, `where` its place."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(f"{name} at {where}")
        self.name = name
        self.where = where

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.where)


class InterruptedRunError(WsiprocError):
    """Stopped by a signal; what was finished is kept and the next run goes on from there."""

    def __init__(self, message: str, signum: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.signum = signum

    @property
    def code(self) -> int:
        """Exit code in the shell's convention: 128 plus the signal's number."""
        return 128 + self.signum

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.signum)


class TimeLimitError(InterruptedRunError):
    """The time given is over; what was finished is kept and the next run goes on from there."""

    @property
    def code(self) -> int:
        """As ``timeout`` has it."""
        return 124


class MissingExtraError(WsiprocError, ImportError):
    """An optional part of wsiproc is not installed."""

    exit_code = 2

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(
            f"{part} needs packages that are not installed; install them with "
            f"`pip install 'wsiproc[{extra}]'`"
        )
        self.part = part
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.part, self.extra)
