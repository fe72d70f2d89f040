"""Examine the installation and the machine, for `tiler doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from packaging.requirements import Requirement

from tiler.errors import ModelError
from tiler.machine import available_memory, cores
from tiler.models.inference import backends
from tiler.models.inference.devices import available, resolve_precision
from tiler.version import __version__

DISTRIBUTION = "em-tiler"
DEVELOPMENT = ("test", "figures")
"""Extras for development, which users do not need."""
PRECISIONS = ("float32", "bfloat16", "float16", "float64")
COMPILERS = ("c++", "g++", "clang++", "cl")
SAME = {"onnxruntime": ("onnxruntime-gpu",)}
"""Distributions that provide the package of another one; only one of them may be installed."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that tiler requires.

    Parameters
    ----------
    name
        Name of the distribution.
    installed
        Installed version; None if it is missing.
    wanted
        Accepted versions, such as ">=2.4".
    """

    name: str
    installed: str | None
    wanted: str

    @property
    def fits(self) -> bool:
        return self.installed is not None and Requirement(f"{self.name}{self.wanted}").specifier.contains(
            self.installed, prereleases=True)


@dataclass(frozen=True, slots=True)
class Extra:
    """Optional packages.

    Parameters
    ----------
    packages
        Packages of the extra.
    install
        Command that installs them.
    """

    packages: tuple[Package, ...]
    install: str

    @property
    def complete(self) -> bool:
        return all(package.fits for package in self.packages)


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend, which runs networks.

    Parameters
    ----------
    version
        Version; None if the backend cannot be used.
    precisions
        Precisions on the processor; for TensorRT on a GPU.
    note
        Reason why the backend cannot be used.
    """

    version: str | None
    precisions: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: its path, whether it is writable, and its free bytes."""

    path: str
    writable: bool
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor, memory in bytes, and accelerators with their memory."""

    system: str
    cores: int
    memory: int
    memory_available: int
    accelerators: dict[str, str]


@dataclass(frozen=True, slots=True)
class Installation:
    """Contents of the report of `tiler doctor`."""

    versions: dict[str, str]
    packages: tuple[Package, ...]
    extras: dict[str, Extra]
    machine: Machine
    backends: dict[str, Backend]
    numba_cache: str | None
    folders: dict[str, Folder]

    @property
    def problems(self) -> list[str]:
        """Problems that keep tiler from working, one line each."""
        wrong = [f"{package.name} {package.installed or 'is missing'}: tiler needs {package.name}{package.wanted} "
                 f"(pip install '{package.name}{package.wanted}')" for package in self.packages if not package.fits]
        folder = self.folders["temporary"]
        if not folder.writable:
            wrong.append(f"{folder.path} cannot be written: set TMPDIR to a folder that can")
        return wrong


def examine() -> Installation:
    """Examine the installation; imports every backend."""
    requirements = metadata.requires(DISTRIBUTION) or []
    names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return Installation(
        versions={"tiler": __version__, "python": platform.python_version()},
        packages=packages_of(requirements),
        extras={name: Extra(packages_of(requirements, name), f"pip install '{DISTRIBUTION}[{name}]'")
                for name in names if name not in DEVELOPMENT},
        machine=_machine(),
        backends={name: _backend(name) for name in backends.MODULES},
        numba_cache=_numba_cache(),
        folders={"temporary": folder_at(Path(tempfile.gettempdir())), "working": folder_at(Path.cwd())},
    )


def packages_of(requirements: Sequence[str], extra: str = "") -> tuple[Package, ...]:
    """Return the packages that tiler itself requires, or those that only one of its extras requires."""
    found = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        here = marker is None or marker.evaluate({"extra": ""})
        if here if not extra else (marker is not None and not here and marker.evaluate({"extra": extra})):
            found.append(Package(requirement.name, _version(requirement.name), str(requirement.specifier)))
    return tuple(found)


def _version(name: str) -> str | None:
    for distribution in (name, *SAME.get(name, ())):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


def _machine() -> Machine:
    found = {}
    for number in range(torch.cuda.device_count() if "cuda" in available() else 0):
        card = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
    if "mps" in available():
        found["mps"] = platform.processor()
    return Machine(f"{platform.system()} {platform.machine()}", cores(), int(psutil.virtual_memory().total),
                   available_memory(), found)


def _backend(name: str) -> Backend:
    try:
        backend = backends.open_backend(name)
        device = torch.device("cuda" if name == "onnxruntime:tensorrt" else "cpu")
        version = backend.version(device)
    except ModelError as error:
        return Backend(None, note=error.marked)
    if name == "compile" and not ("CXX" in os.environ or any(map(shutil.which, COMPILERS))):
        return Backend(None, note="torch.compile needs a C++ compiler for the processor, and none was found")
    fitting, refusals = [], []
    for precision in PRECISIONS:
        try:
            backend.check(device, resolve_precision(precision, device), False)
        except ModelError as error:
            refusals.append(error.marked)
            continue
        fitting.append(precision)
    return Backend(version, tuple(fitting)) if fitting else Backend(None, note=refusals[0])


def _numba_cache() -> str | None:
    """Return the folder of compiled metrics, or None if no folder is writable."""
    from tiler.metrics.thinning import _flood

    loop: Any = _flood
    path = getattr(getattr(loop.dispatcher, "stats", None), "cache_path", None)
    return str(path) if path else None


def folder_at(path: Path) -> Folder:
    """Examine a folder by creating a file, since access rights do not reveal read-only disks."""
    try:
        with tempfile.TemporaryFile(dir=path):
            writable = True
    except OSError:
        writable = False
    return Folder(str(path), writable, shutil.disk_usage(path).free)
