"""Names of an output on a file system: partial until whole, then renamed, with its provenance beside it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiler.errors import DamagedError, SinkError, TilerError
from tiler.ports import Json
from tiler.stores.durable import replace_durably, sync

PARTIAL, REPLACED = ".partial", ".replaced"
"""Endings of the names of an unfinished output, and of an older output until it is deleted."""


@dataclass(frozen=True, slots=True)
class Target:
    """The names of a local output.

    Parameters
    ----------
    path
        Its final name.
    """

    path: Path

    @property
    def partial(self) -> Path:
        """Its name until it is whole."""
        return self.path.with_name(self.path.name + PARTIAL)

    @property
    def aside(self) -> Path:
        """The name of an older one until it is deleted."""
        return self.path.with_name(self.path.name + REPLACED)

    @property
    def sidecar(self) -> Path:
        """File that holds the provenance of a single-file output."""
        return self.path.with_name(self.path.name + ".tiler.json")

    @property
    def current(self) -> Path:
        """Place of the voxels now.

        Raises
        ------
        SinkError
            If the output was never created.
        """
        for path in (self.partial, self.path):
            if path.exists():
                return path
        raise SinkError(f"{self.path} does not exist, nor does {self.partial.name}")

    def check_parent(self) -> None:
        """Refuse a name under which nothing can be made.

        Raises
        ------
        SinkError
            If one of its parents is a file, or it is a link that leads nowhere.
        """
        if self.path.is_symlink() and not self.path.exists():
            raise SinkError(f"cannot write {self.path}: it is a link that leads nowhere: remove it, or choose another "
                            "output", option="output")
        nearest = next((parent for parent in self.path.parents if parent.exists()), None)
        if nearest is not None and not nearest.is_dir():
            raise SinkError(f"cannot write {self.path}: {nearest} is a file, not a folder")

    def prepare(self) -> None:
        """Make the parents, and room for a new partial output."""
        self.check_parent()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove(self.partial)

    def promote(self, whole: Path | None = None) -> None:
        """Give a whole output its final name, in place of an older one; may be called again after a crash.

        A folder cannot be replaced in one step: the older one is moved aside first, and deleted last.

        Parameters
        ----------
        whole
            The part of the partial output that gets the name; the rest is deleted. None for all of it.
        """
        aside = self.aside
        if self.partial.exists():
            source = whole or self.partial
            if self.path.is_dir() or (source.is_dir() and self.path.exists()):
                remove(aside)
                os.replace(self.path, aside)
            os.replace(source, self.path)
            sync(self.path.parent)
            if whole is not None:
                remove(aside)
                os.replace(self.partial, aside)  # in one step: half of it would be finished again, and wrongly
                sync(self.path.parent)
        elif not self.path.exists():
            raise SinkError(f"cannot finish {self.path}: {self.partial.name} does not exist")
        remove(aside)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Say in one line which output could not be written, and why."""
    try:
        yield
    except TilerError:
        raise
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Say in one line which output is damaged, and how."""
    try:
        yield
    except (TilerError, MemoryError):
        raise
    except Exception as error:  # the libraries of the formats raise whatever they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedError(f"{path} is damaged or truncated ({reason}): run tiler segment again with "
                           "`overwrite=True`") from error


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Json) -> None:
    """Replace a JSON file in one step: it is the old one or the new one, never half."""
    replace_durably(path, (json.dumps(content, indent=2) + "\n").encode())


def provenance(kind: str, classes: tuple[str, ...], attributes: Json) -> Json:
    """Provenance of an output: meaning of its values, and how it was made.

    Its keys are sorted, so that a run that was resumed leaves the same bytes as one that was not.
    """
    sorted_ones: Json = json.loads(json.dumps({"kind": kind, "classes": list(classes), **attributes}, sort_keys=True))
    return sorted_ones
