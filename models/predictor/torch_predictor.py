"""The predictor: a network with everything that turns a raw tile into what is written."""

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
from tiler.models.inference.backends import open_backend
from tiler.models.inference.cost import Tracer, overhead
from tiler.models.inference.devices import memory_of, model_of
from tiler.models.inference.network import Network, Session
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.loading.processing_steps import Measured
from tiler.models.loading.weights import Normalisation
from tiler.models.predictor import heads
from tiler.models.predictor.averaging import TURNS, Turn, mean_over, union
from tiler.models.predictor.options import PredictorOptions
from tiler.models.predictor.rotation import ANGLES, Rotations
from tiler.models.probe.inject import Answers
from tiler.ports import Array, Border, Cost, Tiling

PLANNED = 0.8
"""Share of a device's free memory that plans count on: cuDNN takes workspaces, of which shapes do not tell."""


@dataclass(frozen=True)
class TorchPredictor:
    """``(n, c, z, y, x)`` raw tiles to ``(n, channels, z, y, x)``: a `tiler.ports.Predictor`.

    Made by `open_predictor`. Picklable; every process opens the network on its first call.

    Parameters
    ----------
    model
        What the network is.
    options
        With nothing left open: no ``"auto"``, no None but for what is not used.
    network
        How it runs.
    tracer
        What it costs.
    plain
        Footprint of the network alone.
    border
        What the canvas holds beyond the volume, by default.
    names
        Of all channels of the network.
    chosen
        Those that are given out.
    scaling
        Of grey values; None leaves them as they are.
    inexact
        Why the network cannot be tiled exactly, where it cannot.
    """

    model: LoadedModel
    options: PredictorOptions
    network: Network = field(repr=False)
    tracer: Tracer = field(repr=False)
    plain: Footprint
    border: Border
    names: tuple[str, ...]
    chosen: tuple[int, ...]
    scaling: Normalisation | None
    inexact: str = ""

    @property
    def footprint(self) -> Footprint:
        if self._rotations:
            return self._rotations.footprint
        return union(self.plain, self._turns)

    @property
    def in_channels(self) -> int:
        return self.model.in_channels

    @property
    def classes(self) -> tuple[str, ...]:
        if self.options.kind != "probabilities":
            return (self.options.kind,)
        return tuple(self.names[index] for index in self.chosen)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.options.dtype)

    @property
    def feeders(self) -> int:
        """How many threads may call it at once, each served by a device, or by a part of one."""
        return self.network.feeders

    @property
    def device_memory(self) -> int | None:
        """Bytes that each pass may take on its device; None where passes take the machine's own memory."""
        devices = self.network.devices
        found = [memory_of(device) for device in devices]
        least = min((free for free in found if free is not None), default=None)
        return None if least is None else int(PLANNED * least) * len(devices) // self.feeders

    @property
    def needs_statistics(self) -> bool:
        """Whether `with_statistics` has to be called before the first batch."""
        return self.scaling is None and (self.options.normalise == "volume" or self.measures is not None)

    @property
    def measures(self) -> Measured | None:
        """How the model wants each input to be scaled by its own statistics, where nothing else was asked for."""
        return self.model.measured if self.options.normalise == "weights" else None

    @property
    def identity(self) -> Mapping[str, Any]:
        device = self.network.device
        cpu = device.type == "cpu"
        return {
            **self.model.identity,
            "backend": open_backend(self.options.backend).version(device),
            "device": device.type if cpu else f"{device.type} {model_of(device)}",
            "threads": self.options.threads if cpu else None,
            "precision": self.options.precision,
            "head": self.options.head,
            "classes": list(self.classes),
            "names": list(self.names),
            "kind": self.options.kind,
            "dtype": self.options.dtype,
            "average": self.options.average,
            "normalise": self._scaling_identity(),
        }

    @property
    def expects(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of the training data in grey values, where the weights' own are used."""
        if self.options.normalise != "weights" or self.scaling is None or self.model.measured is not None:
            return None
        mean, std = (tuple(self.scaling.scale * value for value in values)
                     for values in (self.scaling.mean, self.scaling.std))
        return mean, std

    def _scaling_identity(self) -> Any:
        if self.scaling is None:
            return "volume" if self.needs_statistics else "none"
        return {"scale": self.scaling.scale, "mean": list(self.scaling.mean), "std": list(self.scaling.std)}

    def as_it_is(self) -> TorchPredictor:
        """The same predictor for inputs that are scaled already."""
        return replace(self, scaling=Normalisation(1.0, (0.0,), (1.0,)))

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> TorchPredictor:
        """The same predictor, normalising each input channel with these, in the source's grey values."""
        if self.model.measured is not None:
            mean, std = self.model.measured.scaling(mean, std)
        # A channel of one grey value has no contrast to scale.
        scaling = Normalisation(1.0, tuple(mean), tuple(value or 1.0 for value in std))
        return replace(self, scaling=scaling.checked(self.in_channels))

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Of one batch; the CPU runs its inputs one by one, so that only one of them has live tensors."""
        inputs = batch * (tile[0] if self.model.ndim == 2 else 1)
        together = 1 if self._one_by_one else inputs
        trace = self.tracer.at((1, self.in_channels, *self._network_size(tile)))
        output = math.prod(self.footprint.output(tile)) * batch
        part = together / inputs
        wide = self.network.exact_type.itemsize
        # Beside the network: the normalised input and its turned copy, one part's sum and one orientation.
        beside = part * wide * batch * 2 * (math.prod(tile) * self.in_channels + output * len(self.names) / batch)
        extra = overhead(self.network.device.type, self.network.precision, self.network.backend)
        peak = extra.peak(trace.live * together, self.tracer.parameters)
        written = output * len(self.classes) * self.dtype.itemsize
        return Cost(
            flops=trace.flops * inputs * self._passes,
            bytes=int(peak + beside + written),
            exact=trace.exact,
        )

    def __call__(self, batch: Array) -> Array:
        """``(n, channels, *footprint.output(tile))`` for a batch ``(n, c, *tile)`` in the source's dtype.

        Raises
        ------
        ModelError
            If the batch has another number of channels, or the volume's statistics are missing.
        OutputShapeError
            If the network gives another shape than its footprint says.
        MemoryBudgetError
            If the device has not enough memory.
        """
        return self._run(batch, self._compute)

    @property
    def tiling(self) -> Tiling:
        return self.options.tiling or "exact"

    @property
    def channels(self) -> int:
        return len(self.names)

    def soft(self, batch: Array) -> Array:
        """``(n, channels, *tile)``: probabilities of all channels, before any is chosen or rounded."""
        self._check(batch)
        return self._run(batch, lambda session, part: session.download(self._probabilities(session, part)))

    def written(self, values: Array) -> Array:
        """What is written for the probabilities ``(channels, *size)`` of all channels."""
        return self._chosen(torch.from_numpy(values)[None]).numpy()[0]

    def _run(self, batch: Array, compute: Callable[[Session, Array], Array]) -> Array:
        """What is computed for the network inputs in a batch, in parts as large as the device likes."""
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

    def _check(self, batch: Array) -> None:
        if batch.ndim != 5 or batch.shape[1] != self.in_channels:
            raise ModelError(f"the network takes {self.in_channels} channel(s) in a batch (n, c, z, y, x), got "
                             f"the shape {batch.shape}: choose channels (--channel), or another --model")
        if self.needs_statistics:
            raise ModelError("the volume's mean and standard deviation are not known yet: a predictor with "
                             "--normalise volume runs after with_statistics")
        if self._rotations and batch.shape[3:] != self._rotations.outer:
            raise OutputShapeError(f"seven rotations take one tile of {self._rotations.outer} for a slice of "
                                   f"{self._rotations.slice_shape}, got {batch.shape[3:]} (--tile, --average)")

    @property
    def _one_by_one(self) -> bool:
        """On the CPU a batch gains nothing (measured on a U-Net of base 64, two threads, four tiles of 572: 6.32 s
        one by one, 6.98 s together, bit-identical), and one input at a time is the same for every batch."""
        return self.network.device.type == "cpu"

    def _parts(self, inputs: Array) -> Iterator[Array]:
        step = 1 if self._one_by_one else len(inputs)
        return (inputs[start : start + step] for start in range(0, len(inputs), step))

    def _compute(self, session: Session, part: Array) -> Array:
        """What is written for raw inputs ``(n, c, [z], y, x)``."""
        return session.download(self._chosen(self._probabilities(session, part)))

    def _probabilities(self, session: Session, part: Array) -> torch.Tensor:
        """Of all channels, for the same."""
        x, forward = self._prepared(session, part), partial(self._forward, session)
        if self._rotations:
            return self._rotations.mean(forward, x)
        return mean_over(forward, x, self.plain, self._turns)

    def _chosen(self, values: torch.Tensor) -> torch.Tensor:
        """What is given out of the probabilities of all channels, in the type in which it is written."""
        if self.options.kind == "probabilities":
            return heads.quantise(values[:, list(self.chosen)], self.dtype)
        return heads.labels(values)

    def _prepared(self, session: Session, part: Array) -> torch.Tensor:
        """Raw inputs on the device, which they reach in their own type, normalised there."""
        x = session.upload(np.require(part, requirements=["C", "W"]))
        return self._scaled(x.to(self.network.exact_type))

    def _scaled(self, x: torch.Tensor) -> torch.Tensor:
        if self.scaling is None:
            return x
        mean, std = (
            torch.tensor(values, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 2))
            for values in (self.scaling.mean, self.scaling.std)
        )
        return x.div(self.scaling.scale).sub_(mean).div_(std)  # x may be the caller's own array

    def _forward(self, session: Session, x: torch.Tensor, orientation: int = 0) -> torch.Tensor:
        values = session(x, self._answers(orientation))
        planes = (1,) if self.model.ndim == 2 else ()
        wanted = self.plain.output((*planes, *x.shape[2:]))[len(planes) :]
        if values.shape[2:] != wanted or values.shape[1] != len(self.names):
            raise OutputShapeError(f"the network gives {tuple(values.shape[1:])} for an input of "
                                   f"{tuple(x.shape[1:])}, its footprint says {(len(self.names), *wanted)}: "
                                   "run tiler probe on it (--model)")
        return values

    @property
    def _rotations(self) -> Rotations | None:
        if self.options.average != "rot7" or self.options.slice_shape is None:
            return None
        return Rotations(self.plain, self.options.slice_shape)

    def _answers(self, orientation: int) -> Answers | None:
        """What global layers are told under one orientation; None where there are none."""
        return None

    @property
    def _turns(self) -> tuple[Turn, ...]:
        return TURNS[self.options.average]

    @property
    def _passes(self) -> int:
        return len(ANGLES) if self._rotations else len(self._turns)

    def _network_size(self, tile: Shape) -> Shape:
        """``([z], y, x)`` of one input of the network."""
        size = (tile[0], *self._rotations.inner) if self._rotations else tile
        return size[3 - self.model.ndim :]
