"""The networks that nnU-Net's plans describe, built by dynamic_network_architectures."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from tiler.errors import ModelError

PACKAGE = "dynamic_network_architectures"
INSTALL = "em-tiler[nnunet]"


def build_architecture(configuration: Mapping[str, Any], channels: int, classes: int) -> nn.Module:
    """The network of a configuration, without deep supervision, with random values.

    Raises
    ------
    ModelError
        If it is not from dynamic_network_architectures, or that package is missing.
    """
    stated = configuration.get("architecture") or _of_old_plans(configuration)
    name, arguments = str(stated["network_class_name"]), dict(stated["arch_kwargs"])
    for key in stated.get("_kw_requires_import", ()):
        if arguments.get(key) is not None:
            arguments[key] = _found(str(arguments[key]), "torch")
    made: nn.Module = _found(name, PACKAGE)(
        input_channels=channels, num_classes=classes, **{**arguments, "deep_supervision": False})
    return made


def _found(name: str, package: str) -> Any:
    """A class by its dotted name, from one package only, so that a folder cannot import arbitrary modules."""
    module, _, attribute = name.rpartition(".")
    if module != package and not module.startswith(f"{package}."):
        raise ModelError(f"the plans name {name}, which is not part of {package}: networks of your own are given as "
                         "file.py:factory", option="model")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ModelError(f"a folder of nnU-Net needs the package {error.name}: pip install '{INSTALL}'") from error
    except AttributeError as error:
        raise ModelError(f"this version of {package} has no {name}: update it", option="model") from error


def _of_old_plans(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the plans of versions before nnU-Net 2.4."""
    try:
        kernels, name = configuration["conv_kernel_sizes"], configuration["UNet_class_name"]
        base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
        encoder = configuration["n_conv_per_stage_encoder"]
        strides, decoder = configuration["pool_op_kernel_sizes"], configuration["n_conv_per_stage_decoder"]
    except KeyError as error:
        raise ModelError(f"the plans of nnU-Net have no {error}: they are damaged, or of a version that tiler does not "
                         "read", option="model") from error
    ndim = len(kernels[0])
    blocks = "n_blocks_per_stage" if "Residual" in name else "n_conv_per_stage"
    return {
        "network_class_name": f"{PACKAGE}.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": len(kernels), "features_per_stage": [min(base * 2**i, most) for i in range(len(kernels))],
            "conv_op": f"torch.nn.modules.conv.Conv{ndim}d", "kernel_sizes": kernels, "strides": strides,
            blocks: encoder, "n_conv_per_stage_decoder": decoder, "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
