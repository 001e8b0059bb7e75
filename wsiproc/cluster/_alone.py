"""A step in a process of its own: whatever it does to that process, it does to nobody else.

Dask blames every task of a worker that dies, and a worker that lives may be spoiled by what it
decoded before.  So what is under suspicion runs in a child of a worker: fresh, alone, and its
death has one cause and one exit status.  No other step has to wait for it.

The order goes in and the reply comes out as one line of JSON each; the child ends when its
worker does, and when its step hangs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from pydantic import TypeAdapter

from wsiproc import errors
from wsiproc.cluster._orders import Order, Result, carry_out, limit_s
from wsiproc.errors import StrangeError, WorkerLostError, WsiprocError
from wsiproc.finish import Finished
from wsiproc.pipeline import Opened, TileReceipt
from wsiproc.slide.arrival import Seen
from wsiproc.workbench import Workbench

HUNG = 70
"""Exit status of a process that ended itself because its step took too long."""
WATCH_EVERY_S = 0.2
START_S = 120.0
"""What a child may take until it begins: imports from a slow disk, a network session."""

_ORDER = TypeAdapter(Order)
_RESULTS: dict[str, TypeAdapter[Any]] = {
    "identify": TypeAdapter(Seen),
    "plan": TypeAdapter(Opened),
    "tile": TypeAdapter(TileReceipt),
    "finish": TypeAdapter(Finished),
}
_CHILD = "from wsiproc.cluster._alone import main; main()"


def carry_out_alone(order: Order, threads: int) -> Result:
    """Have a step done by a new process; `threads` of inference, 0 for all cores.

    Raises
    ------
    WorkerLostError
        If the process died or hung.
    WsiprocError, MemoryError, StrangeError
        What the step raised; the last for a bug.
    """
    asked = json.dumps({"threads": threads}).encode() + b"\n" + _ORDER.dump_json(order) + b"\n"
    with subprocess.Popen(  # noqa: S603  this Python, and text of ours
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        alarm = threading.Timer(limit_s(order) + START_S, child.kill)
        alarm.daemon = True
        alarm.start()
        try:
            child.stdin.write(asked)
            child.stdin.flush()
            # One line, not all there is: a process that a library left behind may keep it open.
            reply = child.stdout.readline()
        except BrokenPipeError:
            reply = b""
        except BaseException:
            child.kill()
            raise
        finally:
            alarm.cancel()
        # The child takes the end of its input for the end of its worker, so it is closed only now.
        with suppress(BrokenPipeError):
            child.stdin.close()
        status = child.wait()
    if not reply.endswith(b"\n"):
        raise _death(status)
    return _understood(order, json.loads(reply))


def _death(status: int) -> WorkerLostError:
    killed = status == -signal.SIGKILL
    if status == HUNG:
        how = "took too long and was ended"
    elif killed:
        how = "was killed, as happens when memory is short"
    elif status < 0:
        how = f"died of {signal.Signals(-status).name}"
    else:
        how = f"ended with status {status}"
    return WorkerLostError(
        f"a process that did nothing but this step {how}: the slide is damaged in a way that its "
        "decoder does not survive, or memory is short",
        killed,
    )


def _understood(order: Order, reply: dict[str, Any]) -> Result:
    if "result" in reply:
        result: Result = _RESULTS[order.what].validate_python(reply["result"])
        return result
    name = reply["error"]
    if name == "MemoryError":
        raise MemoryError
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, WsiprocError)):
        raise StrangeError(name, reply["where"])
    raise kind(*(tuple(a) if isinstance(a, list) else a for a in reply["arguments"]))


def where(error: BaseException) -> str:
    """The place in wsiproc that an error came from; never a path outside the package."""
    home = Path(errors.__file__).parent.parent
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        file = Path(frame.filename)
        if home in file.parents and "site-packages" not in file.relative_to(home).parts:
            return f"{file.relative_to(home).as_posix()}:{frame.lineno} in {frame.name}"
    return f"{frames[-1].name}" if frames else "an unknown place"


def main() -> NoReturn:
    """The child: one order from stdin, one reply to stdout, and the end."""
    # Libraries may print, and may fork processes that close what they take for their stdin.
    asked, answer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    threads = json.loads(asked.readline())["threads"]
    order = _ORDER.validate_json(asked.readline())
    bench = Workbench(threads)
    threading.Thread(target=_end_with_worker, args=(asked,), daemon=True).start()
    threading.Thread(target=_end_if_hung, args=(bench,), daemon=True).start()
    reply: dict[str, Any]
    try:
        result = carry_out(order, bench)
        reply = {"result": _RESULTS[order.what].dump_python(result, mode="json")}
    except WsiprocError as error:
        arguments = error.__reduce__()[1]
        reply = {"error": type(error).__name__, "arguments": arguments}
    except Exception as error:  # noqa: BLE001  a bug is told by its class and place
        reply = {"error": type(error).__name__, "where": where(error)}
    answer.write(json.dumps(reply).encode() + b"\n")
    answer.flush()
    # What a decoder left behind may not survive an orderly end.
    os._exit(0)


def _end_with_worker(asked: IO[bytes]) -> None:
    asked.read()
    os._exit(1)


def _end_if_hung(bench: Workbench) -> None:
    while not bench.overdue():
        time.sleep(WATCH_EVERY_S)
    os._exit(HUNG)
