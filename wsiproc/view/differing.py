"""Two results of one slide, nucleus by nucleus, as the page colours them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from wsiproc.diff import CHANGES, compare
from wsiproc.errors import StoreError
from wsiproc.results.stored import StoredResult
from wsiproc.view.shown import KEYS

COLOURS: Final = {
    "matched": (150, 158, 166),
    "moved": (240, 190, 40),
    "reclassified": (150, 80, 230),
    "gained": (0, 170, 120),
    "lost": (230, 40, 70),
}
SAID: Final = {
    "matched": "in both, of one class, in its place",
    "moved": "in both, but the outlines share no more than half",
    "reclassified": "in both, of different classes",
    "gained": "only in B",
    "lost": "only in A",
}


@dataclass(frozen=True, slots=True, eq=False)
class Differing:
    """What `wsiproc.diff` says of two results, found out when it is first asked for."""

    results: tuple[StoredResult, ...]
    _known: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def changes(self, key: str) -> bytes:
        """What became of each nucleus of a result: a byte a row, the index of `kinds`.

        Raises
        ------
        StoreError
            If there is nothing to compare with, or a file cannot be read.
        ConfigError
            If the results cannot be compared.
        """
        with self._lock:
            if not self._known:
                self._known.update(self._compared())
            return self._known[key]

    def kinds(self) -> list[dict[str, Any]]:
        """What can become of a nucleus: name, colour, in words, and how often in A and in B."""
        counts = {
            key: np.bincount(np.frombuffer(self.changes(key), np.uint8), minlength=len(CHANGES))
            for key in KEYS
        }
        return [
            {
                "name": name,
                "color": list(COLOURS[name]),
                "says": SAID[name],
                "nuclei": {key: int(count[i]) for key, count in counts.items()},
            }
            for i, name in enumerate(CHANGES)
        ]

    def _compared(self) -> dict[str, bytes]:
        if len(self.results) < 2:
            raise StoreError("there is nothing to compare with: give --against RESULT")
        found = compare(*self.results)
        sides = zip(KEYS, (found.side_a, found.side_b), strict=True)
        return {key: side.change.astype(np.uint8).tobytes() for key, side in sides}
