"""The ports of the engine: what a source, a sink, a predictor, an executor and a listener must do.

Implementations are cheap to build, picklable, and open files, networks and devices on first use, once per
process. `tiler.testing` holds the conformance suite of each port.
"""

from tiler.ports.kinds import KINDS, Kind
from tiler.ports.predictors import (
    PREDICTOR,
    Border,
    Capabilities,
    Cost,
    Crops,
    Known,
    Meaning,
    Measures,
    OwnScaling,
    Partial,
    Passes,
    Predictor,
    Reduction,
    Soft,
    Tiling,
    Totals,
    missing_in,
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
    "KINDS",
    "PREDICTOR",
    "UNWATCHED",
    "Array",
    "Border",
    "Calibration",
    "Capabilities",
    "Cost",
    "Crops",
    "Executor",
    "Finished",
    "Job",
    "Json",
    "Kind",
    "Known",
    "Listener",
    "Meaning",
    "Measures",
    "OutputSpec",
    "OwnScaling",
    "Partial",
    "Passes",
    "Predictor",
    "Reduction",
    "Room",
    "Sink",
    "Soft",
    "Source",
    "Tiling",
    "Totals",
    "Unwatched",
    "VolumeShape",
    "Watch",
    "missing_in",
]
