"""A zarr store on an object store, in which nothing but "not found" is ever taken for a missing chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from tiler.stores.address import Address
from tiler.stores.failures import TROUBLE, explained, worth_another
from tiler.stores.objects import client
from tiler.stores.patience import Patience

T = TypeVar("T")


def zarr_store(address: Address, *, read_only: bool) -> Store:
    """The store of a group or an array."""
    return AddressStore(address, read_only=read_only)


class AddressStore(ObjectStore[Any]):
    """zarr's own store for obstore, opened by address, also after pickling; its errors are ours, in one line.

    zarr's takes every 404 for a missing chunk, also where the bucket is gone.
    """

    def __init__(self, address: Address, *, read_only: bool) -> None:
        super().__init__(client(address, below=True), read_only=read_only)
        self.address = address

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.address, self.read_only)

    def __str__(self) -> str:
        return str(self.address)

    def with_read_only(self, read_only: bool = False) -> AddressStore:
        return AddressStore(self.address, read_only=read_only)

    async def get(self, key: str, prototype: BufferPrototype,
                  byte_range: ByteRequest | None = None) -> Buffer | None:
        options: Any = {} if byte_range is None else {"range": _range(byte_range)}

        async def ask() -> Any:
            found = await obstore.get_async(self.store, key, options=options)
            return await found.bytes_async()

        try:
            return prototype.buffer.from_bytes(await self._asked(key, ask))
        except FileNotFoundError:
            return None

    async def get_partial_values(self, prototype: BufferPrototype,
                                 key_ranges: Iterable[tuple[str, ByteRequest | None]]) -> list[Buffer | None]:
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        try:
            await self._asked(key, lambda: obstore.head_async(self.store, key))
        except FileNotFoundError:
            return False
        return True

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        content = value.as_buffer_like()
        await self._asked(key, lambda: obstore.put_async(self.store, key, content))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        self._check_writable()
        content = value.as_buffer_like()
        try:
            await self._asked(key, lambda: obstore.put_async(self.store, key, content, mode="create"))
        except AlreadyExistsError:
            return

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        with explained(self.address):
            async for name in super().list_dir(prefix):
                yield name

    async def _asked(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of the server, which is asked again where the library itself would not."""
        patience, address = Patience.chosen(), self.address / key
        for attempt in range(patience.retries):
            try:
                return await call()
            except AlreadyExistsError:
                raise
            except TROUBLE as error:
                if not worth_another(error):
                    with explained(address):
                        raise
            await asyncio.sleep(patience.pause(attempt))
        with explained(address):
            return await call()


def _reopened(address: Address, read_only: bool) -> Store:
    return zarr_store(address, read_only=read_only)


def _range(part: ByteRequest) -> Any:
    """A part of an object, as obstore spells it."""
    if isinstance(part, RangeByteRequest):
        return part.start, part.end
    if isinstance(part, OffsetByteRequest):
        return {"offset": part.offset}
    if isinstance(part, SuffixByteRequest):
        return {"suffix": part.suffix}
    raise TypeError(part)
