"""Registry of the networks that have a name. Importing this module does not import torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tiler.errors import ModelError, WeightsError
from tiler.ports import offered

_BUNDLED = Path(__file__).parents[1] / "weights_data"


@dataclass(frozen=True, slots=True)
class Paper:
    """Publication of a network; the DOI is empty if there is none."""

    citation: str
    doi: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A network that has a name.

    Parameters
    ----------
    name
        Name by which the network is opened.
    factory
        ``"package.module:object"``, called with the arguments stored in the weights.
    description
        Description in one line.
    published
        Publication.
    exactness
        How the network can be tiled: EXACT, STAGES or WHOLE; see `tiler.models.probe`.
    arguments
        Default arguments of the factory, which those of weights and user override.
    weights
        File with the bundled default weights, or None.
    left_open
        Choices that the source does not state or contradicts, and what was chosen; empty if there are none.
    """

    name: str
    factory: str
    description: str
    published: Paper
    exactness: str = "EXACT"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    left_open: str = ""

    @property
    def paper(self) -> str:
        return self.published.citation

    @property
    def doi(self) -> str:
        return self.published.doi


@dataclass(frozen=True, slots=True)
class BundledWeights:
    """Weights that come with tiler.

    Parameters
    ----------
    name
        What ``weights`` and ``init`` take; also that of the file and of its model card.
    model
        Registered name of their network.
    description
        One line.
    """

    name: str
    model: str
    description: str

    @property
    def path(self) -> Path:
        return _BUNDLED / f"{self.name}.safetensors"


_WEIGHTS = {entry.name: entry for entry in (
    BundledWeights("dic-hela", "unet", "HeLa cells in differential interference contrast, 0.19 um a pixel"),
    BundledWeights("unet-isbi2012", "unet", "membranes in serial-section transmission EM of fly larva, 4 nm a pixel"),
)}

_UNET = Paper("O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation. "
              "MICCAI 2015", "10.1007/978-3-319-24574-4_28")
_UNETPP = Paper("Z. Zhou et al.: UNet++: A Nested U-Net Architecture for Medical Image Segmentation. DLMIA 2018",
                "10.1007/978-3-030-00889-5_1")
_UNET3PLUS = Paper("H. Huang et al.: UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation. ICASSP 2020",
                   "10.48550/arXiv.2004.08790")
_FCN = Paper("J. Long, E. Shelhamer, T. Darrell: Fully Convolutional Networks for Semantic Segmentation. CVPR 2015",
             "10.1109/CVPR.2015.7298965")
_CIRESAN = Paper("D. C. Ciresan, A. Giusti, L. M. Gambardella, J. Schmidhuber: Deep Neural Networks Segment Neuronal "
                 "Membranes in Electron Microscopy Images. NIPS 2012", "")
_ESFPNET = Paper("Q. Chang et al.: ESFPNet: Efficient Stage-Wise Feature Pyramid on Mix Transformer for Deep "
                 "Learning-Based Cancer Analysis in Endoscopic Video. Journal of Imaging 10 (2024)",
                 "10.3390/jimaging10080191")
_CBAM = Paper("S. Woo et al.: CBAM: Convolutional Block Attention Module. ECCV 2018. Of the network itself only a "
              "review could be obtained",
              "10.48550/arXiv.1807.06521")
_GAIN = Paper("K. Li et al.: Tell Me Where to Look: Guided Attention Inference Network. CVPR 2018",
              "10.48550/arXiv.1802.10171")

_NESTED = "tiler.models.zoo.unetpp:UNetPlusPlus"
_FULL_SCALE = "tiler.models.zoo.unet3plus:UNet3Plus"
_CONVOLUTIONAL = "tiler.models.zoo.fcn:FCN"
_WINDOW = "tiler.models.zoo.ciresan:SlidingWindowNet"
_PYRAMID = "tiler.models.zoo.esfpnet:ESFPNet"

