"""The functions of the package: names, paths and arrays in; a result, a plan or a report out."""

from tiler.api.opening import open_model, open_volume
from tiler.api.scoring import evaluate, measure
from tiler.api.segmenting import check, lazy, plan, preview, segment
from tiler.api.sharing import finish, status
from tiler.options import Options

__all__ = ["Options", "check", "evaluate", "finish", "lazy", "measure", "open_model", "open_volume", "plan", "preview",
           "segment", "status"]
