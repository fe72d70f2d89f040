"""Addresses of things on object stores, used like paths. Nothing here talks to a server."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeGuard, TypeVar
from urllib.parse import unquote

from tiler.errors import StoreError

SCHEMES = ("s3", "gs", "https", "http")
WRITABLE = ("s3", "gs")
FILE = "file://"


@dataclass(frozen=True, slots=True)
class Address:
    """The place of an object, ``scheme://host/key``. It holds no credentials, so it can be pickled safely.

    Parameters
    ----------
    scheme
        One of `SCHEMES`.
    host
        The bucket, or the host with its port.
    path
        The key.
    """

    scheme: str
    host: str
    path: PurePosixPath

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that a text spells; also one whose slashes were merged when it passed for a path.

        Raises
        ------
        StoreError
            For an unknown scheme, no bucket or key, and credentials, which would end up in logs and metadata. The
            message does not repeat them.
        """
        scheme, _, rest = text.partition(":")
        if scheme not in SCHEMES:
            raise StoreError(f"addresses begin with {', '.join(f'{known}://' for known in SCHEMES)}; got {scheme}://")
        host, _, key = rest.lstrip("/").partition("/")
        if "@" in host or "?" in text or "#" in text:
            raise StoreError(f"an address holds no user, password, token or query, this {scheme}:// one does: give "
                             "scheme://bucket/key, and credentials by the environment (AWS_ACCESS_KEY_ID, ...)")
        path = PurePosixPath(key)
        if not host or not path.parts or ".." in path.parts:
            raise StoreError(f"{text} names no {'file' if scheme.startswith('http') else 'key in a bucket'}: give "
                             f"{scheme}://{host or 'bucket'}/key.zarr")
        return cls(scheme, host, path)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}"

    def __truediv__(self, inner: str) -> Address:
        return Address(self.scheme, self.host, self.path / inner)

    @property
    def root(self) -> str:
        """The bucket or host."""
        return f"{self.scheme}://{self.host}"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def suffix(self) -> str:
        return self.path.suffix

    @property
    def parents(self) -> Iterator[Address]:
        """Its parents, the nearest first, without the bucket itself."""
        return (Address(self.scheme, self.host, path) for path in self.path.parents if path.parts)

    @property
    def writable(self) -> bool:
        return self.scheme in WRITABLE

    def absolute(self) -> Address:
        """The address itself: it is always absolute."""
        return self

    def resolve(self) -> Address:
        """The address itself: object stores have no links."""
        return self

    def with_name(self, name: str) -> Address:
        """The address of another object beside it."""
        return Address(self.scheme, self.host, self.path.with_name(name))

    def inside(self, other: Address) -> str:
        """Its key relative to one of its parents."""
        return self.path.relative_to(other.path).as_posix()


Place = Path | Address
L = TypeVar("L")
R = TypeVar("R")


def place_of(text: str | os.PathLike[str] | Address) -> Place:
    """An address, or a path, of which a leading ``~`` is the user's home folder; ``file://`` is a path, too.

    Raises
    ------
    StoreError
        As `Address.parse`.
    """
    if is_address(text):
        return Address.parse(str(text))
    if isinstance(text, str) and text.startswith(FILE):
        return Path(unquote(text.removeprefix(FILE).removeprefix("localhost")))
    path = Path(text)  # type: ignore[arg-type]  # anything else is a path
    return path.expanduser() if path.parts[:1] == ("~",) and not path.parent.exists() else path


def is_address(text: object) -> bool:
    """Whether a text is an address; in a `Path` the two slashes have become one.

    ``precomputed://`` tells the format of a folder, not where it lies, and ``file://`` is a path.
    """
    known = "|".join(SCHEMES)
    return re.match(rf"(?!precomputed:|file:)[a-z][a-z0-9+.-]+://|({known}):/", str(text)) is not None


def by_place(place: Place, local: Callable[[Path], L], remote: Callable[[Address], R]) -> L | R:
    """Call ``local`` for a path on a disk, ``remote`` for an address: the only place that tells them apart."""
    return remote(place) if isinstance(place, Address) else local(place)


def names_place(source: object) -> TypeGuard[str | os.PathLike[str] | Address]:
    """Whether something names a place: a text, a path or an address."""
    return isinstance(source, (str, os.PathLike, Address))
