"""Compile loops with numba at their first call, and cache the code on disk if possible.

numba takes a second to import, so it is imported by the first call of a loop and not by the modules that hold loops.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from tiler.machine import cache_folder

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile a function at its first call; it releases the interpreter's lock.

    Compiled code is cached in ``NUMBA_CACHE_DIR``, or in the user's cache folder, never beside the source. If that is
    not writable, the function is compiled in each process.
    """
    return cast(Function, Loop(function))


class Loop:
    """A function that is compiled at its first call, together with the loops that it calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self.dispatcher(*args)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """The function as numba compiles it."""
        names = self._function.__globals__
        for name in self._function.__code__.co_names:
            if isinstance(names.get(name), Loop):  # numba resolves names of its own functions only
                names[name] = names[name].dispatcher
        import numba

        with _cached_for_user(numba.config):
            try:
                return numba.njit(cache=True, nogil=True)(self._function)
            except (RuntimeError, OSError):
                return numba.njit(nogil=True)(self._function)


_configuring = threading.Lock()


@contextmanager
def _cached_for_user(config: Any) -> Iterator[None]:
    """The user's cache folder as that of numba, unless another one is set; functions of other packages keep theirs."""
    with _configuring:
        before = config.CACHE_DIR
        config.CACHE_DIR = before or str(cache_folder("numba"))
        try:
            yield
        finally:
            config.CACHE_DIR = before
