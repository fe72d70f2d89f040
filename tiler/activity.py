"""The slow step that is going on, for whoever shows it: reading, loading, checking, and the tiles of a block.

Watchers belong to the process: two runs at once in one process share them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger(__name__)

_watchers: list[Watcher] = []


class Watcher(Protocol):
    """Receives steps, from any thread."""

    def doing(self, step: str) -> None:
        """Receive a step that may take more than a second, such as "loading the network unet"."""
        ...

    def expecting(self, tiles: int | None) -> None:
        """Receive the number of tiles of all blocks of the stage that begins; None if it computes no tiles."""
        ...

    def computed(self, tiles: int, of: int) -> None:
        """Receive that so many of the tiles of one block were computed."""
        ...


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Tell the watcher of every step until the end of the block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def doing(step: str) -> None:
    """Announce a step that may take more than a second."""
    log.info("%s", step)
    for watcher in tuple(_watchers):
        watcher.doing(step)


def expecting(tiles: int | None) -> None:
    """Announce how many tiles all blocks of the next stage have."""
    for watcher in tuple(_watchers):
        watcher.expecting(tiles)


def computed(tiles: int, of: int) -> None:
    """Announce that so many of the tiles of one block were computed."""
    for watcher in tuple(_watchers):
        watcher.computed(tiles, of)
