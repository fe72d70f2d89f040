"""Types of the arguments of the public functions, for type checkers."""

from __future__ import annotations

import os
import threading

from tiler.opening import OpenedModel
from tiler.options import Keywords
from tiler.ports import ArrayLike, Listener, Predictor, Source, TorchModule
from tiler.stores.address import Address

Volume = str | os.PathLike[str] | Address | ArrayLike | Source
Model = str | os.PathLike[str] | TorchModule | Predictor | OpenedModel
Output = str | os.PathLike[str] | Address


class RunKeywords(Keywords, total=False):
    """Keywords of `segment`: options, and what concerns this one run."""

    resume: bool
    overwrite: bool
    verify: bool
    same_input: bool
    trust: bool
    progress: bool
    listener: Listener | None
    stop: threading.Event | None
