"""The list of an image's label images, which `labels/` holds, and the copies of it at the top of zarrs.

Of many runs that finish or begin labels of one zarr at the same moment each takes its turn: on a local disk under a
lock beside the zarr, on an object store by conditional writes. Readers see the old list or the new one.

Where a zarr keeps the metadata of all its groups in one piece (consolidated metadata), only the entries of one label
image are changed in it; the rest is somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tiler.errors import SinkError
from tiler.sinks.ngff import ZARR_FORMATS
from tiler.sinks.target import write_json
from tiler.stores import asking
from tiler.stores.address import Place
from tiler.stores.durable import sync
from tiler.stores.label_places import steps, zarr_over

FILES = {"0.5": "zarr.json", "0.4": ".zattrs"}
OLD_PARTS = (".zgroup", ".zarray", ".zattrs")
"""Files in which a group or an array describes itself in zarr 2."""

CONSOLIDATED = {3: "zarr.json", 2: ".zmetadata"}
OLD_GROUP = {"zarr_format": 2}
NOTHING_INSIDE = {"kind": "inline", "must_understand": False, "metadata": {}}
PATIENCE = 60.0
"""Seconds that one run waits for others, which write a few small files."""

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """The list of an image's label images.

    Parameters
    ----------
    image
        Place of the image's group.
    version
        Version of OME-NGFF.
    """

    image: Place
    version: str

    def check(self) -> None:
        """Refuse a list to which nothing can be added, before anything is computed.

        Raises
        ------
        SinkError
            If the list is malformed.
        """
        self._changed(_stored(self._file), lambda names: names)

    def add(self, name: str, levels: Sequence[str]) -> None:
        """Add a label image that is whole, if it is not there.

        Parameters
        ----------
        levels
            Names of its arrays.
        """
        with self._alone():
            if self.version == "0.4":
                _change(self._labels / ".zgroup", lambda stored: None if stored else OLD_GROUP)
            _change(self._file, lambda stored: self._changed(
                stored, lambda names: names if name in names else [*names, name]))
            if isinstance(self.image, Path):
                sync(self.image)
            self._consolidate(name, ["", name, *(f"{name}/{level}" for level in levels)])

    def take_off(self, name: str) -> None:
        """Take a label image off that is about to be replaced, if it is there."""
        with self._alone():
            if _stored(self._file) is not None:
                _change(self._file, lambda stored: self._changed(
                    stored, lambda names: [each for each in names if each != name]))
                self._consolidate(name, [""])

    @property
    def _labels(self) -> Place:
        return self.image / "labels"

    @property
    def _file(self) -> Place:
        return self._labels / FILES[self.version]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Exclude other runs that change lists in one zarr; on object stores, each write does so by itself."""
        outermost = zarr_over(self._labels / "any")
        if not isinstance(outermost, Path):
            yield
            return
        path = outermost.with_name(f"{outermost.name}.listing")
        lock = FileLock(path, timeout=PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            reason = f"another run holds {path}" if path.exists() else f"nothing can be made in {path.parent}"
            raise SinkError(f"the list of labels of {self.image} cannot be changed, {reason}: go on later with "
                            "`resume=True`") from None
        try:
            yield
        finally:
            lock.release()  # the empty file stays: others may have it open, and would lock what has no name any more

    def _changed(self, stored: bytes | None, change: Callable[[list[str]], list[str]]) -> Content | None:
        """The content of the file with changed names; None if nothing changes."""
        try:
            content: Content = json.loads(stored) if stored else {}
            attributes = content
            if self.version == "0.5":
                content = {"zarr_format": 3, "node_type": "group", "attributes": {}, **content}
                attributes = content["attributes"].setdefault("ome", {"version": "0.5"})
            old = attributes.get("labels", [])
            if not isinstance(old, list):
                raise TypeError(f"{old!r} is not a list of names")
        except (ValueError, TypeError, AttributeError) as error:
            raise SinkError(f"the list of labels of {self.image} makes no sense, so nothing can be added to it: "
                            f"{error}") from error
        new = change(old)
        if stored is not None and new == attributes.get("labels"):
            return None
        attributes["labels"] = new
        return content

    def _consolidate(self, name: str, parts: Sequence[str]) -> None:
        """Update the copies of metadata between the list and the outermost zarr.

        Parameters
        ----------
        name
            Name of the label image, whose entries are replaced.
        parts
            Groups and arrays below the list, whose metadata are kept from now on.
        """
        zarr_format = ZARR_FORMATS[self.version]
        for folder, way in self._holders():
            _change(folder / CONSOLIDATED[zarr_format], lambda stored, way=way: self._kept(  # type: ignore[misc]
                stored, way, name, parts))

    def _holders(self) -> Iterator[tuple[Place, str]]:
        """Each folder from the list up to the outermost zarr, with the way from there to the list."""
        labels, outermost = self.image.resolve() / "labels", zarr_over(self._labels / "any")
        for folder in (labels, *labels.parents):
            yield folder, "/".join(steps(labels, folder))
            if folder == outermost:
                return

    def _kept(self, stored: bytes | None, way: str, name: str, parts: Sequence[str]) -> Content | None:
        """A file of consolidated metadata with these parts; None if it has none or makes no sense."""
        zarr_format = ZARR_FORMATS[self.version]
        try:
            content: Content = json.loads(stored or b"{}")
            kept = (content["consolidated_metadata"] if zarr_format == 3 else content)["metadata"]
            for key in [key for key in kept if f"{key}/".startswith(_join(way, name) + "/")]:
                del kept[key]
        except (ValueError, KeyError, TypeError):
            return None
        for part in parts:
            kept.update(self._described(part, _join(way, part)))
        return content

    def _described(self, part: str, key: str) -> Content:
        """Metadata of a group or array below the list, as they are kept under a key; of the keeper itself none."""
        folder = self._labels / part if part else self._labels
        if self.version == "0.4":
            found = ((_join(key, file), _stored(folder / file)) for file in OLD_PARTS)
            return {kept: json.loads(stored) for kept, stored in found if stored is not None}
        stored = _stored(folder / "zarr.json")
        if not key or stored is None:
            return {}
        content = json.loads(stored)
        return {key: {**content, "consolidated_metadata": NOTHING_INSIDE} if content["node_type"] == "group"
                else content}


def _join(*names: str) -> str:
    return "/".join(name for name in names if name)


def _stored(file: Place) -> bytes | None:
    """The content of a file or an object, if it is there."""
    if isinstance(file, Path):
        return file.read_bytes() if file.exists() else None
    found = asking().get(file)
    return found and bytes(found.content)


def _change(file: Place, change: Callable[[bytes | None], Content | None]) -> None:
    """Replace a JSON file by what it is changed to, if that is anything.

    On an object store by a conditional write, begun again where another run was faster.
    """
    if isinstance(file, Path):
        content = change(_stored(file))
        if content is not None:
            write_json(file, content)
        return
    objects = asking()
    while True:
        found = objects.get(file)
        content = change(found and found.content)
        if content is None:
            return
        try:
            objects.put_if(file, json.dumps(content).encode(), found and found.mark)
        except objects.Taken:
            continue
        return
