"""Compiling the inner loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def kernel(function: Kernel) -> Kernel:
    """Compile `function` on its first call, and keep the result on disk where there is a place.

    A read-only installation of a user without a writable home has no such place; each process then
    compiles for itself, which takes some seconds.  Never with fast-math: sums keep their order.
    Kernels let go of Python's lock, so tiles can be decoded in threads.

    Numba notices an edit by the file of the kernel alone, so a kernel calls only kernels of its own
    file.
    """
    try:
        return cast(Kernel, njit(cache=True, nogil=True)(function))
    except RuntimeError:  # "no locator available": nowhere to keep it
        return cast(Kernel, njit(nogil=True)(function))
