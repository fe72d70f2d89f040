"""Evaluators: how a predictor runs its network, on exact tiles, in windows, in one piece, or in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from tiler.models.inference.network import Session
from tiler.ports import Array, Capabilities, Tiling

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor


class Counted(NamedTuple):
    """Work over that of one plain pass, number of stages and of statistics of the whole input."""

    work: float = 1.0
    stages: int = 0
    statistics: int = 0


class Evaluator(Protocol):
    """Runs a network on one prepared input, in one orientation. Frozen and picklable.

    Attributes
    ----------
    identity
        Entries that the evaluator adds to the identity of a predictor.
    copies
        Number of copies of the network's parameters that it holds besides the network's own.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...
    @property
    def copies(self) -> int: ...

    def counted(self, shape: tuple[int, ...]) -> Counted:
        """How much it computes for an input of a shape."""
        ...

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        """Peak bytes of all live tensors for an input of a shape; `traced` is the peak of one pass."""
        ...

    def scores(self, session: Session, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, [z], y, x)``: the network's output for ``(n, c, [z], y, x)``, before any head."""
        ...

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        """The capabilities of a predictor with this evaluator; `base` holds those common to all evaluators."""
        ...


@dataclass(frozen=True, slots=True)
class WholeTiles:
    """Runs the network unchanged, on exact tiles."""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {}

    @property
    def copies(self) -> int:
        return 0

    def counted(self, shape: tuple[int, ...]) -> Counted:
        return Counted()

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        return traced

    def scores(self, session: Session, x: torch.Tensor) -> torch.Tensor:
        return session(x)

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return base


@dataclass(frozen=True, slots=True)
class Inexact(WholeTiles):
    """Runs the network unchanged, on overlapping windows that are averaged, or on inputs in one piece.

    Parameters
    ----------
    tiling
        "blend" or "whole".
    untiled
        The layer that prevents exact tiling, and the reason.
    """

    tiling: Tiling = "whole"
    untiled: str = ""

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, tiling=self.tiling, untiled=self.untiled, soft=SoftTiles(predictor))


@dataclass(frozen=True, slots=True)
class SoftTiles:
    """`tiler.ports.Soft` of a predictor: the values of all classes, before selection and rounding."""

    predictor: TorchPredictor

    @property
    def channels(self) -> int:
        return self.predictor.written.channels

    def soft(self, batch: Array) -> Array:
        predictor = self.predictor
        return predictor.run(batch, lambda session, part: session.download(predictor.values(session, part)))

    def written(self, values: Array) -> Array:
        return self.predictor.written(torch.from_numpy(values)[None]).numpy()[0]
