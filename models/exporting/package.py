"""A BioImage.IO package (format 0.5) of one of tiler's networks, or of the user's own."""

from __future__ import annotations

import io
import string
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tiler.errors import ModelError
from tiler.geometry import Reach
from tiler.models.exporting.program import write_program
from tiler.models.loading.build_recipes import FactoryRecipe, RegisteredRecipe
from tiler.models.loading.packages.description import library, quiet
from tiler.models.loading.processing_steps import NO_STEPS
from tiler.models.loading.weights import WeightsCard, read_card
from tiler.models.predictor.torch_predictor import TorchPredictor
from tiler.models.zoo import registry
from tiler.version import __version__

YAML = "bioimageio.yaml"
EXTRA_STRIDES = 2
"""Number of voxels by which the test image is longer than the smallest tile."""
NAME_LETTERS = frozenset(string.ascii_letters + string.digits + "_+- ()")


@dataclass(frozen=True, slots=True)
class Imprint:
    """Authors and licence of a package.

    Parameters
    ----------
    authors
        Names.
    licence
        SPDX identifier; None leaves it open, and the documentation quotes the licence text of the weights.
    """

    authors: tuple[str, ...] = ()
    licence: str | None = None


def write_package(predictor: TorchPredictor, output: Path, imprint: Imprint) -> None:
    """Write a zip that bioimageio.core validates and runs to the same output.

    Parameters
    ----------
    predictor
        Predictor of all classes, in float32 on the CPU.
    output
        Path of the zip.
    imprint
        Authors and licence.

    Raises
    ------
    ModelError
        If the network has global layers or cannot be exported as a program, or if the description is invalid.
    """
    if predictor.model.measured or predictor.model.steps != NO_STEPS:
        raise ModelError(f"{predictor.model.identity['model']} cannot become a package: only networks with a bounded "
                         "context, and without steps of another package, can", option="model")
    spec = library("bioimageio.spec")
    with tempfile.TemporaryDirectory(prefix="tiler-") as name:
        folder = Path(name)
        try:
            with quiet(), spec.ValidationContext(
                    root=folder, disable_cache=True, log_warnings=False, progressbar=False):
                spec.save_bioimageio_yaml_only(_description(predictor, folder, imprint), folder / YAML)
        except ValueError as error:  # pydantic's validation error
            raise ModelError(f"bioimageio.spec refuses the package: {_refusal(error, imprint)}") from error
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)


