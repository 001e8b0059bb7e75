"""Every nucleus of a whole-slide image, as a table.

What is offered here is loaded on first use, so that ``import wsiproc`` stays quick and does
nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsiproc.api import open_slide, query, read_nuclei, run

__version__ = "0.1.0"
__all__ = ["__version__", "open_slide", "query", "read_nuclei", "run"]


def __getattr__(name: str) -> Any:
    if name == "query":
        # It asks files, and needs nothing of the engine that made them.
        from wsiproc.results.asking import query

        return query
    if name in __all__:
        from wsiproc import api

        return getattr(api, name)
    raise AttributeError(f"module 'wsiproc' has no attribute {name!r}")
