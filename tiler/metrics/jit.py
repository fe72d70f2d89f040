"""Compiled loops: numba with its cache where a folder for it can be written, without it elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile at the first call, without the interpreter's lock.

    numba keeps compiled code in ``NUMBA_CACHE_DIR``, beside the source or in the user's cache folder,
    whichever can be written, and refuses to cache where none can (a read-only installation).
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast(Function, numba.njit(nogil=True)(function))
