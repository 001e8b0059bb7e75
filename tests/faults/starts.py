"""The same run started several times at once, and a run that sleeps while another does its work."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

from forked import Child
from points import halt, watch
from scene import NAME, Scene, fragments

from wsiproc.errors import BusyError
from wsiproc.store import lease
from wsiproc.store.manifest import MANIFEST

STARTS = (2, 5, 20)
ASLEEP = "rename OUT/.wsiproc/staging/slide"


def at_once(scene: Scene, number: int) -> dict[str, Any]:
    """2, 5 or 20 runs at once: one publishes, all others find it done or leave it to the first."""
    out = scene.new(f"starts-{number}")
    many = STARTS[number % len(STARTS)]
    go = time.monotonic() + 0.02 * many

    def begin() -> dict[str, Any]:
        time.sleep(max(0.0, go - time.monotonic()))
        return scene.run(out)

    children = [Child(begin) for _ in range(many)]
    ends = [child.wait() for child in children]
    did = [end.told["status"] for end in ends if not end.error]
    assert did.count("done") == 1, did
    assert all(end.told["exit_code"] == BusyError.exit_code for end in ends if end.error), ends
    assert scene.whole(out)
    assert len(list(out.glob(f"*/{MANIFEST}"))) == 1
    assert not list(out.glob(".wsiproc/staging-*")), "a loser left its files"
    return {
        "starts": many,
        "already_done": did.count("already done"),
        "busy": sum(bool(end.error) for end in ends),
    }


def asleep(scene: Scene, number: int) -> dict[str, Any]:
    """A run of another machine stops just before it publishes; its lease ages, another takes over.

    When it wakes up it finds the slide published, and discards its own.
    """
    out = scene.new(f"asleep-{number}")

    def sleeps() -> dict[str, Any]:
        lease.socket = SimpleNamespace(gethostname=lambda: "elsewhere")  # type: ignore[assignment]
        watch(out, lambda name: halt(signal.SIGSTOP) if name == ASLEEP else None)
        return scene.run(out)

    sleeper = Child(sleeps)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WEXITED)
    assert fragments(out), "it ended before it fell asleep"
    refused = Child(lambda: scene.run(out)).wait()
    assert refused.error == "BusyError", (
        f"its lease is fresh, and was not respected: {refused.told}"
    )
    (held,) = out.glob(".wsiproc/*.lease")
    long_ago = time.time() - lease.DEAD_S - 60
    os.utime(held, (long_ago, long_ago))
    other = Child(lambda: scene.run(out)).wait()
    assert not other.error, other.told
    assert other.told["status"] == "done"
    before = (out / NAME).stat().st_ino, (out / NAME / MANIFEST).read_bytes()
    sleeper.kill(signal.SIGCONT)
    woken = sleeper.wait()
    assert not woken.error, woken.told
    assert woken.told["status"] == "already done"
    assert ((out / NAME).stat().st_ino, (out / NAME / MANIFEST).read_bytes()) == before
    assert scene.whole(out)
    assert not list(out.glob(".wsiproc/staging-*")), "its own files were not discarded"
    return {"tiles_reused": other.told["tiles_reused"]}
