"""Questions to published results; only this package imports duckdb.

Importing a package puts it where its parent offers a function of the same name: who imports
``wsiproc.query.results`` finds this package at ``wsiproc.query`` from then on.  So the package can
be called as that function can, and both keep their promise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsiproc.query.selection import Selection


class _Callable(ModuleType):
    """This package, where `wsiproc.query.asking.query` is meant."""

    @property
    def __call__(self) -> Callable[..., Selection]:
        from wsiproc.query.asking import query

        return query


sys.modules[__name__].__class__ = _Callable
