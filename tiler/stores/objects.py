"""Objects by address: read, written, listed and deleted, each asked for again while the server fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError
from obstore.store import from_url

from tiler.stores.address import Address
from tiler.stores.failures import TROUBLE, explained, worth_another
from tiler.stores.patience import Patience

T = TypeVar("T")
ENVIRONMENT = ("AWS_", "GOOGLE_")
AT_ONCE = 32
"""Objects asked for at once where there are many small ones."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a listing: its key below what was listed, its size and the store's mark of its content."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A store's mark of an object's content: S3 compares the tag, Google's store the version (its generation)."""

    etag: str | None
    version: str | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Mark:
        return cls(told.get("e_tag"), told.get("version"))

    @property
    def condition(self) -> dict[str, str]:
        """Of a write that replaces just this content."""
        known = {"e_tag": self.etag, "version": self.version}
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its content and the store's mark of it."""

    content: bytes
    mark: Mark


ANSWERS = (AlreadyExistsError, PreconditionError, NotSupportedError, NotImplementedError)


class Taken(Exception):
    """Another one wrote there first."""


def client(address: Address, *, below: bool = False) -> Any:
    """The obstore client of a bucket or host, or of the objects below an address.

    Credentials, endpoint and region come from the environment, as the libraries of the stores read it.
    """
    seen = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(ENVIRONMENT)))
    return _client(str(address) if below else address.root, Patience.chosen(), hash(seen))


@lru_cache(maxsize=64)
def _client(url: str, patience: Patience, environment: int) -> Any:
    """Cached, because each client has its own connections; a changed environment gets a new one."""
    return from_url(url, **patience.options)


def get(address: Address) -> Stored | None:
    """An object; None only if the store says that there is none."""
    def ask() -> Stored:
        found = obstore.get(client(address), str(address.path))
        return Stored(bytes(found.bytes()), Mark.of(found.meta))

    try:
        return _asked(address, ask)
    except FileNotFoundError:
        return None


def exists(address: Address) -> bool:
    """Whether there is an object, or anything below it."""
    return get(address) is not None or next(listing(address), None) is not None


def put(address: Address, content: bytes) -> Mark:
    """Write an object durably and return the store's mark of it."""
    return Mark.of(_asked(address, lambda: obstore.put(client(address), str(address.path), content)))


def put_if(address: Address, content: bytes, mark: Mark | None) -> Mark:
    """Write an object only if it is new (no ``mark``), or still has that mark.

    Raises
    ------
    Taken
        If it is not so. An answer that was lost on the way is looked for: what was written is then ours.
    """
    mode: Any = "create" if mark is None else mark.condition
    try:
        told = _asked(address, lambda: obstore.put(client(address), str(address.path), content, mode=mode))
    except (AlreadyExistsError, PreconditionError):
        found = get(address)
        if found is None or found.content != content:
            raise Taken from None
        return found.mark
    except (NotSupportedError, NotImplementedError):
        return put(address, content)  # a store without conditions: as good as it gets
    return Mark.of(told)


def delete(address: Address) -> None:
    """Remove an object, if it is there."""
    try:
        _asked(address, lambda: obstore.delete(client(address), str(address.path)))
    except FileNotFoundError:
        return


def remove(address: Address) -> None:
    """Remove an object and all objects below it."""
    delete(address)
    keys = [str(address.path / each.key) for each in listing(address)]
    for first in range(0, len(keys), 1000):
        some = keys[first:first + 1000]
        _asked(address, lambda some=some: obstore.delete(client(address), some))  # type: ignore[misc]


def listing(address: Address, most: int | None = None, after: str | None = None) -> Iterator[Listed]:
    """Objects below an address, sorted by key, or those that come after a key; stops after the first batch that exceeds
    ``most``."""
    def ask() -> list[Listed]:
        found: list[Listed] = []
        first = None if after is None else f"{address.path}/{after}"
        for batch in obstore.list(client(address), f"{address.path}/", offset=first):
            found += [Listed(_below(address, each["path"]), each["size"], str(each["e_tag"])) for each in batch]
            if most is not None and len(found) > most:
                break
        return sorted(found, key=lambda each: each.key)

    yield from _asked(address, ask)


def get_all(addresses: list[Address]) -> list[Stored | None]:
    """Many small objects, several at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(get, addresses))


def _below(address: Address, key: str) -> str:
    return key.removeprefix(f"{address.path}/")


def _asked(address: Address, call: Callable[[], T]) -> T:
    """The answer of a server, which is asked again where the library itself would not.

    Raises
    ------
    StoreError
        If it fails for good.
    FileNotFoundError, AlreadyExistsError, PreconditionError, NotSupportedError
        Which are answers.
    """
    patience = Patience.chosen()
    for attempt in range(patience.retries):
        try:
            return call()
        except ANSWERS:
            raise
        except TROUBLE as error:
            if not worth_another(error):
                with explained(address):
                    raise
        time.sleep(patience.pause(attempt))
    with explained(address):
        return call()
