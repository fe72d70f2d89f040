"""The ports of the engine: what a source, a sink, a predictor, an executor and a listener must do.

Implementations are cheap to build, picklable, and open files, networks and devices on first use, once per
process. `tiler.testing` holds the conformance suite of each port.
"""

from tiler.ports.kinds import KINDS, Kind
from tiler.ports.plugins import offered
from tiler.ports.predictors import (
    PREDICTOR,
    Border,
    Capabilities,
    Cost,
    Crops,
    Execution,
    InStages,
    Meaning,
    Measures,
    OwnScaling,
    Predictor,
    Soft,
    Tiling,
    TorchModule,
    missing_in,
)
from tiler.ports.running import Executor, Finished, Job, Listener, TimedListener
from tiler.ports.staging import Given, Load, Needs, Staged, Staging, StoredTensor
from tiler.ports.training import UNSTATED, Contrast, TrainedOn
from tiler.ports.volumes import (
    UNWATCHED,
    Array,
    ArrayLike,
    Calibration,
    InspectedSink,
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
    "UNSTATED",
    "UNWATCHED",
    "Array",
    "ArrayLike",
    "Border",
    "Calibration",
    "Capabilities",
    "Contrast",
    "Cost",
    "Crops",
    "Execution",
    "Executor",
    "Finished",
    "Given",
    "InStages",
    "InspectedSink",
    "Job",
    "Json",
    "Kind",
    "Listener",
    "Load",
    "Meaning",
    "Measures",
    "Needs",
    "OutputSpec",
    "OwnScaling",
    "Predictor",
    "Room",
    "Sink",
    "Soft",
    "Source",
    "Staged",
    "Staging",
    "StoredTensor",
    "Tiling",
    "TimedListener",
    "TorchModule",
    "TrainedOn",
    "Unwatched",
    "VolumeShape",
    "Watch",
    "missing_in",
    "offered",
]
