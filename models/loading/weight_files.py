"""Weights files: safetensors, and files written by `torch.save`, which are read without running any code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from packaging.version import Version
from safetensors import SafetensorError, safe_open

from tiler.errors import ModelError, WeightsError
from tiler.models.loading.files import UNREADABLE, opened_zip

COUNTER = "num_batches_tracked"  # bookkeeping of training; the result does not depend on it
SAFE_SINCE = "2.6"
"""First version of torch whose weights-only reader runs no code (CVE-2025-32434)."""
PLACES = ("state_dict", "model_state_dict", "network_weights", "model_state", "model", "network", "net", "weights",
          "params_ema", "params", "ema")
"""Keys under which training programs store the weights, besides optimiser state and other entries."""
WRAPPERS = ("module", "_orig_mod")
"""Prefixes of names that `torch.nn.DataParallel` and `torch.compile` add, which are not part of the network."""


class WeightFile(Protocol):
    """An open file of weights; batch counters of batch norm are left out."""

    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...
    def tensor(self, name: str) -> torch.Tensor: ...


class SafeFile:
    """A safetensors file, from which only requested tensors are read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata() or {}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        names = [name for name in self._file.keys() if not name.endswith(COUNTER)]  # noqa: SIM118 - no mapping
        return {name: tuple(self._file.get_slice(name).get_shape()) for name in names}

    def tensor(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._file.get_tensor(name)
        return found


class TorchFile:
    """The weights in a file of `torch.save`.

    Parameters
    ----------
    content
        Content of the file, as `torch.load` returns it.
    name
        Name of the file, for messages.
    """

    metadata: Mapping[str, str] = {}

    def __init__(self, content: Any, name: str) -> None:
        self.state = _without_wrappers(weights_in(content, name))

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.state.items() if not name.endswith(COUNTER)}

    def tensor(self, name: str) -> torch.Tensor:
        return self.state[name]


@contextmanager
def open_weights(path: Path) -> Iterator[WeightFile]:
    """Open a weights file of either kind.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds more than tensors.
    """
    head = _head(path)
    if path.suffix in (".onnx", ".pt2") or (head.startswith(b"PK") and _is_network(path)):
        raise WeightsError(f"{path} is a network with its weights: give it as `model`, and leave out `weights`")
    if head[8:] != b"{" and (head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] <= b"\x05")):
        yield TorchFile(load_pickled(path), str(path))
        return
    if head.startswith(b"\x89HDF"):
        raise WeightsError(f"{path} is an HDF5 file, as Keras writes it: tiler reads weights of torch, as safetensors "
                           "or as torch.save writes them", option="weights")
    try:
        file = safe_open(path, "pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}): it may be truncated, fetch it again",
                           option="weights") from error
    with file as opened:
        yield SafeFile(opened)


def _is_network(path: Path) -> bool:
    """Whether a zip holds a BioImage.IO package or a program of torch."""
    with suppress(OSError, BadZipFile), ZipFile(path) as archive:
        return any(name.endswith(("bioimageio.yaml", "rdf.yaml")) or "/code/" in name for name in archive.namelist())
    return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(9)
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}", option="weights") from error


def load_pickled(path: Path) -> Any:
    """Read a file of `torch.save` with torch's weights-only reader: tensors, numbers, strings, containers of them.

    Raises
    ------
    WeightsError
        If the file holds anything else, or the installed torch cannot read it safely.
    """
    if Version(torch.__version__) < Version(SAFE_SINCE):
        raise WeightsError(f"{path} is a pickle, which torch reads safely since {SAFE_SINCE}, this is torch "
                           f"{torch.__version__}: update torch, or convert the file elsewhere", option="weights")
    scalar = np.float64(0).__reduce__()[0]
    harmless: list[Any] = [scalar, np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), type(np.dtype("i8"))]
    try:
        if _head(path).startswith(b"PK"):
            with opened_zip(path):
                pass  # refuses zips whose unpacked size is far larger than their own
        # Opened here, because torch chooses its reader by a path's suffix.
        with warnings.catch_warnings(), torch.serialization.safe_globals(harmless), path.open("rb") as file:
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols that this reader supports in part
            return torch.load(file, map_location="cpu", weights_only=True)
    except (*UNREADABLE, pickle.UnpicklingError, LookupError, AttributeError, TypeError, AssertionError,
            ModelError) as error:
        raise WeightsError(f"{path} is a pickle that is not read ({_reason(error)}): tiler runs no code of a file, and "
                           "reads tensors alone; save the network's state_dict, or convert it to safetensors where you "
                           "trust it", option="weights") from error


def _reason(error: BaseException) -> str:
    """Reason for an error, without torch's advice to load without restrictions."""
    text = " ".join(str(error).split()) or type(error).__name__
    for mark in ("WeightsUnpickler error: ", "Unsupported global: "):
        text = text.partition(mark)[2] or text
    return text.partition(" Please ")[0].partition(" Check the documentation")[0][:200]


def weights_in(content: Any, name: str) -> dict[str, torch.Tensor]:
    """The tensors by name among the values that a training program saved.

    Raises
    ------
    WeightsError
        If there are none, or several candidates.
    """
    if _is_state(content):
        return dict(content)
    inside = {str(key): value for key, value in content.items() if _is_state(value)} if isinstance(
        content, Mapping) else {}
    known = next((inside[place] for place in PLACES if place in inside), None)
    found = known or (next(iter(inside.values())) if len(inside) == 1 else None)
    if found is None:
        keys = f"has {', '.join(map(str, content))[:200]}" if isinstance(content, Mapping) else "has no names"
        raise WeightsError(f"it is not clear where the weights are in {name}, which {keys}: save the state_dict alone",
                           option="weights")
    return dict(found)


def _is_state(content: Any) -> bool:
    return (isinstance(content, Mapping) and len(content) > 0
            and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()))


def _without_wrappers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under their names in the network itself."""
    first = {name.partition(".")[0] for name in state}
    while len(first) == 1 and first <= set(WRAPPERS):
        state = {name.partition(".")[2]: value for name, value in state.items()}
        first = {name.partition(".")[0] for name in state}
    return state


def common_prefix(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Find the prefix of a network's tensors in a file; "" if there is none, or nothing fits.

    Files of training programs name the network within its trainer: ``net.enc.0.weight`` is ``enc.0.weight``.
    """
    if not wanted or found.keys() >= wanted.keys():
        return ""
    one = next(iter(wanted))
    prefixes = {name.removesuffix(one) for name in found if name.endswith(f".{one}")}
    return next((prefix for prefix in sorted(prefixes, key=len)
                 if all(f"{prefix}{name}" in found for name in wanted)), "")
