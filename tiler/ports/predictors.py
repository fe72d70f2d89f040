"""The port of networks: predictors and their capabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from tiler.geometry import Box, Footprint, Shape, Span
from tiler.ports.staging import Staged
from tiler.ports.training import UNSTATED, TrainedOn
from tiler.ports.volumes import Array, Json

Border = Literal["mirror", "zero"]
Tiling = Literal["exact", "blend", "whole"]
Execution = Literal["tiles", "stages"]
Meaning = Literal["probabilities", "labels"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one forward pass of one tile.

    Parameters
    ----------
    flops
        Floating-point operations; a multiply-add counts as two.
    bytes
        Peak memory of the pass in bytes, input and output included.
    exact
        Whether the figures come from a trace of the network, not from measuring small tiles.
    work
        Operations over those of one plain pass.
    stages, statistics
        Number of tensors that are made one after another, and of statistics of the whole input; 0 in tiles.
    """

    flops: float
    bytes: int
    exact: bool = True
    work: float = 1.0
    stages: int = 0
    statistics: int = 0


@runtime_checkable
class Predictor(Protocol):
    """A network with everything that changes its result: weights, normalisation, averaging, head, output type.

    Attributes
    ----------
    footprint
        Footprint of the whole predictor along (z, y, x).
    border
        Default contents of the canvas beyond the volume.
    in_channels
        Channels of the batch.
    classes
        Names of the output channels.
    dtype
        Type of the output.
    identity
        JSON that changes when the result changes.
    expects
        Mean and standard deviation of each channel's grey values in the training data, if the normalisation relies on
        them; else None.
    capabilities
        Further abilities, and the meaning of its values; ``Capabilities()`` for a predictor that is tiled exactly,
        called by one thread, and returns probabilities.
    """

    @property
    def footprint(self) -> Footprint: ...
    @property
    def border(self) -> Border: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def identity(self) -> Json: ...
    @property
    def expects(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None: ...
    @property
    def capabilities(self) -> Capabilities: ...

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Return the cost of one batch of tiles."""
        ...

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Predictor:
        """Return the predictor that normalises each input channel with these statistics, in grey values."""
        ...

    def __call__(self, batch: Array) -> Array:
        """Predict ``(n, channels, *footprint.output(tile))`` from a batch ``(n, c, *tile)`` in the source's dtype."""
        ...


class TorchModule(Protocol):
    """The part of a ``torch.nn.Module`` that the engine uses."""

    def parameters(self, recurse: bool = True) -> Iterator[Any]: ...
    def eval(self) -> Any: ...


PREDICTOR = ("footprint", "border", "in_channels", "classes", "dtype", "identity", "expects", "capabilities", "cost",
             "with_statistics", "__call__")
"""Attributes and methods that a predictor must have."""


def missing_in(candidate: object) -> tuple[str, ...]:
    """Return the attributes and methods of `Predictor` that an object lacks; empty for a predictor."""
    return tuple(name for name in PREDICTOR if not hasattr(candidate, name))


class Crops(Protocol):
    """Computes a box of a tile's output without the rest."""

    def cropped(self, batch: Array, crop: Box) -> Array:
        """Compute ``(n, channels, *crop.shape)``, equal to that box of the whole output for the batch."""
        ...

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Return the operations for all crops that are products of spans; ``crops`` counts each span on each axis."""
        ...


class Soft(Protocol):
    """Values that can be averaged where windows overlap, and their conversion to the output.

    Attributes
    ----------
    channels
        Number of channels of `soft`.
    """

    @property
    def channels(self) -> int: ...

    def soft(self, batch: Array) -> Array:
        """Compute ``(n, channels, *tile)`` in floating point for a batch ``(n, c, *tile)``."""
        ...

    def written(self, values: Array) -> Array:
        """Convert such values ``(channels, *size)`` to the type and the classes of the output."""
        ...


class Measures(Protocol):
    """Scaling of a model's input by its own statistics."""

    @property
    def rule(self) -> str:
        """Rule as in ``normalise``: ``volume`` or ``volume:LOW,HIGH``."""
        ...

    @property
    def each_input(self) -> bool:
        """Whether every input of the network has statistics of its own."""
        ...

    def scaling(
        self, centre: tuple[float, ...], spread: tuple[float, ...]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the offset to subtract from each channel, and the divisor."""
        ...


@dataclass(frozen=True, slots=True)
class OwnScaling:
    """A model's own scaling of its input, for runs that request no other scaling.

    Parameters
    ----------
    measures
        Statistics and their use.
    done
        The same predictor for inputs that are already scaled.
    """

    measures: Measures
    done: Predictor


class InStages(Protocol):
    """A network that could run in stages as well."""

    def takes(self, shape: Shape) -> bool:
        """Whether the network takes an input ``(z, y, x)`` as it is and keeps its size."""
        ...

    def predictor(self) -> Predictor:
        """Return the predictor that runs in stages; raises `ModelError` if its self-check fails."""
        ...


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Abilities of a predictor beyond computing whole tiles, and the meaning of its values.

    Parameters
    ----------
    meaning
        "probabilities": a value for each class (scores, where the network has no head); "labels": one channel of
        class indices, from which objects can be made.
    tiling
        "exact": the values of one pass over the whole input; "blend": overlapping windows that are averaged; "whole":
        one plain pass over every input.
    execution
        How an exact predictor runs: "tiles" with context, or "stages", each of which computes one of the network's
        tensors for the whole input.
    untiled
        Layer and reason why it cannot run in exact tiles; empty if it can.
    feeders
        Number of threads that may call it at the same time. A device, or a part of one, serves each of them; no result
        depends on which.
    device_memory
        Bytes that each pass may take on its device; None if passes take the machine's own memory.
    standardised
        Whether the network was trained on grey values less their mean, divided by their deviation.
    trained_on
        The kind of data that the network was trained on, as far as its weights state it.
    needs_statistics
        Whether `with_statistics` must be called before the first batch.
    own_scaling
        The model's own scaling by statistics of its input, or None.
    crops
        Computes parts of an output; None if only whole tiles are computed.
    soft
        Values to average; needed if `tiling` is "blend".
    in_stages
        The same network in stages, if it can run in both ways and this one is tiles; else None.
    stager
        Computes stored tensors one by one, so that they need not lie in memory; None if it cannot.
    """

    meaning: Meaning = "probabilities"
    tiling: Tiling = "exact"
    execution: Execution = "tiles"
    untiled: str = ""
    feeders: int = 1
    device_memory: int | None = None
    standardised: bool = False
    trained_on: TrainedOn = UNSTATED
    needs_statistics: bool = False
    own_scaling: OwnScaling | None = None
    crops: Crops | None = None
    soft: Soft | None = None
    in_stages: InStages | None = None
    stager: Staged | None = None

    @property
    def exact(self) -> bool:
        """Whether its values are those of one pass over the whole input."""
        return self.tiling == "exact"

    @property
    def tiled(self) -> bool:
        """Whether it runs in exact tiles."""
        return self.exact and self.execution == "tiles"

    @property
    def staged(self) -> bool:
        """Whether it runs in stages."""
        return self.execution == "stages"

    @property
    def blended(self) -> bool:
        """Whether it is run in windows that overlap and are averaged."""
        return self.tiling == "blend"

    @property
    def whole(self) -> bool:
        """Whether every input is run in one plain pass, by choice or because the output is not a map."""
        return self.tiling == "whole"

    @property
    def in_one_piece(self) -> bool:
        """Whether each network input is one tile: a slice, or the volume."""
        return self.whole or self.staged
