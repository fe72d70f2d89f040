"""From names and options to ports: the source and the predictor of one segmentation."""

from tiler.opening.describing import describe_model, describe_source
from tiler.opening.inputs_and_models import Opened, open_all
from tiler.opening.models import OpenedModel, kind_of, open_model

__all__ = ["Opened", "OpenedModel", "describe_model", "describe_source", "kind_of", "open_all", "open_model"]
