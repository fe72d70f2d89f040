"""Plans of the stages of a network, recorded once in a process for each shape of its input."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

import torch

from tiler.errors import ModelError
from tiler.models.aten import staged
from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.staged import StagedPlan
from tiler.models.loading.loaded_model import LoadedModel

KEPT_PLANS = 4
"""Number of plans that a process keeps: those of one shape, of its quarter turn, and of a network before."""

_plans: dict[str, StagedPlan] = {}
_planning = threading.RLock()


@dataclass(frozen=True, slots=True)
class StageOutline:
    """Plans of a network's stages, by shape of its input. A process keeps the latest ones.

    Parameters
    ----------
    model
        The network.
    dtype
        Number format of its activations.
    """

    model: LoadedModel
    dtype: torch.dtype

    def plan(self, shape: tuple[int, ...], voxels: int | None = None) -> StagedPlan:
        """The plan for an input ``(1, c, [z], y, x)``, with blocks of at most this number of voxels.

        Raises
        ------
        ModelError
            If the network cannot be run in stages at that size.
        """
        voxels = voxels or staged.BLOCK_VOXELS
        key = json.dumps([dict(self.model.identity), str(self.dtype), shape, voxels], sort_keys=True)
        with _planning:
            if key not in _plans:
                made = self._plan(shape, voxels)
                while len(_plans) >= KEPT_PLANS:
                    del _plans[next(iter(_plans))]
                _plans[key] = made
            return _plans[key]

    def _plan(self, shape: tuple[int, ...], voxels: int) -> StagedPlan:
        try:
            with torch.inference_mode(False), torch.no_grad():
                return StagedPlan.of(self.model.meta().to(self.dtype), shape, voxels)
        except NotStagedError as reason:
            raise ModelError(f"an input of {'x'.join(map(str, shape[2:]))} cannot be run in stages: {reason}: use "
                             "`tiling=blend`, an approximation, or `tiling=whole`") from reason
