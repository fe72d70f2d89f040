"""Label images inside an OME-Zarr image: ``IMAGE.zarr/labels/NAME``, listed there once they are whole.

::

    image.zarr/                     an OME-Zarr image, of anybody's making
      0, 1, ...                     its levels
      labels/                       lists the names of its label images; made where there is none
        cells/                      as many levels as the image has, in its version of OME-NGFF
        nuclei.partial/             not whole, not listed
    image.zarr.labels.cells.journal the record of the run: an image holds nothing that is no zarr

https://ngff.openmicroscopy.org/0.5/#labels-md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import zarr
from filelock import FileLock
from zarr.abc.store import Store
from zarr.storage import LocalStore

from tiler.errors import SinkError
from tiler.geometry import Shape
from tiler.ports import UNWATCHED, Json, OutputSpec, Watch
from tiler.sinks.ngff import ZARR_FORMATS
from tiler.sinks.pyramid import Level, levels_by
from tiler.sinks.target import sync, write_json, writing
from tiler.sinks.zarr import ZarrSink
from tiler.stores import asking
from tiler.stores.address import Address, Place
from tiler.stores.label_places import beside

KINDS = ("labels", "instances")
FILES = {"0.5": "zarr.json", "0.4": ".zattrs"}
OLD_GROUP = {"zarr_format": 2}


@dataclass(frozen=True, slots=True)
class Image:
    """The image that labels belong to.

    Parameters
    ----------
    place
        Of its group.
    version
        Of OME-NGFF.
    multiscale
        Its description.
    """

    place: Place
    version: str
    multiscale: Mapping[str, Any]

    @classmethod
    def over(cls, output: Place) -> Image:
        """The image over a label image.

        Raises
        ------
        SinkError
            If there is none, or it has a version that is not written.
        """
        _, place, *_ = output.absolute().parents
        attributes, zarr_format = _group(output, place)
        ome = attributes.get("ome", attributes)
        multiscales = ome.get("multiscales") if isinstance(ome, Mapping) else None
        if not multiscales or not isinstance(multiscales[0], Mapping):
            raise SinkError(f"cannot write {output}: {place} is no OME-Zarr image to which labels could be "
                            "added: choose another .zarr (-o)")
        version = str(ome.get("version") or multiscales[0].get("version") or {2: "0.4", 3: "0.5"}[zarr_format])
        if ZARR_FORMATS.get(version) != zarr_format:
            raise SinkError(f"cannot write {output}: {place} is OME-NGFF {version} in zarr {zarr_format}; labels are "
                            "added to 0.5 in zarr 3 and 0.4 in zarr 2: choose another .zarr (-o)")
        return cls(place, version, multiscales[0])

    def factors(self, axes: Sequence[str]) -> list[Shape]:
        """For each of its levels, how many voxels of level 0 one of its own covers along some of its axes."""
        names = [str(axis["name"]) for axis in self.multiscale["axes"]]
        found: list[Shape] = [(1,) * len(axes)]
        for finer, coarser in zip(self._scales()[:-1], self._scales()[1:], strict=True):
            ratio = {name: b / a if a else 1 for name, a, b in zip(names, finer, coarser, strict=False)}
            steps = [max(1, round(ratio.get(axis, 1))) for axis in axes]
            found.append(tuple(factor * step for factor, step in zip(found[-1], steps, strict=True)))
        return found

    def _scales(self) -> list[list[float]]:
        """Of each level."""
        return [next((list(map(float, step["scale"])) for step in dataset.get("coordinateTransformations", ())
                      if "scale" in step), []) for dataset in self.multiscale["datasets"]]


def _group(output: Place, place: Place) -> tuple[Mapping[str, Any], int]:
    """Attributes and zarr format of a group that is there."""
    try:
        group = zarr.open_group(_store(place, read_only=True), mode="r")
    except (FileNotFoundError, ValueError) as error:
        missing = isinstance(place, Path) and not place.exists()
        told = "does not exist" if missing else "is no zarr group"
        raise SinkError(f"cannot write {output}: {place} {told}; labels are added to an OME-Zarr image that is there "
                        "(-o)") from error
    return dict(group.attrs), group.metadata.zarr_format


def _store(place: Place, *, read_only: bool) -> Store:
    if isinstance(place, Address):
        store: Store = asking("zarr_store").zarr_store(place, read_only=read_only)
        return store
    return LocalStore(place, read_only=read_only)


def version_over(output: Place, wanted: str | None, kind: str) -> str:
    """The version of OME-NGFF of a label image, which is that of its image.

    Raises
    ------
    SinkError
        If there is no such image, another version is wanted, or what is to be written is no labels.
    """
    image = Image.over(output)
    if kind not in KINDS:
        raise SinkError(f"{output} is the place of a label image, {kind} are none: say --as labels or --as instances, "
                        "or choose another .zarr (-o)")
    if wanted is not None and wanted != image.version:
        raise SinkError(f"{image.place} is OME-NGFF {image.version}, and so are its labels; got {wanted}: leave out "
                        "--ngff")
    return image.version


class LabelSink(ZarrSink):
    """A label image inside an OME-Zarr image on a local disk or an object store.

    Raises
    ------
    SinkError
        As `version_over`.
    """

    def __init__(self, path: Place, spec: OutputSpec) -> None:
        super().__init__(path, spec)
        version_over(path, spec.ngff, spec.kind)
        self.image = Image.over(path)

    def levels(self) -> Sequence[Level]:
        """As many as the image has, and as coarse."""
        return levels_by(self.layout, self.image.factors(self.layout.axes))

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Give it its name, then list it: what is listed is whole."""
        super().finish(attributes, watch)
        with writing(self.name):
            add_label(self.image, self._place.name)

    def _attributes(self, levels: Sequence[Level], attributes: Json) -> dict[str, Any]:
        """With the way back to the image."""
        made = super()._attributes(levels, attributes)
        made.get("ome", made)["image-label"]["source"] = {"image": "../../"}
        return made


