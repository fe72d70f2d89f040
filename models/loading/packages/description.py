"""Description of a package: its yaml, read and upgraded to the latest format by `bioimageio.spec`."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.packages.contents import Contents
from tiler.models.loading.packages.processing import postprocessing, preprocessing
from tiler.models.loading.processing_steps import Measured, Steps
from tiler.models.predictor.heads import Head

SPACE = ("z", "y", "x")
LARGEST_YAML = 1 << 20
"""Largest size of a description in bytes."""
MOST_NODES = 100_000
"""Largest number of values of a description, with every alias expanded."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Input or output of a network.

    Parameters
    ----------
    axes
        ``"bcyx"``, in its own order; b, c and z may be missing.
    channels
        Names of its channels.
    """

    axes: str
    channels: tuple[str, ...]

    @property
    def ndim(self) -> int:
        return sum(axis in SPACE for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights: ``"onnx"``, ``"torchscript"`` or ``"pytorch_state_dict"``.

    Parameters
    ----------
    source
        Name within the package, or an address.
    sha256
        Expected SHA-256; None if the yaml does not state it.
    details
        Further entries of the yaml about it.
    """

    format: str
    source: str
    sha256: str | None
    details: Any

    @property
    def local(self) -> bool:
        return "://" not in self.source


@dataclass(frozen=True, slots=True)
class Description:
    """The part of a yaml that tiler uses."""

    name: str
    given: Tensor
    made: Tensor
    names_channels: bool
    halo: tuple[int, ...] | None
    steps: Steps
    measured: Measured | None
    head: Head | None
    weights: tuple[Weights, ...]


FORMATS = ("torchscript", "pytorch_state_dict", "onnx")


def describe(contents: Contents) -> Description:
    """Read a package's yaml; formats 0.4 and 0.5.

    Raises
    ------
    ModelError
        If it is invalid, does not describe a network with one input and one output, or needs unsupported features.
    """
    content = _parsed(contents)
    described = _validated(content, contents)
    if len(described.inputs) != 1 or len(described.outputs) != 1:
        raise ModelError(f"{described.name} has {len(described.inputs)} inputs and {len(described.outputs)} outputs, "
                         "tiler runs networks with one of each", option="model")
    given, made = described.inputs[0], described.outputs[0]
    ids = [str(axis.id) for axis in given.axes if axis.type == "space"]
    before, measured = preprocessing(given.preprocessing, (*ids, "channel"))
    after, head = postprocessing(made.postprocessing)
    return Description(
        described.name, _tensor(given), _tensor(made), not str(content["format_version"]).startswith("0.4"),
        _halo(made), Steps(before, after), measured, head, tuple(_weights(described, content)))


def _parsed(contents: Contents) -> Mapping[str, Any]:
    text = contents.file(contents.yaml.rpartition("/")[2]).read()
    if len(text) > LARGEST_YAML:
        raise ModelError(f"{contents.yaml} of {contents.root} has {len(text)} bytes, which no description needs",
                         option="model")
    yaml = library("ruyaml").YAML(typ="safe")
    try:
        content = yaml.load(text)
    except Exception as error:  # each part of a YAML parser raises its own errors
        raise ModelError(f"{contents.yaml} of {contents.root} is no YAML: {' '.join(str(error).split())[:200]}",
                         option="model") from error
    if not _bounded(content):
        raise ModelError(f"{contents.yaml} of {contents.root} has more than {MOST_NODES} values once its aliases are "
                         "followed, which no description needs", option="model")
    if not isinstance(content, dict) or content.get("type", "model") != "model" or "weights" not in content:
        raise ModelError(f"{contents.yaml} of {contents.root} describes no model", option="model")
    return content


def _bounded(content: Any) -> bool:
    """Whether a document is small with every alias expanded: a few hundred bytes of aliases can mean billions."""
    stack, seen = [content], 0
    while stack and seen <= MOST_NODES:
        node = stack.pop()
        seen += 1
        if isinstance(node, dict):
            stack.extend([*node.keys(), *node.values()])
        elif isinstance(node, list):
            stack.extend(node)
    return seen <= MOST_NODES


def _validated(content: Mapping[str, Any], contents: Contents) -> Any:
    """A `bioimageio.spec.model.v0_5.ModelDescr`, without a check of files; tiler checks those that it reads."""
    spec = library("bioimageio.spec")
    content = _without_fixed_halos(content)
    with quiet(), spec.ValidationContext(file_name=contents.yaml, perform_io_checks=False, disable_cache=True,
                                          log_warnings=False, progressbar=False):
        described = spec.build_description(content, format_version="latest")
    if isinstance(described, spec.InvalidDescr):
        first = next(error for detail in described.validation_summary.details for error in detail.errors)
        where = ".".join(map(str, first.loc)) or "it"
        raise ModelError(f"{contents.yaml} of {contents.root} is not valid: {where}: "
                         f"{' '.join(first.msg.split())[:200]}", option="model")
    return described


def _without_fixed_halos(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content without the halos of outputs of a fixed size, which format 0.4 allows and 0.5 does not.

    tiler finds by itself how much of an output is right.
    """
    outputs = content.get("outputs")
    if not str(content.get("format_version")).startswith("0.4") or not isinstance(outputs, list):
        return dict(content)
    kept = [{name: value for name, value in output.items() if name != "halo"}
            if isinstance(output, dict) and isinstance(output.get("shape"), list) else output for output in outputs]
    return {**content, "outputs": kept}


def library(name: str) -> Any:
    """Import a module of the optional dependencies.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModelError(f"BioImage.IO packages need {error.name}: pip install 'em-tiler[bioimageio]'",
                         option="model") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence bioimageio.spec's warnings about upgrades of a description and about files that it leaves open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, logging.root.manager.disable = logging.root.manager.disable, logging.WARNING
        try:
            yield
        finally:
            logging.root.manager.disable = before


def _tensor(described: Any) -> Tensor:
    letters, channels = "", tuple[str, ...](("channel",))
    for axis in described.axes:
        if axis.type not in ("batch", "channel", "space"):
            raise ModelError(f"the package has an axis {axis.id} of type {axis.type}, tiler knows batch, channel and "
                             "space", option="model")
        letters += str(axis.id) if axis.type == "space" else axis.type[0]
        if axis.type == "channel":
            channels = tuple(str(name) for name in axis.channel_names)
    tensor = Tensor(letters, channels)
    if tensor.ndim not in (2, 3) or not {"y", "x"} <= set(letters):
        raise ModelError(f"the package has the axes {letters!r}, tiler runs networks of (z), y and x", option="model")
    return tensor


def _halo(described: Any) -> tuple[int, ...] | None:
    halos = {str(axis.id): getattr(axis, "halo", None) for axis in described.axes if axis.type == "space"}
    if not any(halos.values()):
        return None
    return tuple(halos[axis] or 0 for axis in SPACE if axis in halos)


def _weights(described: Any, content: Mapping[str, Any]) -> Iterator[Weights]:
    """Hashes from the original yaml, because an upgrade may lose them."""
    for name in FORMATS:
        entry = getattr(described.weights, name)
        if entry is not None:
            stated = content["weights"].get(name, {}).get("sha256") or entry.sha256
            yield Weights(name, str(entry.source), stated and str(stated), entry)


def first_of(formats: Sequence[str], weights: Sequence[Weights]) -> Weights | None:
    """The first format whose file is in the package."""
    found = {each.format: each for each in weights if each.local}
    return next((found[name] for name in formats if name in found), None)
