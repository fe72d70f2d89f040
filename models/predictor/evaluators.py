"""How a predictor runs its network: on whole tiles, in windows, in one piece, or in another way that plugs in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tiler.models.inference.network import Session
from tiler.ports import Array, Capabilities, Tiling

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor


class Evaluator(Protocol):
    """Runs a network on one prepared input, in one orientation. Frozen and picklable.

    Attributes
    ----------
    identity
        What this way of running adds to the identity of a predictor.
    copies
        How many copies of the network's parameters it holds beside the network's own.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...
    @property
    def copies(self) -> int: ...

    def check(self) -> None:
        """Raise `ModelError` where something must come before the first tile."""
        ...

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        """Bytes of all tensors alive at the worst moment for an input of a shape; `traced` are those of one pass."""
        ...

    def scores(self, session: Session, x: torch.Tensor, orientation: int) -> torch.Tensor:
        """``(n, k, [z], y, x)``: what the network gives for ``(n, c, [z], y, x)``, before any head."""
        ...

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        """Those of a predictor that runs its network so; `base` holds what is the same for all of them."""
        ...


@dataclass(frozen=True, slots=True)
class WholeTiles:
    """The network as it is, on exact tiles."""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {}

    @property
    def copies(self) -> int:
        return 0

    def check(self) -> None:
        """Nothing has to come first."""

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        return traced

    def scores(self, session: Session, x: torch.Tensor, orientation: int) -> torch.Tensor:
        return session(x)

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return base


@dataclass(frozen=True, slots=True)
class Inexact(WholeTiles):
    """The network as it is, on windows that overlap and are averaged, or on inputs in one piece.

    Parameters
    ----------
    tiling
        "blend" or "whole".
    inexact
        Why the network cannot be tiled exactly: layer and reason.
    """

    tiling: Tiling = "whole"
    inexact: str = ""

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, tiling=self.tiling, inexact=self.inexact, soft=SoftTiles(predictor))


@dataclass(frozen=True, slots=True)
class SoftTiles:
    """`tiler.ports.Soft` of a predictor: the values of all classes, before any is chosen or rounded."""

    predictor: TorchPredictor

    @property
    def channels(self) -> int:
        return self.predictor.written.channels

    def soft(self, batch: Array) -> Array:
        predictor = self.predictor
        return predictor.run(batch, lambda session, part: session.download(predictor.values(session, part)))

    def written(self, values: Array) -> Array:
        return self.predictor.written(torch.from_numpy(values)[None]).numpy()[0]
