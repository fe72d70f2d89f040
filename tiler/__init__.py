"""Exact segmentation of microscopy volumes of any size.

``tiler.segment(volume, "unet")`` returns what the network would say if all of the volume had gone through it
at once. `tiler.plan` tells beforehand what that takes, `tiler.open_volume` reads volumes by region,
`tiler.open_model` opens a network once for many volumes, `tiler.preview` segments a window at once,
`tiler.check` verifies an output, `tiler.evaluate` scores one, `tiler.measure` makes a table of its objects,
`tiler.lazy` gives the result as a dask array, `tiler.status` says how far a run is, `tiler.finish` ends one that
several processes shared, and `tiler.Options` lists all options.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from tiler.errors import TilerError
from tiler.version import __version__

if TYPE_CHECKING:
    from tiler.api import (
        check,
        evaluate,
        finish,
        lazy,
        measure,
        open_model,
        open_volume,
        plan,
        preview,
        segment,
        status,
    )
    from tiler.options import Options

logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent unless the user listens

__all__ = ["Options", "TilerError", "__version__", "check", "evaluate", "finish", "lazy", "measure", "open_model",
           "open_volume", "plan", "preview", "segment", "status"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `import tiler.errors` should cost what errors cost."""
    if name in __all__:
        from tiler import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
