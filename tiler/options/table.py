"""The table of options: everything that can be chosen about a segmentation.

A new option is one keyword in its group (the user's value) and one field beside it (the engine's value). The command
line, the defaults, the checks, the docstrings and the table in the documentation follow from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiler.options.declaring import table_of
from tiler.options.groups.input import InputKeywords, InputOptions
from tiler.options.groups.model import ModelKeywords, ModelOptions
from tiler.options.groups.objects import ObjectsKeywords, ObjectsOptions
from tiler.options.groups.resources import ResourcesKeywords, ResourcesOptions
from tiler.options.groups.result import ResultKeywords, ResultOptions
from tiler.options.groups.storage import StorageKeywords, StorageOptions
from tiler.ports import KINDS, Executor


class Keywords(ResultKeywords, StorageKeywords, ObjectsKeywords, ModelKeywords, InputKeywords, ResourcesKeywords,
               total=False):
    """Keywords of `tiler.segment`, `tiler.plan`, `tiler.lazy` and `tiler.open_model`, with the types they take."""


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(ResultOptions, StorageOptions, ObjectsOptions, ModelOptions, InputOptions, ResourcesOptions):
    """Every option in its final type; None only if the model or the input decides.

    Planning, running, checking and lazy results read the user's options only from here.
    """

    @property
    def processes(self) -> int:
        """Number of processes that share this machine."""
        return self.workers if self.executor == "dask" and self.scheduler is None else 1

    @property
    def storage(self) -> dict[str, Any]:
        """How the voxels of the output are stored, by keyword; undecided options are left out."""
        values = {name: getattr(self, name) for name, option in TABLE.items() if option.of_storage}
        return {name: value for name, value in values.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The options as JSON that `Options` can read; undecided options are left out."""
        values = {name: getattr(self, name) for name, option in TABLE.items() if not option.of_process}
        if self.dtype == KINDS[self.kind].types[0]:
            del values["dtype"]  # it follows from the kind
        return {name: plain(value) for name, value in values.items() if value is not None}


TABLE = table_of(Keywords)
"""All options by keyword, in the order in which they are shown."""


def plain(value: Any) -> Any:
    """A final value as JSON: texts, numbers and lists unchanged, objects by their type, all others as text."""
    if isinstance(value, (str, bool, int, float, list, tuple)):
        return value
    if isinstance(value, Mapping):
        return {name: each if each is None else plain(each) for name, each in value.items()}
    unnamed = isinstance(value, Executor) or hasattr(value, "shape") or callable(value)
    return f"<{type(value).__name__}>" if unnamed else str(value)