_ALL = (
    ModelEntry("unet", "tiler.models.zoo.unet:UNet",
               "U-Net; the bundled weights find membranes in serial-section transmission EM", _UNET,
               weights=_WEIGHTS["unet-isbi2012"].path),
    ModelEntry("unet-wide", "tiler.models.zoo.unetpp:wide_unet",
               "same-padded U-Net with as many weights as U-Net++, its control", _UNETPP,
               left_open="the paper prints 9.13 M parameters for these widths, its code has 9,282,246, as here"),
    ModelEntry("unetpp", _NESTED, "U-Net++: nested dense skips, deconvolutions", _UNETPP),
    ModelEntry("unetpp-ds", _NESTED, "U-Net++ with four heads: accurate, fast or pruned", _UNETPP,
               arguments={"heads": "accurate"}),
    ModelEntry("unetpp-bilinear", _NESTED, "U-Net++ with interpolation and batch norm", _UNETPP,
               arguments={"up": "bilinear", "batch_norm": True}),
    ModelEntry("unetpp-corners", _NESTED, "U-Net++ with aligned corners, as it is widespread", _UNETPP, "STAGES",
               {"up": "corners", "batch_norm": True}),
    ModelEntry("unet3plus", _FULL_SCALE, "UNet 3+: full-scale skips", _UNET3PLUS),
    ModelEntry("unet3plus-ds", _FULL_SCALE, "UNet 3+ with five supervised outputs", _UNET3PLUS,
               arguments={"deep_supervision": True}),
    ModelEntry("unet3plus-cgm", _FULL_SCALE, "UNet 3+ that first decides whether anything is there", _UNET3PLUS,
               "STAGES", {"deep_supervision": True, "classification": True}),
    ModelEntry("fcn32s", _CONVOLUTIONAL, "FCN-32s on VGG-16", _FCN, arguments={"stride": 32}),
    ModelEntry("fcn32s-fixed", _CONVOLUTIONAL, "FCN-32s of which only the score layer is trained", _FCN,
               arguments={"stride": 32, "frozen_body": True}),
    ModelEntry("fcn16s", _CONVOLUTIONAL, "FCN-16s on VGG-16", _FCN, arguments={"stride": 16}),
    ModelEntry("fcn8s", _CONVOLUTIONAL, "FCN-8s on VGG-16", _FCN, arguments={"stride": 8}),
    ModelEntry("fcn8s-at-once", _CONVOLUTIONAL, "FCN-8s trained in one go, by scaled streams", _FCN,
               arguments={"stride": 8, "at_once": True}),
    ModelEntry("fcn-alexnet", _CONVOLUTIONAL, "FCN-32s on AlexNet", _FCN, arguments={"body": "alexnet"}),
    ModelEntry("fcn-googlenet", _CONVOLUTIONAL, "FCN-32s on GoogLeNet", _FCN, arguments={"body": "googlenet"},
               left_open="no head was published: a first padding of 3, kernel 63 and crop 1 are chosen"),
    ModelEntry("ciresan-n4", _WINDOW, "pixel classifier in a window of 95, as a dense network", _CIRESAN,
               left_open="the activation is not stated: ReLU is chosen, tanh is an argument"),
    ModelEntry("ciresan-n65", _WINDOW, "pixel classifier in a window of 65, approximated", _CIRESAN,
               arguments={"variant": "n65"},
               left_open="the layers of the published windows of 65 are not available: these are those of a later "
                         "approximation, which uses 60 of the 65 pixels"),
    ModelEntry("cnn-full-resolution", "tiler.models.zoo.ciresan:FullResolutionNet",
               "convolutions only, nothing pooled: a baseline", _CIRESAN,
               left_open="never published: the reviews name such a baseline without its layers, all are chosen"),
    ModelEntry("esfpnet-t", _PYRAMID, "ESFPNet-T, on a Mix Transformer B0, for video frames", _ESFPNET, "STAGES",
               {"variant": "b0"}),
    ModelEntry("esfpnet-s", _PYRAMID, "ESFPNet-S, on a Mix Transformer B2", _ESFPNET, "STAGES", {"variant": "b2"}),
    ModelEntry("esfpnet-l", _PYRAMID, "ESFPNet-L, on a Mix Transformer B4", _ESFPNET, "STAGES", {"variant": "b4"}),
    ModelEntry("caunet", "tiler.models.zoo.caunet:CAUNet",
               "U-Net with attention on its skips and atrous pooling", _CBAM, "STAGES",
               left_open="no paper could be obtained and no size was published: where CBAM and ASPP lie, and their "
                         "rates and channels, are chosen"),
    ModelEntry("gain-resnet50", "tiler.models.zoo.gain:GAINResNet50",
               "classifier of whole images with an attention map", _GAIN, "WHOLE",
               left_open="how 2048 maps become one attention map is not stated: Grad-CAM is chosen"),
)

_ENTRIES = {entry.name: entry for entry in _ALL}


def names() -> tuple[str, ...]:
    """Return the names of all registered networks, sorted."""
    return tuple(sorted({*_ENTRIES, *offered("models")}))


def describe(name: str) -> ModelEntry:
    """Return the entry of a network.

    Raises
    ------
    ModelError
        There is no such network; the message names the closest ones.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    plugins = offered("models")
    if name in plugins:
        return _plugin(name, plugins[name])
    close = difflib.get_close_matches(name, names(), cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names())};"
    raise ModelError(f"unknown model {name!r}: {hint} your own is package.module:factory or file.py:factory "
                     "(`model`)")


def _plugin(name: str, target: str) -> ModelEntry:
    """The entry that another package offers under a name."""
    entry = resolve_name(target)
    if not isinstance(entry, ModelEntry) or entry.name != name:
        raise ModelError(f"{target}, which a package offers as the model {name!r}, is not a tiler.models.ModelEntry of "
                         "that name")
    return entry


def bundled_weights() -> tuple[BundledWeights, ...]:
    """All weights that come with tiler, sorted by name."""
    return tuple(_WEIGHTS[name] for name in sorted(_WEIGHTS))


def weights_file(given: str | Path, option: str = "weights") -> Path:
    """The file that bundled weights of a name are in, or the path that is given.

    A file of that path wins over a name.

    Parameters
    ----------
    given
        Name of bundled weights, or a path.
    option
        Which option names it, for the message.

    Raises
    ------
    WeightsError
        If it is neither a file nor a name, and looks like a name.
    """
    path, name = Path(given), str(given)
    if name in _WEIGHTS and not path.is_file():
        return _WEIGHTS[name].path
    if name == path.stem and not path.exists():
        raise WeightsError(f"there are no weights {name!r}: bundled are {', '.join(sorted(_WEIGHTS))}; your own are a "
                           "safetensors file", option=option)
    return path


def build(name: str, **arguments: Any) -> Any:
    """Build a registered network as a new `torch.nn.Module`.

    Parameters
    ----------
    name
        Name of the network.
    **arguments
        Arguments of the factory; they override the defaults of the entry.

    Raises
    ------
    ModelError
        There is no such network, or it refuses an argument.
    """
    entry = describe(name)
    return resolve_name(entry.factory)(**{**entry.arguments, **arguments})
