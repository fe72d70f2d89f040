"""Permissions of the user for an input that has missing voxels or refers to files outside its folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tiler.errors import SourceError

logger = logging.getLogger(__name__)
MISSING = ("refuse", "zero")


@dataclass(frozen=True, slots=True)
class Consent:
    """Permissions for reading an input.

    Parameters
    ----------
    missing
        ``"refuse"``, or ``"zero"`` to read missing voxels as zeros (or as the fill value of the format).
    trust
        Whether a file may name files outside its folder.
    """

    missing: str = "refuse"
    trust: bool = False

    def __post_init__(self) -> None:
        if self.missing not in MISSING:
            raise SourceError(f"what is missing is refused or read as zero: give one of {', '.join(MISSING)}, not "
                              f"{self.missing!r} (`missing`)")

    def absent(self, what: str, instead: str = "zeros") -> None:
        """Refuse missing voxels, unless the user agreed to replace them.

        Parameters
        ----------
        what
            Description of the missing voxels.
        instead
            Description of their replacement.

        Raises
        ------
        SourceError
            If the user did not agree.
        """
        if self.missing != "zero":
            raise SourceError(f"{what}; `missing=zero` reads what is not there as {instead}")
        logger.warning("%s: what is not there is read as %s", what, instead)

    def outside(self, folder: Path, file: Path, teller: str) -> None:
        """Refuse a file outside a folder that another file names, unless the user trusts that file.

        Raises
        ------
        SourceError
            If the user does not trust it.
        """
        if not self.trust and folder.resolve() not in file.resolve().parents:
            raise SourceError(f"{teller} names {str(file)!r}, which does not lie in the same folder and is not read; "
                              "`trust=True` reads it")


REFUSED = Consent()