def _refusal(error: Any, imprint: Imprint) -> str:
    """The first validation error; all of them would fill a page, with every known licence."""
    first = error.errors()[0] if hasattr(error, "errors") else {"loc": ("",), "msg": str(error)}
    if first["loc"][0] == "license":
        return f"the licence {imprint.licence!r} is none of SPDX: give one such as MIT or CC-BY-4.0 (`licence`)"
    return " ".join(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".split())[:300]


def _description(predictor: TorchPredictor, folder: Path, imprint: Imprint) -> Any:
    v = library("bioimageio.spec.model.v0_5")
    tests = _test_tensors(predictor, folder)
    name = str(predictor.model.identity["model"])
    card, entry = _card(predictor), _entry(predictor)
    (folder / "README.md").write_text(_documentation(name, card, entry), encoding="utf-8")
    return v.ModelDescr(
        name=_letters(f"{name} by tiler"), description=entry.description if entry else f"{name}, exported by tiler",
        authors=[v.Author(name=each) for each in imprint.authors],
        cite=[v.CiteEntry(text=entry.paper, doi=entry.doi or None, url=None if entry.doi else HOME)] if entry else [],
        license=imprint.licence, documentation=v.FileDescr(source="README.md"),
        tags=["segmentation", "tiler"], inputs=[_input(v, predictor, tests[0])],
        outputs=[_output(v, predictor, tests[1])], weights=v.WeightsDescr(**_weights(v, predictor, folder)))


HOME = "https://bioimage.io"


def _card(predictor: TorchPredictor) -> WeightsCard | None:
    weights = getattr(predictor.model.recipe, "weights", None)
    return None if weights is None else read_card(weights)


def _entry(predictor: TorchPredictor) -> registry.ModelEntry | None:
    return registry.describe(str(predictor.model.identity["model"])) if predictor.model.registered else None


def _letters(text: str) -> str:
    """Replace characters that the format forbids in the name of a model; names of channels may contain more."""
    return "".join(each if each in NAME_LETTERS else " " for each in text)


def _documentation(name: str, card: WeightsCard | None, entry: registry.ModelEntry | None) -> str:
    lines = [f"# {name}", "", f"Exported by tiler {__version__}."]
    if entry is not None:
        source = entry.paper + (f", doi:{entry.doi}" if entry.doi else "")
        lines += ["", "## Network", "", f"{entry.description}. {source}."]
    if card is not None:
        lines += ["", "## Training", "", card.training_data, "", "## Classes", "", ", ".join(card.classes),
                  "", "## Licence", "", card.licence]
    return "\n".join(lines) + "\n"


def _test_tensors(predictor: TorchPredictor, folder: Path) -> tuple[str, str]:
    """``(1, c, [z], y, x)``: noise with the grey values of the training images, and tiler's output for it."""
    ndim, footprint = predictor.model.ndim, predictor.plain
    tile = [axis.smallest + EXTRA_STRIDES * axis.stride for axis in footprint.axes[3 - ndim :]]
    mean, std = predictor.expects or ((0.0,), (1.0,))
    shape = (predictor.in_channels, *[1] * (3 - ndim), *tile)
    noise = np.random.default_rng(0).normal(size=shape)
    image = (noise * _columns(std) + _columns(mean)).astype(np.float32)[None]
    names = "test_input.npy", "test_output.npy"
    for name, batch in zip(names, (image, predictor(image)), strict=True):
        np.save(folder / name, batch if ndim == 3 else batch[:, :, 0])
    return names


def _columns(values: Sequence[float]) -> np.ndarray:
    return np.reshape(values, (-1, 1, 1, 1))


def _space(predictor: TorchPredictor) -> Iterator[tuple[str, Reach]]:
    ndim = predictor.model.ndim
    return zip("zyx"[3 - ndim :], predictor.plain.axes[3 - ndim :], strict=True)


def halo_of(axis: Reach) -> int:
    """Voxels to cut off at either end of an output: the context minus the network's own crop, in whole strides.

    Other software pads an image by the halo and steps by the rest; both must keep the phase of the poolings. For the
    published U-Net the halo is 16: its context is 92 before and 96 after, and it crops 92 on both sides.
    """
    least = max(axis.low - axis.shrink_low, axis.high - axis.shrink_high)
    return -(-least // axis.stride) * axis.stride


def _input(v: Any, predictor: TorchPredictor, test: str) -> Any:
    def size(axis: Reach) -> Any:
        least = axis.smallest + -(-(2 * halo_of(axis)) // axis.stride) * axis.stride
        return v.ParameterizedSize(min=least, step=axis.stride)

    channels = [f"channel{index}" for index in range(predictor.in_channels)]
    return v.InputTensorDescr(
        id="image", axes=[v.BatchAxis(), v.ChannelAxis(channel_names=channels),
                          *(v.SpaceInputAxis(id=name, size=size(axis)) for name, axis in _space(predictor))],
        test_tensor=v.FileDescr(source=test), data=v.IntervalOrRatioDataDescr(type="float32"),
        preprocessing=[_float(v), *_scaling(v, predictor)])


def _float(v: Any) -> Any:
    return v.EnsureDtypeDescr(kwargs=v.EnsureDtypeKwargs(dtype="float32"))


def _scaling(v: Any, predictor: TorchPredictor) -> list[Any]:
    """The weights' normalisation in grey values; they divide by the scale first."""
    scaling = predictor.scaling.values
    if scaling is None:
        return []
    mean, std = ([scaling.scale * value for value in values] for values in (scaling.mean, scaling.std))
    if len(mean) == 1:
        return [v.FixedZeroMeanUnitVarianceDescr(kwargs=v.FixedZeroMeanUnitVarianceKwargs(mean=mean[0], std=std[0]))]
    kwargs = v.FixedZeroMeanUnitVarianceAlongAxisKwargs(mean=mean, std=std, axis="channel")
    return [v.FixedZeroMeanUnitVarianceDescr(kwargs=kwargs)]


def _output(v: Any, predictor: TorchPredictor, test: str) -> Any:
    def axis(name: str, reach: Reach) -> Any:
        size = v.SizeReference(tensor_id="image", axis_id=name, offset=-reach.shrink_low - reach.shrink_high)
        halo = halo_of(reach)
        return v.SpaceOutputAxisWithHalo(id=name, size=size, halo=halo) if halo else v.SpaceOutputAxis(
            id=name, size=size)

    heads = {"softmax": [v.SoftmaxDescr(kwargs=v.SoftmaxKwargs(axis="channel"))], "sigmoid": [v.SigmoidDescr()],
             "none": []}
    names = [_letters(name) for name in predictor.written.names]
    return v.OutputTensorDescr(
        id="probabilities", axes=[v.BatchAxis(), v.ChannelAxis(channel_names=names),
                                  *(axis(name, reach) for name, reach in _space(predictor))],
        test_tensor=v.FileDescr(source=test), data=v.IntervalOrRatioDataDescr(type="float32"),
        postprocessing=[*heads[predictor.head.name], _float(v)])


def _weights(v: Any, predictor: TorchPredictor, folder: Path) -> dict[str, Any]:
    """The network as a state dict (for users with its code), as ONNX and as TorchScript, one file each."""
    model = predictor.model
    version = v.Version(torch.__version__.partition("+")[0])
    made: dict[str, Any] = {}
    architecture = _architecture(v, predictor, folder)
    if architecture is not None:
        buffer = io.BytesIO()
        torch.save(model.bare().state_dict(), buffer)
        made["pytorch_state_dict"] = v.PytorchStateDictWeightsDescr(
            source=_stored(folder / "weights.pth", buffer.getvalue()), architecture=architecture,
            pytorch_version=version)
    parent = "pytorch_state_dict" if made else None
    script, graph = (write_program(kind, model.bare(), model.in_channels, predictor.plain, model.ndim)
                     for kind in ("torchscript", "onnx"))
    made["torchscript"] = v.TorchscriptWeightsDescr(
        source=_stored(folder / "weights.pt", script), pytorch_version=version, parent=parent)
    made["onnx"] = v.OnnxWeightsDescr(
        source=_stored(folder / "weights.onnx", graph), opset_version=17, parent=parent or "torchscript")
    return made


def _stored(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return path.name


def _architecture(v: Any, predictor: TorchPredictor, folder: Path) -> Any:
    """How to build the network in Python, if it is known."""
    recipe = predictor.model.recipe
    if isinstance(recipe, RegisteredRecipe):
        module, name = recipe.factory.split(":")
        return v.ArchitectureFromLibraryDescr(callable=name, kwargs=dict(recipe.arguments), import_from=module)
    if isinstance(recipe, FactoryRecipe) and not recipe.source.endswith(".py"):
        return v.ArchitectureFromLibraryDescr(callable=recipe.attribute, import_from=recipe.source)
    if isinstance(recipe, FactoryRecipe):
        code = _stored(folder / "architecture.py", Path(recipe.source).read_bytes())
        return v.ArchitectureFromFileDescr(callable=recipe.attribute, source=code)
    return None
