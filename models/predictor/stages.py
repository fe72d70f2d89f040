"""Predictors of networks that run in stages, which is exact even if layers depend on their whole input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from tiler.geometry import Box, Shape, Span
from tiler.models.aten.maps import whole
from tiler.models.aten.staged import BLOCK_VOXELS
from tiler.models.aten.work import work_of
from tiler.models.cropping.predictor import TorchCrops
from tiler.models.inference.network import Session
from tiler.models.predictor.evaluators import Counted
from tiler.models.predictor.stage_outline import StageOutline
from tiler.models.predictor.stored_stages import StoredStages
from tiler.ports import Capabilities

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor


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

    def counted(self, shape: tuple[int, ...]) -> Counted:
        plan = self.outline.plan(shape)
        return Counted(work_of(plan), plan.stages, plan.statistics)

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        """Peak bytes of stored tensors, of one block's intermediates, and of the input."""
        plan = self.outline.plan(shape)
        image = math.prod(shape) * plan.graph.nodes[0].dtype.itemsize
        return plan.peak(whole(plan.shape)) + image

    def scores(self, session: Session, x: torch.Tensor) -> torch.Tensor:
        plan = self.outline.plan((1, *x.shape[1:]))
        return torch.cat([session.staged(each, plan) for each in x.split(1)])

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, execution="stages", untiled=self.untiled, crops=StagedCrops(predictor, self.outline),
                       stager=StoredStages(predictor, self.outline))


@dataclass(frozen=True, slots=True)
class StagedCrops(TorchCrops):
    """`tiler.ports.Crops`: parts of a result, computed from the whole input only where they need it."""

    outline: StageOutline  # type: ignore[assignment]  # that of stages in place of that of crops

    def _values(self, session: Session, x: torch.Tensor, crop: Box) -> torch.Tensor:
        plan = self.outline.plan((1, *x.shape[1:]))
        return torch.cat([session.staged(each, plan, crop, self.predictor.head) for each in x.split(1)])

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Operations of the crops, each counted as a pass over the whole input, which no crop exceeds by much."""
        each = self.predictor.cost((1, *tile[1:]) if self.predictor.model.ndim == 2 else tile, 1).flops
        slices = sum(count * span.size for span, count in crops[0].items()) if self.predictor.model.ndim == 2 else 1
        return each * slices * math.prod(sum(axis.values()) for axis in crops[3 - self.predictor.model.ndim :])
