"""Small files by which processes come to terms that share nothing but a file system or an object store.

All rests on one operation that is atomic on both: a note is made only if there is none of its name.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tiler.stores import asking
from tiler.stores.address import Address, Place, by_place
from tiler.stores.durable import replace_durably, sync


class Notes(Protocol):
    """A folder of notes, whose names may hold slashes."""

    def create(self, name: str, content: bytes) -> bool:
        """Make a note, whole at once, and return True; False if there is one of that name."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a note, whole at once."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a note; None if there is none of that name."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the notes and folders in a folder, sorted, without it."""
        ...

    def remove(self, name: str) -> None:
        """Remove a note, or a folder with all notes in it, if it is there."""
        ...


def notes_at(place: Place) -> Notes:
    """The notes in a folder or below an address; nothing is made before the first note."""
    notes: Notes = by_place(place.absolute(), FolderNotes, ObjectNotes)
    return notes


@dataclass(frozen=True, slots=True)
class FolderNotes:
    """Notes in a folder, which may lie on a network file system."""

    folder: Path

    def create(self, name: str, content: bytes) -> bool:
        try:
            return self._created(self.folder / name, content)
        except FileNotFoundError:  # another process has just removed the folder
            return self._created(self.folder / name, content)

    @staticmethod
    def _created(path: Path, content: bytes) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        draft.write_bytes(content)
        try:
            sync(draft)
            return _linked(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, content, shared=True)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder / folder) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> bool:
    """Give a file a name that no other file has; the number of its names is asked because NFS may lose the answer."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return draft.stat().st_nlink > 1
    except OSError:  # a file system without links
        return _copied(draft, path)
    sync(path.parent)
    return True


def _copied(draft: Path, path: Path) -> bool:
    try:
        with path.open("xb") as file:
            file.write(draft.read_bytes())
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class ObjectNotes:
    """Notes below an address of an object store."""

    address: Address

    def create(self, name: str, content: bytes) -> bool:
        objects = asking()
        try:
            objects.put_if(self.address / name, content, None)
        except objects.Taken:
            return False
        return True

    def write(self, name: str, content: bytes) -> None:
        asking().put(self.address / name, content)

    def read(self, name: str) -> bytes | None:
        found = asking().get(self.address / name)
        return None if found is None else bytes(found.content)

    def names(self, folder: str) -> list[str]:
        place = self.address / folder if folder else self.address
        return sorted({each.key.split("/")[0] for each in asking().listing(place)})

    def remove(self, name: str) -> None:
        asking().remove(self.address / name)
