"""Options as the user gave them, and the function that resolves them into values for the engine."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Unpack

from tiler.errors import PlanError
from tiler.machine import cores
from tiler.options.declaring import AUTO, refuse_unknown
from tiler.options.documents import documented
from tiler.options.groups.result import KindName
from tiler.options.table import TABLE, Keywords, ResolvedOptions
from tiler.ports import KINDS


@documented
class Options:
    """Options of a segmentation as they were given, each read and checked on its own.

    ``Options(kind="labels", tile=572)`` takes what `tiler.segment` takes as keywords, and
    ``tiler.segment(x, m, **options.given())`` uses them.

    Parameters
    ----------
    {options}

    Raises
    ------
    PlanError
        If an option is unknown, or a value cannot be read.
    """

    __slots__ = ("_given",)

    def __init__(self, **given: Unpack[Keywords]) -> None:
        refuse_unknown(given, TABLE)
        self._given = {name: TABLE[name].read(value) for name, value in given.items() if value is not None}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Options from a mapping, such as the JSON of `ResolvedOptions.to_json`; values of None are ignored."""
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """Final values of the options that were given, by name."""
        return dict(self._given)

    def get(self, name: str) -> Any:
        """Final value of one option; None if it was not given."""
        return self._given.get(name)

    def over(self, others: Mapping[str, Any]) -> Options:
        """These options on top of others."""
        return Options.of({**others, **self._given})

    def without(self, names: Collection[str]) -> Options:
        """The options that are not among these names."""
        return Options.of({name: value for name, value in self._given.items() if name not in names})

    def refuse(self, names: Collection[str], why: str) -> None:
        """Refuse options that do not apply here.

        Raises
        ------
        PlanError
            If one of ``names`` was given; the message names it.
        """
        found = [f"`{name}`" for name in self._given if name in names]
        if found:
            raise PlanError(f"{' and '.join(found)} cannot be chosen here: {why}")

    def resolved(self) -> ResolvedOptions:
        """All options, with every default of the package.

        Raises
        ------
        PlanError
            If options contradict each other.
        """
        filled = {name: self._given.get(name, option.read(option.default)) for name, option in TABLE.items()}
        kind = filled["kind"]
        if filled["dtype"] is None:
            filled["dtype"] = KINDS[kind].types[0]
        open_threads = filled["threads"] is None
        resolved = ResolvedOptions(**{**filled, "threads": 1} if open_threads else filled)
        if open_threads:
            resolved = replace(resolved, threads=max(1, cores() // resolved.processes))
        _check_kind(resolved)
        _check_dependents(resolved)
        _check_execution(resolved)
        _check_storage(resolved)
        _check_resources(resolved)
        return resolved

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._given == other._given

    __hash__ = None  # type: ignore[assignment]  # values may be objects of the user

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"


def _check_kind(options: ResolvedOptions) -> None:
    kind: KindName = options.kind
    if options.dtype not in KINDS[kind].types:
        raise PlanError(f"{'masks' if kind == 'mask' else kind} are written as {', '.join(KINDS[kind].types)}; got "
                        f"{options.dtype!r}", option="dtype")
    for name, option in TABLE.items():
        if option.group != "Objects" or KINDS[kind].numbered or getattr(options, name) == option.default:
            continue
        if (kind, name) != ("mask", "threshold"):
            raise PlanError(f"{kind} {'has' if kind == 'mask' else 'have'} no objects: say `kind=instances`, or leave "
                            f"out `{name}`")
    if options.average == "rot7" and options.border == "zero":
        raise PlanError("seven rotations are averaged with a mirrored border only", option="border")


def _check_dependents(options: ResolvedOptions) -> None:
    """Refuse options that would do nothing without another one."""
    if options.threshold is AUTO and options.classes is not None:
        raise PlanError("the threshold that scored best is that of the class that is cut when none is named: leave out "
                        "`classes`, or give a number", option="threshold")
    for name in ("seeds", "seed_height", "split_limit"):
        if getattr(options, name) != TABLE[name].default and options.split != "watershed":
            raise PlanError(f"`{name}` belongs to `split=watershed`: say it, or leave out `{name}`")
    if options.post is None and options.post_check != TABLE["post_check"].default:
        raise PlanError("`post_check` belongs to `post`: give a function, or leave out `post_check`")
    for name in ("table", "outlines"):
        if options.post is not None and getattr(options, name) is not None:
            raise PlanError(f"`{name}` describes objects before `post` changes them: leave out one of them, and use "
                            "tiler measure on the result")
    several = isinstance(options.weights, tuple) or (options.weights is not None and os.path.isdir(options.weights))
    if options.ensemble != TABLE["ensemble"].default and not several:
        raise PlanError("`ensemble` belongs to several `weights`: give their files or a folder, or leave out "
                        "`ensemble`")


_CONTRADICTED: Mapping[tuple[str | None, str], str] = {
    ("whole", "tiles"): "is one plain pass over each input, not tiles",
    ("whole", "stages"): "is one plain pass over each input, not stages",
    ("blend", "stages"): "averages overlapping windows, which are tiles",
}
"""Executions that a tiling rules out, and why."""


def _check_execution(options: ResolvedOptions) -> None:
    """Refuse an execution that contradicts another option."""
    contradiction = _CONTRADICTED.get((options.tiling, options.execution))
    if contradiction is not None:
        raise PlanError(f"`tiling={options.tiling}` {contradiction}: leave out `execution`")
    if options.execution != "stages":
        return
    if options.tile is not AUTO:
        raise PlanError("`tile` belongs to tiles, `execution=stages` has none: leave out one of them")
    if options.border == "mirror":
        raise PlanError("in stages a network meets its own padding at the faces of the volume: say `border=zero`, or "
                        "leave out `execution`")
    if options.average == "rot7":
        raise PlanError("seven rotations are averaged over tiles: say `average=d4`, or leave out `execution`")


def _check_storage(options: ResolvedOptions) -> None:
    if options.levels == 1 and options.downsample is not None:
        raise PlanError("`levels=none` makes no level: leave it out, or leave out `downsample`")
    if isinstance(options.shard, tuple) and options.ngff != "0.5":
        raise PlanError(f"OME-Zarr {options.ngff} has no shards: leave out `shard`, or say `ngff=0.5`")


def _check_resources(options: ResolvedOptions) -> None:
    if options.scratch is not None and (options.part is not None or options.claim):
        raise PlanError("processes that share a run store no tensors on disk: leave out `scratch`")
    if options.part is not None and options.claim:
        raise PlanError(f"part {options.part} has blocks of its own, `claim` takes those that nobody has: leave out "
                        "one of them", option="part")
    if options.scheduler is not None and options.executor != "dask":
        executor = options.executor
        name = executor if isinstance(executor, str) else type(executor).__name__
        raise PlanError(f"the scheduler {options.scheduler} belongs to dask, the executor is {name}: say "
                        "`executor=dask`, or leave out `scheduler`")
