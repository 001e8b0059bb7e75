"""Children of one warm process: a run that starts at once, and may be killed at will."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wsiproc.errors import WsiprocError

PATIENCE_S = 300.0


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Parameters
    ----------
    status
        Exit status, or minus the signal that killed it.
    told
        What its function returned, or ``{"error": class, "exit_code": code, "message": text}``.
    """

    status: int
    told: Any = None

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def error(self) -> str:
        return self.told["error"] if isinstance(self.told, dict) and "error" in self.told else ""


class Child:
    """A copy of this process that calls `do` and tells what it returned, as JSON."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._heard, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _live(do, telling)
        os.close(telling)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    @property
    def alive(self) -> bool:
        """Whether it is still at work; what it wrote waits in the pipe."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, patience_s: float = PATIENCE_S) -> Ended:
        """Its end.

        Raises
        ------
        TimeoutError
            If it hangs; it is killed then.
        """
        deadline = time.monotonic() + patience_s
        said = b""
        while select.select([self._heard], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(self._heard, 1 << 16)
            if not part:
                break
            said += part
        else:
            self.kill()
            os.waitpid(self.pid, 0)
            raise TimeoutError("a child did not end")
        os.close(self._heard)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Ended(status, json.loads(said) if said else None)


def forked(do: Callable[[], object], patience_s: float = PATIENCE_S) -> Ended:
    """Call `do` in a child and wait for its end."""
    return Child(do).wait(patience_s)


def _live(do: Callable[[], object], telling: int) -> None:
    """The whole life of a child."""
    told: object
    try:
        told = do()
    except WsiprocError as error:
        told = {
            "error": type(error).__name__,
            "exit_code": error.exit_code,
            "message": str(error),
        }
    except BaseException as error:  # noqa: BLE001  told to the parent, which fails
        told = {"error": type(error).__name__, "exit_code": 1, "message": str(error)}
    data = json.dumps(told).encode()
    while data:
        data = data[os.write(telling, data) :]
    os._exit(0)
