"""The published ISBI-2012 leader board, for comparison with a proposal's scores.

References
----------
Ronneberger, Fischer and Brox, U-Net (2015), 10.1007/978-3-319-24574-4_28, table 1: ranking of 6 March 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = {"warping": "warping_min_splits_mergers_r20", "rand": "rand_error_2012", "pixel": "pixel_error"}
"""Columns of the board and the names of these scores in a result."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the board: rank (None for human values), group and three errors."""

    rank: int | None
    group: str
    warping: float
    rand: float
    pixel: float


BOARD = (
    Entry(None, "Human values", 0.000005, 0.0021, 0.0010),
    Entry(1, "u-net", 0.000353, 0.0382, 0.0611),
    Entry(2, "DIVE-SCI", 0.000355, 0.0305, 0.0584),
    Entry(3, "IDSIA", 0.000420, 0.0504, 0.0613),
    Entry(4, "DIVE", 0.000430, 0.0545, 0.0582),
    Entry(10, "IDSIA-SCI", 0.000653, 0.0189, 0.1027),
)
