"""The lines of a journal as small objects, ``NAME.journal/000000017``: an object cannot be appended to.

A line is written only where there is none of its number yet. A run that lost its lease without noticing therefore
fails at its next line, and never mixes its record with that of the run that took over.
"""

from __future__ import annotations

from collections.abc import Sequence

from tiler.errors import JournalError
from tiler.stores.address import Address
from tiler.stores.journal_lines import no_journal
from tiler.stores.objects import Taken, get_all, listing, put_if, remove


class ObjectLines:
    """Lines below an address: `tiler.stores.journal_lines.Lines`.

    Parameters
    ----------
    address
        Address of the journal.
    """

    def __init__(self, address: Address) -> None:
        self._address, self._count, self._read = address, 0, 0

    def read(self) -> list[bytes]:
        keys = [each.key for each in listing(self._address)]
        if not keys:
            raise no_journal(self._address)
        if keys != [f"{number:09d}" for number in range(len(keys))]:
            raise JournalError(f"journal {self._address} is damaged: objects of it are missing: start anew with "
                               "`overwrite=True`")
        found = get_all([self._address / key for key in keys])
        return [each.content for each in found if each is not None]

    def more(self) -> list[bytes]:
        last = f"{self._read - 1:09d}" if self._read else None
        keys = [each.key for each in listing(self._address, after=last)]
        whole = next((place for place, key in enumerate(keys) if key != f"{self._read + place:09d}"), len(keys))
        found = get_all([self._address / key for key in keys[:whole]])
        lines = [each.content for each in found if each is not None]
        self._read += len(lines)
        return lines

    def begin_first(self, line: bytes) -> bool:
        try:
            put_if(self._address / f"{0:09d}", line, None)
        except Taken:
            return False
        return True

    def begin(self, first: bytes) -> None:
        remove(self._address)
        self._count = 0
        self.append(first)

    def resume(self, sound: Sequence[bytes]) -> None:
        self._count = len(sound)

    def append(self, line: bytes) -> None:
        try:
            put_if(self._address / f"{self._count:09d}", line, None)
        except Taken:
            raise JournalError(f"another run goes on with {self._address}: this one stops") from None
        self._count += 1

    def close(self) -> None:
        """Nothing is held open."""
