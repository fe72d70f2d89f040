"""A second pass: what global layers made in the first is given to them, instead of what they would make now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

CallSite = tuple[str, int]
"""An operator's name, and how many calls of it came before this one."""


def operator_name(func: Any) -> str:
    """Name of an aten operator without namespace, overload and the underscore of its in-place form."""
    name: str = func._schema.name.partition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


class Injected(TorchDispatchMode):
    """Within this context one forward pass answers the calls at some sites as an earlier one did.

    Parameters
    ----------
    sites
        Calls of global layers.
    known
        Their results; those that are missing are computed and kept here, for the next pass.
    """

    def __init__(self, sites: Collection[CallSite], known: dict[CallSite, Any]) -> None:
        super().__init__()
        self.sites, self.known = sites, known
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator_name(func)
        site = name, self.calls[name]
        self.calls[name] += 1
        if site not in self.sites:
            return func(*args, **(kwargs or {}))
        if site not in self.known:
            self.known[site] = func(*args, **(kwargs or {}))
        return self.known[site]
