"""Files that are whole or not there at all, also after a loss of power: the one place where files are replaced."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRAFT = ".partial"
"""End of the name of a file until it is whole."""


def obstacle(path: Path) -> str | None:
    """Why a file of that name cannot be made with its folders, if a folder or a file is in its way.

    ``cells.tif/t.csv``, beside a file ``cells.tif``: "cells.tif is not a folder".
    """
    if os.path.isdir(path):
        return "it is a folder"
    standing = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), None)
    return None if standing is None or os.path.isdir(standing) else f"{standing} is not a folder"


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, durable."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders, and journals their names itself
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path, root: Path, known: set[Path]) -> None:
    """Make the name of a folder, and of those above it, durable, since each may be as new as the files in it.

    Parameters
    ----------
    folder
        Holds files that are durable under their names in it.
    root
        The folder from which on names are durable.
    known
        Folders whose names are known to be durable; those that become so are added.
    """
    chain = [folder, *folder.parents]
    new = [each for each in chain[:chain.index(root)] if each not in known]
    for each in new:
        sync(each.parent)
    known.update(new)


def replace_durably(path: Path, content: bytes, *, shared: bool = False) -> None:
    """Write a file in one step: a reader, or a machine that lost power, finds the old content or the new.

    Parameters
    ----------
    shared
        As for `replacing`.
    """
    with replacing(path, shared=shared) as draft:
        draft.write_bytes(content)


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A new file beside another, which takes its place when the block ends; nothing stays of it after an error.

    Parameters
    ----------
    path
        What is replaced, or made.
    shared
        Whether several processes may write the file at once. Each then has a draft of its own, which stays if the
        process is killed; otherwise the next attempt replaces the draft.
    """
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{DRAFT}" if shared else f"{path.name}{DRAFT}")
    try:
        yield draft
        sync(draft)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)
