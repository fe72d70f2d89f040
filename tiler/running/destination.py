"""The part of an output that stages use, and its form in memory."""

from __future__ import annotations

from typing import Literal, Protocol

from tiler.ports import OutputSpec, Sink
from tiler.sinks import open_sink
from tiler.stores.shelf import Shelf, shelf_at

StageName = Literal["labels", "whole", "objects", "posted"]
STAGES: dict[StageName, str] = {"labels": ".stage.zarr", "whole": ".whole.stage.zarr", "objects": ".objects.stage.zarr",
                                "posted": ".posted.stage.zarr"}
"""Kinds of voxels that are stored for a later stage, and the suffix that each adds to the name of the output."""


class Destination(Protocol):
    """The part of an output that stages use."""

    def sink(self, spec: OutputSpec) -> Sink:
        """The output itself."""
        ...

    def stage(self, spec: OutputSpec, name: StageName = "labels") -> Sink:
        """A sink beside the output, for voxels that a later stage reads."""
        ...

    def shelf(self, name: str) -> Shelf:
        """Store for arrays that a later stage needs."""
        ...

    def discard_stage(self) -> None:
        """Remove the data of earlier stages."""
        ...


class InMemory:
    """An array: a `Destination` that leaves nothing behind."""

    def sink(self, spec: OutputSpec) -> Sink:
        return open_sink(None, spec)

    def stage(self, spec: OutputSpec, name: StageName = "labels") -> Sink:
        return open_sink(None, spec)

    def shelf(self, name: str) -> Shelf:
        return shelf_at(None)

    def discard_stage(self) -> None:
        """Nothing to do: earlier stages stored their data in memory only."""
