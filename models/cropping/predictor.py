"""Predictors of networks whose output can be computed crop by crop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tiler.geometry import Box, Footprint, Shape, Span
from tiler.models.cropping import NotCroppableError, Outline, check_crops
from tiler.models.inference.backends.exported import KEPT_CROPS
from tiler.models.inference.network import Session
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.predictor.averaging import Turn, Turns
from tiler.models.predictor.evaluators import Counted
from tiler.ports import Array, Capabilities

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor

BACKENDS = ("torch", "openvino")
"""Backends that can compute crops; torch.compile and ONNX Runtime need too much time and memory per kind of crop."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CroppedTiles:
    """A `tiler.models.predictor.evaluators.Evaluator` of whole tiles, or of only the requested parts of them.

    Parameters
    ----------
    outline
        Cost of crops.
    copies
        Number of copies of the parameters that the programs for crops hold.
    """

    outline: Outline = field(repr=False)
    copies: int

    @property
    def identity(self) -> Mapping[str, Any]:
        # Convolutions of other lengths may round differently, by less than the tolerance.
        return {"crops": True}

    def counted(self, shape: tuple[int, ...]) -> Counted:
        return Counted()

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        return traced

    def scores(self, session: Session, x: torch.Tensor) -> torch.Tensor:
        return session(x)

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, crops=TorchCrops(predictor, self.outline))


@dataclass(frozen=True, slots=True)
class TorchCrops:
    """`tiler.ports.Crops` of a predictor."""

    predictor: TorchPredictor
    outline: Outline | None

    def cropped(self, batch: Array, crop: Box) -> Array:
        """``(n, channels, *crop.shape)``: a box of ``predictor(batch)``; raises the same errors."""
        if self.predictor.model.ndim == 2:
            batch = batch[:, :, crop.spans[0].slice]
        return self.predictor.run(batch, partial(self._compute, crop=crop, tile=batch.shape[2:]))

    def _compute(self, session: Session, part: Array, crop: Box, tile: Shape) -> Array:
        """Compute one box of the written output for raw inputs ``(n, c, [z], y, x)``."""
        predictor, turns = self.predictor, self._turns.turns
        x = predictor.prepared(session, part)
        total: torch.Tensor | None = None
        for turn in turns:
            made = turn.undo(self._values(session, turn.apply(x), self._turned(crop, turn, tile)))
            total = made if total is None else total.add_(made)
        assert total is not None
        mean = total if len(turns) == 1 else total.div_(len(turns))
        return session.download(predictor.written(mean))

    def _values(self, session: Session, x: torch.Tensor, crop: Box) -> torch.Tensor:
        return self.predictor.head(session.cropped(x, crop))

    @property
    def _turns(self) -> Turns:
        orientations = self.predictor.orientations
        assert isinstance(orientations, Turns), "a resampled slice is made as a whole"
        return orientations

    def _turned(self, crop: Box, turn: Turn, tile: Shape) -> Box:
        """A box of the averaged output in the output for one orientation, on the network's axes."""
        own = turn.footprint(self.predictor.plain)
        box = crop.shift(_less(self.predictor.footprint, own))
        return Box(turn.part(box, own.output(tile)).spans[3 - self.predictor.model.ndim :])

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """See `tiler.ports.Crops`; all orientations are assumed to cost the same as the plain one."""
        predictor = self.predictor
        assert self.outline is not None, "a predictor with whole inputs has operations of its own"
        first, shift = 3 - predictor.model.ndim, _less(predictor.footprint, predictor.plain)
        slices = sum(count * span.size for span, count in crops[0].items()) if first else 1
        moved = [{span.shift(by): count for span, count in axis.items()}
                 for axis, by in zip(crops[first:], shift[first:], strict=True)]
        return slices * self._turns.count * self.outline.flops(tile[first:], moved)


def _less(joint: Footprint, own: Footprint) -> Shape:
    """Number of voxels that an average drops at the low end in addition to one orientation."""
    return tuple(a - b for a, b in zip(joint.shrink_low, own.shrink_low, strict=True))


def cropped_tiles(model: LoadedModel, plain: Footprint, backend: str) -> CroppedTiles | None:
    """The evaluator that computes parts of tiles, if the network and the backend allow it, else None.

    Foreign networks are first compared with their whole output; tiler's own are compared in its tests.
    """
    if backend not in BACKENDS:
        return None
    legal = plain.covering(tuple(2 * side for side in plain.stride))[3 - model.ndim :]
    outline = Outline(model.meta, (1, model.in_channels, *legal))
    try:
        _ = outline.wiring
        if not model.registered:
            check_crops(model.build(), model.meta(), plain, model.in_channels, model.ndim)
    except NotCroppableError as reason:
        log.info("%s is run as a whole for every tile: %s", model.identity["model"], reason)
        return None
    return CroppedTiles(outline, 0 if backend == "torch" else KEPT_CROPS - 1)
