"""The predictor: a network between small steps that turn a raw tile into the values to write.

::

    grey values -> scaling -> orientations( evaluator(network) -> head ) -> written

Each step is a frozen value that states its part of the identity; the predictor combines them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from tiler.errors import ModelError, OutputShapeError
from tiler.geometry import Footprint, Shape
from tiler.models.inference.cost import Tracer, overhead
from tiler.models.inference.network import Network, Session
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.predictor.averaging import Orientations
from tiler.models.predictor.evaluators import Evaluator
from tiler.models.predictor.heads import Activation
from tiler.models.predictor.scaling import Scaling
from tiler.models.predictor.written import Written
from tiler.ports import Array, Border, Capabilities, Cost, InStages, OwnScaling


@dataclass(frozen=True)
class TorchPredictor:
    """A `tiler.ports.Predictor`: ``(n, c, z, y, x)`` raw tiles to ``(n, channels, z, y, x)``.

    Created by `open_predictor`. Picklable; every process opens the network on its first call.

    Parameters
    ----------
    model
        The model: how to build its network, and what belongs to it.
    network
        The network on its devices.
    tracer
        Cost of its forward passes.
    border
        Default content of the canvas beyond the volume.
    scaling
        From grey values to the network's input.
    orientations
        Orientations in which the network sees each input, and how their results are averaged.
    evaluator
        How the network runs on one input.
    head
        From scores to values of all classes.
    written
        From values of all classes to the values to write.
    otherwise
        The same network in stages, if it could run so.
    """

    model: LoadedModel
    network: Network = field(repr=False)
    tracer: Tracer = field(repr=False)
    border: Border
    scaling: Scaling
    orientations: Orientations
    evaluator: Evaluator
    head: Activation
    written: Written
    otherwise: InStages | None = field(default=None, repr=False)

    @property
    def plain(self) -> Footprint:
        """Footprint of the network alone."""
        return self.orientations.plain

    @property
    def footprint(self) -> Footprint:
        return self.orientations.footprint

    @property
    def in_channels(self) -> int:
        return self.model.in_channels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.written.classes

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.written.dtype

    @property
    def expects(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of the training data in grey values, if the weights' own scaling is used."""
        return self.scaling.expects

    @property
    def capabilities(self) -> Capabilities:
        measures = self.scaling.measures
        base = Capabilities(
            meaning=self.written.meaning,
            feeders=self.network.feeders,
            in_stages=self.otherwise,
            device_memory=self.network.memory,
            standardised=self.scaling.standardised,
            trained_on=self.model.trained_on,
            needs_statistics=self.scaling.waits,
            own_scaling=None if measures is None else OwnScaling(measures, replace(self, scaling=self.scaling.done())),
        )
        return self.evaluator.capabilities(base, self)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            **self.model.identity,
            **self.network.identity,
            "head": self.head.name,
            "classes": list(self.classes),
            "names": list(self.written.names),
            "kind": self.written.kind,
            "dtype": self.dtype.name,
            **self.orientations.identity,
            "normalise": self.scaling.identity,
            **self.evaluator.identity,
        }

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> TorchPredictor:
        """The same predictor, normalising each input channel with these statistics, in the source's grey values."""
        return replace(self, scaling=self.scaling.with_statistics(mean, std, self.in_channels))

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Memory of one batch; the CPU runs its inputs one by one, so that only one of them has live tensors."""
        inputs = batch * (tile[0] if self.model.ndim == 2 else 1)
        together = 1 if self.network.one_by_one else inputs
        size = self.orientations.network_size(tile)[3 - self.model.ndim :]
        trace = self.tracer.at((1, self.in_channels, *size))
        live = self.evaluator.live(trace.live, (1, self.in_channels, *size))
        output = math.prod(self.footprint.output(tile)) * batch
        part = together / inputs
        wide = self.network.exact_type.itemsize
        # Besides the network: the normalised input and its turned copy, the sum of one part and one orientation.
        channels = self.written.channels
        beside = part * wide * batch * 2 * (math.prod(tile) * self.in_channels + output * channels / batch)
        extra = overhead(self.network.device.type, self.network.precision, self.network.backend)
        peak = extra.peak(live * together, self.tracer.parameters)
        written = output * len(self.classes) * self.dtype.itemsize
        counted = self.evaluator.counted((1, self.in_channels, *size))
        return Cost(
            flops=trace.flops * counted.work * inputs * self.orientations.count,
            bytes=int(peak + beside + written) + self.evaluator.copies * self.tracer.parameters,
            exact=trace.exact,
            work=counted.work,
            stages=counted.stages,
            statistics=counted.statistics,
        )

    def __call__(self, batch: Array) -> Array:
        """``(n, channels, *footprint.output(tile))`` for a batch ``(n, c, *tile)`` in the source's dtype.

        Raises
        ------
        ModelError
            If the batch has another number of channels, or the volume's statistics are missing.
        OutputShapeError
            If the shape of the network's output contradicts its footprint.
        MemoryBudgetError
            If the device runs out of memory.
        """
        return self.run(batch, lambda session, part: session.download(self.written(self.values(session, part))))

    def run(self, batch: Array, compute: Callable[[Session, Array], Array]) -> Array:
        """Compute the network inputs of a batch, in parts of the size that suits the device.

        Parameters
        ----------
        batch
            ``(n, c, *tile)`` in the source's dtype.
        compute
            From ``(m, c, [z], y, x)`` to ``(m, channels, [z], y, x)``, slice by slice for networks of slices.
        """
        self._check(batch)
        flat = self.model.ndim == 2
        inputs = np.moveaxis(batch, 2, 1).reshape(-1, batch.shape[1], *batch.shape[3:]) if flat else batch
        with self.network.session() as session:
            parts = [compute(session, part) for part in self._parts(inputs)]
        output = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if not flat:
            return output
        planes = output.reshape(len(batch), batch.shape[2], *output.shape[1:])
        return np.ascontiguousarray(np.moveaxis(planes, 1, 2))

    def values(self, session: Session, part: Array) -> torch.Tensor:
        """``(m, k, [z], y, x)``: values of all channels after the head, for raw inputs ``(m, c, [z], y, x)``."""
        return self.orientations.mean(partial(self._oriented, session), self.prepared(session, part))

    def prepared(self, session: Session, part: Array) -> torch.Tensor:
        """Copy raw inputs to the device in their own dtype, and normalise them there."""
        x = session.upload(np.require(part, requirements=["C", "W"]))
        return self.scaling(x.to(self.network.exact_type))

    def _oriented(self, session: Session, x: torch.Tensor) -> torch.Tensor:
        values = self.head(self.evaluator.scores(session, x))
        planes = (1,) if self.model.ndim == 2 else ()
        wanted = self.plain.output((*planes, *x.shape[2:]))[len(planes) :]
        channels = self.written.channels
        if values.shape[2:] != wanted or values.shape[1] != channels:
            raise OutputShapeError(f"the network gives {tuple(values.shape[1:])} for an input of "
                                   f"{tuple(x.shape[1:])}, its footprint says {(channels, *wanted)}: "
                                   "run tiler probe on it", option="model")
        return values

    def _parts(self, inputs: Array) -> Iterator[Array]:
        step = 1 if self.network.one_by_one else len(inputs)
        return (inputs[start : start + step] for start in range(0, len(inputs), step))

    def _check(self, batch: Array) -> None:
        if batch.ndim != 5 or batch.shape[1] != self.in_channels:
            raise ModelError(f"the network takes {self.in_channels} channel(s) in a batch (n, c, z, y, x), got "
                             f"the shape {batch.shape}: choose channels (`channel`), or another `model`")
        self.scaling.check()
        self.orientations.check(batch.shape[2:])
