"""Model files, on disk or inside a zip, read whole and identified by hash. Nothing is unpacked to disk."""

from __future__ import annotations

import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tiler.errors import ModelError

UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError, ValueError)
"""All that a damaged zip raises; `RuntimeError` where it is encrypted or packed in an unknown way."""
HARMLESS_BYTES = 64 << 20
LARGEST_RATIO = 100
"""Largest ratio of a zip's unpacked size to its own: weights hardly shrink, zip bombs shrink a thousandfold."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model.

    Parameters
    ----------
    path
        Path of the file, or of the zip that it lies in.
    sha256
        SHA-256 of its content.
    member
        Its name within the zip; None for a file on disk.
    """

    path: Path
    sha256: str
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def read(self) -> bytes:
        """The content.

        Raises
        ------
        ModelError
            If the file has changed since the model was opened.
        """
        content = content_of(self.path, self.member)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ModelError(f"{self} was changed while it was in use: start again", option="model")
        return content


def find(path: Path, member: str | None = None) -> ModelFile:
    """A file with the hash of its present content.

    Raises
    ------
    ModelError
        If it cannot be read.
    """
    return ModelFile(path.resolve(), hashlib.sha256(content_of(path, member)).hexdigest(), member)


def content_of(path: Path, member: str | None = None) -> bytes:
    """The whole content of a file, or of a file inside a zip.

    Raises
    ------
    ModelError
        If it cannot be read, or its zip is damaged or harmful.
    """
    try:
        if member is None:
            return path.read_bytes()
        with opened_zip(path) as archive:
            return archive.read(member)
    except KeyError as error:
        raise ModelError(f"{path} holds no file {member}", option="model") from error
    except UNREADABLE as error:
        raise ModelError(f"cannot read {path}{f'/{member}' if member else ''}: {error}", option="model") from error


@contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip after checking that its names and sizes are harmless.

    Raises
    ------
    ModelError
        If a name leads out of the zip, or its unpacked size is far larger than its own.
    """
    with zipfile.ZipFile(path) as archive:
        check_members(str(path), path.stat().st_size, archive.infolist())
        yield archive


def check_members(name: str, packed: int, members: list[zipfile.ZipInfo]) -> None:
    """Check the table of contents of a zip of ``packed`` bytes, without reading its contents.

    Raises
    ------
    ModelError
        See `opened_zip`.
    """
    for member in members:
        if leads_out(member.filename):
            raise ModelError(f"{name} is refused: the name {member.filename!r} in it leads out of the archive",
                             option="model")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(HARMLESS_BYTES, LARGEST_RATIO * packed):
        raise ModelError(f"{name} is refused: its {packed} bytes unpack to {unpacked}, as a zip bomb's do",
                         option="model")


def leads_out(name: str) -> bool:
    """Whether a relative name points outside its root."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or ":" in name