def add_label(image: Image, name: str) -> None:
    """Add a name to the list of an image's labels, if it is not there; readers see the old list or the new one."""
    labels, file = image.place / "labels", FILES[image.version]
    if isinstance(labels, Address):
        _add_remotely(labels / file, image, name)
    else:
        with _alone(labels):
            found = (labels / file).read_bytes() if (labels / file).exists() else None
            write_json(labels / file, _with_label(found, image, name))
            if image.version == "0.4":
                write_json(labels / ".zgroup", OLD_GROUP)
            sync(labels.parent)
    _consolidate(image)


@contextmanager
def _alone(labels: Path) -> Iterator[None]:
    """Of all runs that finish labels of one image at the same moment."""
    lock = Path(str(beside(labels / "all", ".listing")))
    with FileLock(lock):
        yield
        lock.unlink(missing_ok=True)


def _add_remotely(file: Address, image: Image, name: str) -> None:
    """By a conditional write, begun again where another run was faster."""
    objects = asking()
    if image.version == "0.4":
        objects.put(file.with_name(".zgroup"), json.dumps(OLD_GROUP).encode())
    while True:
        found = objects.get(file)
        content = json.dumps(_with_label(found and found.content, image, name)).encode()
        try:
            objects.put_if(file, content, found and found.mark)
        except objects.Taken:
            continue
        return


def _with_label(stored: bytes | None, image: Image, name: str) -> dict[str, Any]:
    """What the group's file says with one name more.

    Raises
    ------
    SinkError
        If it makes no sense.
    """
    try:
        content: dict[str, Any] = json.loads(stored) if stored else {}
        attributes = content
        if image.version == "0.5":
            content = {"zarr_format": 3, "node_type": "group", "attributes": {}, **content}
            content.pop("consolidated_metadata", None)  # it would hide the new one
            attributes = content["attributes"].setdefault("ome", {"version": "0.5"})
        names = list(attributes.get("labels", ()))
    except (ValueError, TypeError, AttributeError) as error:
        raise SinkError(f"the list of labels of {image.place} makes no sense, so nothing can be added to it: {error}") \
            from error
    attributes["labels"] = names if name in names else [*names, name]
    return content


def _consolidate(image: Image) -> None:
    """Where metadata are kept a second time at the top of a zarr, in one piece, the new group has to be there too."""
    folders = [image.place, *image.place.parents]
    top = max((number for number, folder in enumerate(folders) if folder.suffix.lower() == ".zarr"), default=0)
    for place in folders[:top + 1]:
        store = _store(place, read_only=False)
        try:
            group = zarr.open_group(store, mode="r+")
        except (FileNotFoundError, ValueError):  # a folder between groups need not be one
            continue
        if group.metadata.consolidated_metadata is not None:
            with catch_warnings():
                simplefilter("ignore")  # that zarr 3 has no such thing yet
                zarr.consolidate_metadata(store)
