"""A step of the user behind the network: a function that is called for each block of the result.

::

    read    |....context....|====block====|....context....|      cut at the faces of the result, never mirrored
    step         (c, z, y, x) -> (channels, z, y, x)               of the same z, y, x
    write                   |====block====|

The result must not depend on the blocks. It does not if every voxel of it depends only on voxels at most ``context``
away, and on its own place; `tiler.jobs.own_step_jobs` tries that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box, Shape, Span
from tiler.ports import KINDS, Array, Json
from tiler.ports.user_code import guarded, imported, source_hash

INTEGERS = {"uint8": "labels", "uint16": "instances", "uint32": "instances", "uint64": "instances"}
"""Kinds of results of other dtypes than the input's, if the function does not state its kind."""


def refusal(text: str) -> PlanError:
    """The error for a message about the function."""
    return PlanError(text, option="post")


def depends(step: Step, differs: str) -> PlanError:
    """The error for a step whose result depends on the blocks."""
    return PlanError(f"{step.name} gives another result in other blocks, with a context of "
                     f"{'x'.join(map(str, step.context))}: {differs}; let it ask for more context (its attribute "
                     "context), or accept this with `post_check=accept`", option="post")


@dataclass(frozen=True)
class Step:
    """The user's function and what it states of itself.

    Parameters
    ----------
    name
        ``module:function`` or ``file.py:function``; empty for a function in memory.
    given
        The function in memory; None if it is found by its name.
    context
        Voxels that the function sees around a block, along z, y, x.
    dtype, channels, kind
        Those of its result.
    """

    name: str
    given: Callable[..., Any] | None
    context: Shape
    dtype: np.dtype[Any]
    channels: int
    kind: str

    @cached_property
    def function(self) -> Callable[..., Any]:
        return self.given or function_of(self.name)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.name, self.given, self.context, self.dtype, self.channels, self.kind)

    @property
    def identity(self) -> Json:
        """Everything that can change its result: its name, the file that defines it, and what it states."""
        name = Path(self.name.partition(":")[0]).name + ":" + self.name.partition(":")[2]
        return {"function": name, "sha256": source_hash(self.function), "context": list(self.context),
                "dtype": self.dtype.name, "channels": self.channels, "kind": self.kind}

    def around(self, box: Box, volume: Shape) -> Box:
        """The box that the function sees for a block."""
        return Box(tuple(Span(max(0, span.start - far), min(size, span.stop + far))
                         for span, far, size in zip(box.spans, self.context, volume, strict=True)))

    def __call__(self, values: Array, window: Box, box: Box, start: Shape, volume: Shape) -> Array:
        """``(channels, *box.shape)``: the result in a box.

        Parameters
        ----------
        values
            ``(c, *window.shape)``: the result so far.
        window, box
            What the function sees and what is kept of it, in voxels of the result.
        start
            Place of the result in the volume.
        volume
            Shape of the volume.
        """
        keywords = self._keywords({"start": window.shift(start).start, "shape": volume})
        found = guarded(f"{self.name} raised", lambda: self.function(values, **keywords), refusal)
        made = np.asarray(found)
        if self.channels == 1 and made.shape == window.shape:
            made = made[None]
        if made.shape != (self.channels, *window.shape) or made.dtype != self.dtype:
            raise refusal(f"{self.name} returned {made.dtype.name} of shape {made.shape} for a block of shape "
                          f"{values.shape}: it has to return {self.dtype.name} of shape "
                          f"{(self.channels, *window.shape)}, or to state its dtype and channels as attributes")
        return np.ascontiguousarray(made[(slice(None), *box.back(window.start).slices)])

    def _keywords(self, known: Mapping[str, Any]) -> Mapping[str, Any]:
        named = _parameters(self.function)
        return {name: value for name, value in known.items() if name in named}


def step_of(post: str | Callable[..., Any], dtype: np.dtype[Any], channels: int, kind: str) -> Step:
    """The step that a function is, from its attributes and its signature.

    Parameters
    ----------
    post
        The function, or its name.
    dtype, channels, kind
        Those of the result that it gets, which its own result has if it states no other.

    Raises
    ------
    PlanError
        If there is no such function, or it states something that cannot be.
    """
    name, given = (post, None) if isinstance(post, str) else (f"{post.__module__}:{post.__qualname__}", post)
    function = given or function_of(name)
    parameters = _parameters(function)
    asked = getattr(function, "context", parameters["context"].default if "context" in parameters else 0)
    stated = np.dtype(_stated(name, "dtype", getattr(function, "dtype", dtype)))
    own = kind if stated == dtype else INTEGERS.get(stated.name, "probabilities")
    wanted = getattr(function, "kind", own)
    if wanted not in KINDS:
        raise refusal(f"{name} states the kind {wanted!r}, which is not one of {', '.join(KINDS)}")
    count = getattr(function, "channels", channels)
    if not isinstance(count, int) or count < 1:
        raise refusal(f"{name} states {count!r} channels, which is not a whole number of at least 1")
    return Step(name, given, _context(name, asked), stated, count, wanted)


def _stated(name: str, what: str, value: Any) -> Any:
    try:
        found = np.dtype(value)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "uif":
        raise refusal(f"{name} states the {what} {value!r}: give one such as float32 or uint32")
    return found


def _context(name: str, asked: Any) -> Shape:
    """``(z, y, x)`` of one number for all axes, or three."""
    sizes = (asked,) * 3 if isinstance(asked, int) else tuple(asked) if isinstance(asked, (tuple, list)) else ()
    if len(sizes) != 3 or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise refusal(f"{name} asks for the context {asked!r}: give voxels as one number, or as (z, y, x)")
    return sizes


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # compiled functions state none
        return {}


def function_of(name: str) -> Callable[..., Any]:
    """The function that ``module:function`` or ``file.py:function`` names."""
    source, _, attribute = name.rpartition(":")
    found = getattr(imported(source, refusal), attribute, None)
    if not callable(found):
        raise refusal(f"{source} has no function {attribute!r}")
    function: Callable[..., Any] = found
    return function
