"""Choose the head of a network: the user's choice, else the model's own, else the usual one."""

from __future__ import annotations

import logging

from tiler.errors import ModelError
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.predictor.heads import Head
from tiler.models.predictor.options import PredictorOptions

log = logging.getLogger(__name__)

SPELLED = {"softmax": "a soft-max", "sigmoid": "a sigmoid"}


def head_of(options: PredictorOptions, loaded: LoadedModel, channels: int, ends: str) -> Head | None:
    """Choose the head; None if neither the user nor the model states one.

    Warns if the network already ends in a head, or if the choice is not the head that the network was trained for.

    Parameters
    ----------
    options
        Options of the user.
    loaded
        The network.
    channels
        Number of channels of its output.
    ends
        Last operation of the network itself: "softmax", "sigmoid" or "".

    Raises
    ------
    ModelError
        If the head does not suit that number of channels.
    """
    own = _own(loaded, channels)
    head = options.head or own
    if head == "softmax" and channels == 1:
        raise ModelError("soft-max over one channel is 1 everywhere: use `head=sigmoid`")
    if options.head is not None:
        _warn(options.head, own, ends, str(loaded.identity["model"]))
    return head


def _own(loaded: LoadedModel, channels: int) -> Head | None:
    if loaded.head is None and loaded.registered:
        return "softmax" if channels > 1 else "sigmoid"
    return loaded.head


def _warn(head: Head, own: Head | None, ends: str, name: str) -> None:
    """Warn if the requested head looks wrong."""
    if head != "none" and ends:
        log.warning("%s ends in %s already, and `head=%s` puts %s on top of it: its output is no probability; say "
                    "`head=none`", name, SPELLED[ends], head, SPELLED[head])
    elif own is not None and own != head and "none" not in (own, head):
        log.warning("%s was made for %s, and `head=%s` gives other values than it was trained for", name, SPELLED[own],
                    head)
