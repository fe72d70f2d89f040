"""Options of a run: the table that declares them, the parsers of their values, and the resolved values."""

from tiler.options.declaring import AUTO, AutoType, Option, UnknownOptionError, flag_of, refuse_unknown, table_of
from tiler.options.given import Options
from tiler.options.groups.input import Nan
from tiler.options.groups.model import Average, ExecutionName, Head
from tiler.options.groups.resources import Backend, ExecutorName, Precision
from tiler.options.groups.result import KindName, OutputType
from tiler.options.groups.storage import Ngff
from tiler.options.normalising import Rule, parse_rule
from tiler.options.regions import Region, parse_roi
from tiler.options.table import TABLE, Keywords, ResolvedOptions

FREE = frozenset(option.name for option in TABLE.values() if option.free)
"""Options that cannot change a result: a run may be resumed with others."""

OF_MODEL = frozenset(option.name for option in TABLE.values() if option.of_model)
"""Options that are fixed when a model is opened."""

OF_STORAGE = frozenset(option.name for option in TABLE.values() if option.of_storage)
"""Options that say how the voxels of an output are stored."""

OF_PROCESS = frozenset(option.name for option in TABLE.values() if option.of_process)
"""Options about one of several processes that share a run."""

__all__ = [
    "AUTO",
    "FREE",
    "OF_MODEL",
    "OF_PROCESS",
    "OF_STORAGE",
    "TABLE",
    "AutoType",
    "Average",
    "Backend",
    "ExecutionName",
    "ExecutorName",
    "Head",
    "Keywords",
    "KindName",
    "Nan",
    "Ngff",
    "Option",
    "Options",
    "OutputType",
    "Precision",
    "Region",
    "ResolvedOptions",
    "Rule",
    "UnknownOptionError",
    "flag_of",
    "parse_roi",
    "parse_rule",
    "refuse_unknown",
    "table_of",
]
