"""Predictors of networks that run in stages, which is exact even if layers depend on their whole input."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Box, Shape, Span
from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.maps import whole
from tiler.models.aten.staged import BLOCK_VOXELS, StagedPlan
from tiler.models.cropping import Outline
from tiler.models.cropping.predictor import TorchCrops
from tiler.models.inference.network import Session
from tiler.ports import Capabilities

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor


class StageOutline:
    """Plans of a network's stages, by shape of its input. Pickling drops the recordings.

    Parameters
    ----------
    meta
        Function that returns the network without its values.
    dtype
        Number format of its activations.
    """

    def __init__(self, meta: Callable[[], nn.Module], dtype: torch.dtype) -> None:
        self._meta, self._dtype = meta, dtype

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._meta, self._dtype)

    @lru_cache(maxsize=2)  # noqa: B019  an outline lives as long as its predictor
    def plan(self, shape: tuple[int, ...]) -> StagedPlan:
        """The plan for an input ``(1, c, [z], y, x)``.

        Raises
        ------
        ModelError
            If the network cannot be run in stages at that size.
        """
        try:
            with torch.inference_mode(False), torch.no_grad():
                return StagedPlan.of(self._meta().to(self._dtype), shape)
        except NotStagedError as reason:
            raise ModelError(f"an input of {'x'.join(map(str, shape[2:]))} cannot be run in stages: {reason}: use "
                             "--tiling blend, an approximation, or --tiling whole") from reason


@dataclass(frozen=True, slots=True)
class Stages:
    """A `tiler.models.predictor.evaluators.Evaluator` that runs a network stage by stage.

    Parameters
    ----------
    outline
        Plans of its stages, by shape of the input.
    untiled
        Reason why the network cannot be tiled exactly.
    """

    outline: StageOutline = field(repr=False)
    untiled: str

    @property
    def identity(self) -> Mapping[str, Any]:
        # Sums over other blocks may round differently, by less than the law allows.
        return {"stages": BLOCK_VOXELS}

    @property
    def copies(self) -> int:
        return 0

    def check(self) -> None:
        """Do nothing: no step has to precede the first tile."""

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        """Peak bytes of stored tensors, of one block's intermediates, and of the input."""
        plan = self.outline.plan(shape)
        image = math.prod(shape) * plan.graph.nodes[0].dtype.itemsize
        return plan.peak(whole(plan.shape)) + image

    def scores(self, session: Session, x: torch.Tensor, orientation: int) -> torch.Tensor:
        return torch.cat([session.staged(each) for each in x.split(1)])

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, execution="stages", untiled=self.untiled, crops=StagedCrops(predictor))


@dataclass(frozen=True, slots=True)
class StagedCrops(TorchCrops):
    """`tiler.ports.Crops`: parts of a result, computed from the whole input only where they need it."""

    outline: Outline | None = None

    def _scores(self, session: Session, x: torch.Tensor, crop: Box) -> torch.Tensor:
        return torch.cat([session.staged(each, crop) for each in x.split(1)])

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Operations of the crops, each counted as a pass over the whole input, which no crop exceeds by much."""
        each = self.predictor.cost((1, *tile[1:]) if self.predictor.model.ndim == 2 else tile, 1).flops
        slices = sum(count * span.size for span, count in crops[0].items()) if self.predictor.model.ndim == 2 else 1
        return each * slices * math.prod(sum(axis.values()) for axis in crops[3 - self.predictor.model.ndim :])
