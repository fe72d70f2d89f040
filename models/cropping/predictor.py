"""The predictor of networks whose output can be made crop by crop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from tiler.geometry import Box, Footprint, Shape, Span
from tiler.models.cropping import NotCroppableError, Outline, check_crops
from tiler.models.inference.backends.exported import KEPT_CROPS
from tiler.models.inference.network import Session
from tiler.models.predictor.averaging import Turn
from tiler.models.predictor.torch_predictor import TorchPredictor
from tiler.ports import Array, Cost

BACKENDS = ("torch", "openvino")
"""That can make crops alone: torch.compile takes too long for each kind of them, ONNX Runtime keeps memory for each."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CroppingTorchPredictor(TorchPredictor):
    """A `TorchPredictor` that is a `tiler.ports.CroppingPredictor` too.

    Parameters
    ----------
    outline
        What its crops cost.
    """

    outline: Outline = field(kw_only=True, repr=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        # Convolutions of other lengths may round differently, by less than the law allows.
        return {**super().identity, "crops": True}

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Of whole tiles, which crops never exceed; with the weights that programs for crops hold."""
        whole = super().cost(tile, batch)
        kept = 0 if self.options.backend == "torch" else (KEPT_CROPS - 1) * self.tracer.parameters
        return replace(whole, bytes=whole.bytes + kept)

    def cropped(self, batch: Array, crop: Box) -> Array:
        """``(n, channels, *crop.shape)``: a box of ``self(batch)``; raises what that raises."""
        if self.model.ndim == 2:
            batch = batch[:, :, crop.spans[0].slice]
        return self._run(batch, partial(self._compute_crop, crop=crop, tile=batch.shape[2:]))

    def _compute_crop(self, session: Session, part: Array, crop: Box, tile: Shape) -> Array:
        """What is written in one box of the output for raw inputs ``(n, c, [z], y, x)``."""
        x = self._prepared(session, part)
        total = None
        for turn in self._turns:
            made = turn.undo(session.cropped(turn.apply(x), self._turned(crop, turn, tile)))
            total = made if total is None else total.add_(made)
        assert total is not None
        mean = total if len(self._turns) == 1 else total.div_(len(self._turns))
        return session.download(self._chosen(mean))

    def _turned(self, crop: Box, turn: Turn, tile: Shape) -> Box:
        """A box of the averaged output in the output for one orientation, on the network's axes."""
        own = turn.footprint(self.plain)
        box = crop.shift(_less(self.footprint, own))
        return Box(turn.part(box, own.output(tile)).spans[3 - self.model.ndim :])

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """See `tiler.ports.CroppingPredictor`; all orientations are taken to cost what the plain one does."""
        first, shift = 3 - self.model.ndim, _less(self.footprint, self.plain)
        slices = sum(count * span.size for span, count in crops[0].items()) if first else 1
        moved = [{span.shift(by): count for span, count in axis.items()}
                 for axis, by in zip(crops[first:], shift[first:], strict=True)]
        return slices * self._passes * self.outline.flops(tile[first:], moved)


def _less(joint: Footprint, own: Footprint) -> Shape:
    """How much more an average drops at the low end than one orientation does."""
    return tuple(a - b for a, b in zip(joint.shrink_low, own.shrink_low, strict=True))


def with_crops(predictor: TorchPredictor) -> TorchPredictor:
    """The same predictor, making no more than is asked for where its network and backend allow that.

    Networks of others are held to their whole output first; tiler's own are so by its tests.
    """
    model, plain = predictor.model, predictor.plain
    if predictor.options.backend not in BACKENDS or predictor.options.average == "rot7":
        return predictor
    legal = plain.covering(tuple(2 * side for side in plain.stride))[3 - model.ndim :]
    outline = Outline(model.meta, (1, model.in_channels, *legal))
    try:
        _ = outline.wiring
        if not model.registered:
            check_crops(model.build(), model.meta(), plain, model.in_channels, model.ndim)
    except NotCroppableError as reason:
        log.info("%s is run as a whole for every tile: %s", model.identity["model"], reason)
        return predictor
    own = {each.name: getattr(predictor, each.name) for each in fields(predictor)}
    return CroppingTorchPredictor(**own, outline=outline)
