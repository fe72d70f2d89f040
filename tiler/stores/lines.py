"""The lines of a journal as small objects, ``NAME.journal/000000017``: an object cannot be appended to.

A line is written only where there is none of its number yet. A run that lost its lease without noticing therefore
fails at its next line, and never mixes its record with that of the run that went on.
"""

from __future__ import annotations

from tiler.errors import JournalError
from tiler.stores.address import Address
from tiler.stores.objects import Taken, get_all, listing, put_if, remove


class ObjectLines:
    """Lines below an address.

    Parameters
    ----------
    address
        Of the journal.
    count
        How many there are.
    """

    def __init__(self, address: Address, count: int) -> None:
        self._address, self._count = address, count

    @classmethod
    def begin(cls, address: Address) -> ObjectLines:
        """None yet, and none of an older journal any more."""
        remove(address)
        return cls(address, 0)

    def append(self, line: bytes) -> None:
        """Write the next one, durably.

        Raises
        ------
        JournalError
            If another run wrote one of that number.
        """
        try:
            put_if(self._address / f"{self._count:09d}", line, None)
        except Taken:
            raise JournalError(f"another run goes on with {self._address}: this one stops") from None
        self._count += 1

    def close(self) -> None:
        """Nothing is held open."""


def read_lines(address: Address) -> list[bytes]:
    """All lines in order; none where there is no journal.

    Raises
    ------
    JournalError
        If one is missing between others.
    """
    keys = [each.key for each in listing(address)]
    if keys != [f"{number:09d}" for number in range(len(keys))]:
        raise JournalError(f"journal {address} is damaged: objects of it are missing: start anew with --overwrite")
    found = get_all([address / key for key in keys])
    return [each.content for each in found if each is not None]
