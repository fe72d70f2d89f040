"""Compile loops with numba, and cache the code on disk if possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function at its first call; it releases the interpreter's lock.

    numba caches compiled code in ``NUMBA_CACHE_DIR``, beside the source or in the user's cache folder. If none of
    them is writable (a read-only installation), numba refuses to cache and the function is compiled in each process.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True)(function))
