"""The request for an evaluation; the command line imports it without loading any metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from tiler.errors import PlanError

PROTOCOLS = ("isbi2012", "semantic", "instances", "snemi3d", "cremi")


class Choices(TypedDict, total=False):
    """Further keywords of `tiler.evaluate`."""

    invert: bool
    invert_labels: bool
    rescale: bool
    axes: str | None
    labels_axes: str | None
    missing: str
    channel: int | None
    classes: Sequence[str] | None
    ignore_label: int | None
    binary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Volumes to compare and options; the fields are described at `tiler.evaluate`."""

    proposal: Any
    labels: Any
    protocol: str = "isbi2012"
    slices: Any = None
    roi: Any = None
    mask: Any = None
    invert: bool = False
    invert_labels: bool = False
    rescale: bool = False
    axes: str | None = None
    labels_axes: str | None = None
    missing: str = "refuse"
    channel: int | None = None
    classes: Sequence[str] | None = None
    ignore_label: int | None = None
    binary: bool = False

    def check(self) -> None:
        """Refuse unknown protocols and options that belong to another protocol.

        Raises
        ------
        PlanError
            The message names the option.
        """
        if self.protocol not in PROTOCOLS:
            raise PlanError(f"{self.protocol!r} is not one of {', '.join(PROTOCOLS)} (`protocol`)")
        belongs: dict[str, dict[str, object]] = {
            "isbi2012": {"invert": self.invert, "invert_labels": self.invert_labels,
                         "rescale": self.rescale},
            "semantic": {"classes": self.classes, "binary": self.binary},
        }
        for protocol, options in belongs.items():
            for option, given in options.items():
                if given and self.protocol != protocol:
                    raise PlanError(f"`{option}` belongs to the protocol {protocol}, not to {self.protocol}")
        if self.ignore_label is not None:
            self._check_ignored(self.ignore_label)

    def _check_ignored(self, label: int) -> None:
        if self.protocol == "isbi2012":
            raise PlanError("`ignore_label` belongs to the protocols of classes and ids: isbi2012 scores every pixel, "
                            "as the challenge does")
        if not -(2**63) <= label < 2**64:
            raise PlanError(f"labels are 64-bit integers, {label} is none (`ignore_label`)")

    @property
    def void(self) -> tuple[int, ...]:
        """Labels of voxels that are not scored: the requested one, and in CREMI the challenge's own."""
        asked = () if self.ignore_label is None else (self.ignore_label,)
        return asked + ((2**64 - 1,) if self.protocol == "cremi" else ())
