"""``dots`` keeps what wsiproc promises of every method."""

from __future__ import annotations

from wsiproc.testing.methods import MethodContract
from wsiproc_dots import METHOD


class TestDots(MethodContract):
    method = METHOD
