"""How far TF32 and bfloat16 products take networks from float32, emulated on the processor.

Weights and inputs of convolutions and linear layers are rounded to 10 and to 7 bits of mantissa and summed in float32:
the bundled U-Net with its weights, registered networks with He weights, all on noise.

    python tests/benchmarks/tf32.py [--models unet unetpp]

Takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from tiler.models import UNet
from tiler.models.loading.open_model import load_model
from tiler.models.zoo import registry

sys.path.insert(0, str(Path(__file__).parents[1] / "models" / "inference"))
from rounding import MULTIPLYING, multiplying

MODELS = ["unet", "unetpp", "caunet", "esfpnet-t", "fcn-googlenet", "ciresan-n4", "ciresan-n65", "cnn-full-resolution"]
BITS = {"tf32": 10, "bfloat16": 7}


def he(module: nn.Module) -> nn.Module:
    """With weights whose output varies."""
    for layer in module.eval().modules():
        if isinstance(layer, MULTIPLYING):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return module


def tell(name: str, module: nn.Module) -> None:
    """One line of largest errors, as shares of the range of the float32 result."""
    channels = next(layer.in_channels for layer in module.modules() if isinstance(layer, nn.Conv2d))
    size = 252 if type(module) is UNet else 256
    image = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    expected = module(image)
    span = expected.max() - expected.min()
    errors = {kind: float((multiplying(deepcopy(module), bits)(image) - expected).abs().max() / span)
              for kind, bits in BITS.items()}
    print(f"{name:<24}", *(f"{kind} {error:.1e}" for kind, error in errors.items()), flush=True)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=MODELS)
    wanted = parser.parse_args().models
    tell("unet (bundled weights)", load_model("unet", None, False).build())
    for name in wanted:
        torch.manual_seed(0)
        tell(name, he(registry.build(name)))


if __name__ == "__main__":
    main()
