"""Whether a slide has come whole, or is still being copied.

Three signs, each enough:

* Its copier says so: a ``.done`` or a checksum lies beside it.
* Nothing about its files has changed for ``stable_for`` seconds: by the clock of the file server,
  and by the later of mtime and ctime.  Copiers keep a file's old mtime, so mtime alone would call
  a file old that arrives this minute; its ctime is of the moment in which it was last written,
  renamed or given its times, and cannot be set.  So the slides of last week need no second look.
* Two looks, at least ``stable_for`` seconds apart by a clock that nobody sets, saw the same sizes
  and times; the first may be an earlier run's.  This is for servers whose clocks are wrong.

That the copy stood still for so long is all that this can tell.  Whether the slide is whole is
told by opening it; see `wsiproc.batch.retry`.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wsiproc.slide.arrival import Stamp, announced, stamp_of
from wsiproc.store.disk import storing
from wsiproc.store.manifest import WORK


@dataclass(frozen=True, slots=True)
class Look:
    """What a slide's files looked like.

    Parameters
    ----------
    stamp
        Sizes and times of all of them.
    at
        When, in seconds of a monotonic clock.
    quiet_s
        Seconds since anything about them changed; negative if clocks disagree.
    announced
        Whether its copier says that it is whole.
    """

    stamp: Stamp
    at: float
    quiet_s: float
    announced: bool


def look_at(slide: Path, skew_s: float) -> Look:
    """Look at a slide's files.

    Parameters
    ----------
    skew_s
        How far the file server's clock is ahead, see `clock_skew_s`.

    Raises
    ------
    NotReadyError, StorageError
        See `stamp_of`.
    """
    stamp = stamp_of(slide)
    # Slides and results may lie on different servers: the slower clock is believed.
    now = time.time() + min(0.0, skew_s)
    return Look(stamp, time.monotonic(), now - stamp.changed, announced(slide))


def is_ready(look: Look, first: Look | None, stable_for_s: float) -> bool:
    """Whether a slide can be begun with.

    Parameters
    ----------
    look
        The last look.
    first
        The earliest that saw the same stamp, if there was one before.
    stable_for_s
        How long it must have stood still.
    """
    if look.stamp.size == 0:
        return False
    if look.announced or look.quiet_s >= stable_for_s:
        return True
    return first is not None and first.stamp == look.stamp and look.at - first.at >= stable_for_s


def clock_skew_s(out: Path) -> float:
    """How far the clock of the file server of `out` is ahead of this machine's, in seconds.

    Raises
    ------
    StoreError
        If `out` cannot be written to.
    """
    folder = out / WORK
    probe = folder / f".clock-{secrets.token_hex(8)}"
    with storing("to the output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            before = time.time()
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            server = probe.stat().st_mtime
            return server - (before + time.time()) / 2
        finally:
            with suppress(OSError):
                probe.unlink()
