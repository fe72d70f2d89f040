"""The ports of the engine: what a source, a sink, a predictor, an executor and a listener must do.

Implementations are cheap to build, picklable, and open files, networks and devices on first use, once per
process. `tiler.testing` holds the conformance suite of each port.
"""

from tiler.ports.predictors import (
    Border,
    Cost,
    CroppingPredictor,
    GlobalPredictor,
    Known,
    Partial,
    Predictor,
    Reduction,
    Tiling,
    Totals,
    WindowedPredictor,
    device_memory_of,
    feeders_of,
    tiling_of,
)
from tiler.ports.running import Executor, Finished, Job, Listener
from tiler.ports.volumes import (
    UNWATCHED,
    Array,
    Calibration,
    Json,
    OutputSpec,
    Room,
    Sink,
    Source,
    Unwatched,
    VolumeShape,
    Watch,
)

__all__ = [
    "UNWATCHED",
    "Array",
    "Border",
    "Calibration",
    "Cost",
    "CroppingPredictor",
    "Executor",
    "Finished",
    "GlobalPredictor",
    "Job",
    "Json",
    "Known",
    "Listener",
    "OutputSpec",
    "Partial",
    "Predictor",
    "Reduction",
    "Room",
    "Sink",
    "Source",
    "Tiling",
    "Totals",
    "Unwatched",
    "VolumeShape",
    "Watch",
    "WindowedPredictor",
    "device_memory_of",
    "feeders_of",
    "tiling_of",
]
