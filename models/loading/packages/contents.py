"""The files of a package, in a folder or in a zip. Files outside are never read, and nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tiler.errors import ModelError
from tiler.models.loading.files import UNREADABLE, ModelFile, find, leads_out, opened_zip
from tiler.models.loading.packages import YAMLS

NAMES = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
SUFFIXES = (".bioimageio.yaml", ".rdf.yaml")


@dataclass(frozen=True, slots=True)
class Contents:
    """Location of a package.

    Parameters
    ----------
    root
        The folder, or the zip.
    yaml
        Name of its description within.
    zipped
        Whether the root is a zip.
    """

    root: Path
    yaml: str
    zipped: bool

    def file(self, name: str, sha256: str | None = None) -> ModelFile:
        """A file of the package as its yaml names it.

        Raises
        ------
        ModelError
            If it lies outside the package, is missing, or its hash differs from the yaml's.
        """
        if leads_out(name):
            raise ModelError(f"{self.root} is refused: its {self.yaml} names {name!r}, which leads out of the package",
                             option="model")
        beside = str(PurePosixPath(self.yaml).parent / name)
        found = find(self.root, beside) if self.zipped else find(self._inside(beside))
        if sha256 is not None and found.sha256 != sha256:
            raise ModelError(f"{found} has sha256 {found.sha256[:12]}, {self.yaml} says {str(sha256)[:12]}: the "
                             "package is damaged or was changed, fetch it again", option="model")
        return found

    def _inside(self, name: str) -> Path:
        """A path below the folder, with links resolved."""
        path = (self.root / name).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise ModelError(f"{self.root} is refused: {name} is a link that leads out of the package", option="model")
        return path


def open_contents(path: Path) -> Contents:
    """Find the package of a folder, a zip or a yaml.

    Raises
    ------
    ModelError
        If it lacks a description, or the zip is damaged or harmful.
    """
    if path.suffix in YAMLS:
        return Contents(path.parent, path.name, zipped=False)
    if path.is_dir():
        return Contents(path, _description([each.name for each in path.iterdir()], path), zipped=False)
    try:
        with opened_zip(path) as archive:
            return Contents(path, _description(archive.namelist(), path), zipped=True)
    except UNREADABLE as error:
        raise ModelError(f"{path} is no whole zip: {error}", option="model") from error


def _description(names: list[str], path: Path) -> str:
    """The description nearest to the top."""
    for name in sorted(names, key=lambda name: name.count("/")):
        last = PurePosixPath(name).name
        if last in NAMES or last.endswith(SUFFIXES):
            return name
    if path.is_dir():
        raise ModelError(f"{path} is a folder without a network: a BioImage.IO package holds {NAMES[0]}, results of "
                         "nnU-Net plans.json, networks of segmentation_models_pytorch config.json, a MONAI bundle the "
                         "folders configs and models", option="model")
    raise ModelError(f"{path} holds no {NAMES[0]}, so it is no BioImage.IO package", option="model")
