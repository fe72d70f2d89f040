"""Networks that people use, built by their own packages with random weights and few channels where they can be chosen.

A package that is not installed raises `ImportError` when one of its networks is built.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from dataclasses import dataclass

import torch
from torch import nn


class Only(nn.Module):
    """One of several results of a network."""

    def __init__(self, network, key):
        super().__init__()
        self.network, self.key = network, key

    def forward(self, x):
        return self.network(x)[self.key]


@dataclass(frozen=True)
class Published:
    """How to build a network, and an input for it: channels and size."""

    build: object
    channels: int
    size: tuple[int, ...]


def _alone(name):
    """A module of a package whose parents import too much: they are left out."""
    parts = name.split(".")
    folder = importlib.util.find_spec(parts[0]).submodule_search_locations
    for count in range(1, len(parts)):
        parent = ".".join(parts[:count])
        if parent not in sys.modules:
            module = types.ModuleType(parent)
            module.__path__ = list(folder) if count == 1 else [f"{folder[0]}/{'/'.join(parts[1:count])}"]
            module.__spec__ = importlib.machinery.ModuleSpec(parent, None, is_package=True)
            module.__spec__.submodule_search_locations = module.__path__
            sys.modules[parent] = module
    return importlib.import_module(name)


def _torchvision():
    """Wheels of torchvision for CUDA do not load their operators beside torch for the CPU; none is needed here."""
    real = torch.library.register_fake

    def lenient(name, *args, **kwargs):
        return (lambda function: function) if str(name).startswith("torchvision::") else real(name, *args, **kwargs)
    torch.library.register_fake = lenient
    try:
        importlib.import_module("torchvision")
    finally:
        torch.library.register_fake = real


def smp(architecture, encoder, size=(96, 160), **options):
    def build():
        _torchvision()
        package = importlib.import_module("segmentation_models_pytorch")
        return getattr(package, architecture)(encoder, encoder_weights=None, classes=2, **options)
    return Published(build, 3, size)


def smp3d(encoder):
    def build():
        _torchvision()
        package = importlib.import_module("segmentation_models_pytorch_3d")
        return package.Unet(encoder, encoder_weights=None, classes=2)
    return Published(build, 3, (32, 64, 32))


def monai(name, size, inputs=1, **options):
    return Published(lambda: getattr(importlib.import_module("monai.networks.nets"), name)(**options), inputs, size)


def nnunet(name, ndim, stages, size, norm="Instance", deep=False):
    def build():
        unet = importlib.import_module("dynamic_network_architectures.architectures.unet")
        conv, norms = (nn.Conv2d, nn.Conv3d)[ndim - 2], {
            "Instance": (nn.InstanceNorm2d, nn.InstanceNorm3d), "Batch": (nn.BatchNorm2d, nn.BatchNorm3d)}[norm]
        blocks = "n_blocks_per_stage" if "Residual" in name else "n_conv_per_stage"
        network = getattr(unet, name)(
            input_channels=1, n_stages=stages, features_per_stage=[4 * 2 ** min(n, 3) for n in range(stages)],
            conv_op=conv, kernel_sizes=3, strides=[1] + [2] * (stages - 1), **{blocks: [2] * stages}, num_classes=2,
            n_conv_per_stage_decoder=[1 if "Residual" in name else 2] * (stages - 1), conv_bias=True,
            norm_op=norms[ndim - 2], norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True}, deep_supervision=deep)
        return Only(network, 0) if deep else network
    return Published(build, 1, size)


def plantseg(name, order, size, **options):
    def build():
        package = importlib.import_module("pytorch3dunet.unet3d.model")
        return getattr(package, name)(1, 2, layer_order=order, f_maps=8, num_levels=3, num_groups=4, **options)
    return Published(build, 1, size)


def torch_em(name, size, **options):
    return Published(lambda: getattr(_alone("torch_em.model.unet"), name)(1, 2, initial_features=4, **options), 1, size)


def cellpose(style=True):
    def build():
        package = importlib.import_module("cellpose.resnet_torch")
        network = package.CPnet([2, 8, 16, 32], 3, 3)
        if not style:
            network.style_on = False
        return Only(network, 0)
    return Published(build, 2, (40, 56))


def empanada(encoder):
    def build():
        _torchvision()
        package = importlib.import_module("empanada.models")
        return Only(package.PanopticDeepLab(encoder=encoder, num_classes=1), "sem_logits")
    return Published(build, 1, (96, 160))


def careamics(ndim, size):
    def build():
        _torchvision()
        _alone("careamics.config.support")
        return _alone("careamics.models.unet.unet").UNet(ndim, num_channels_init=8)
    return Published(build, 1, size)


def fepegar(name, size, **options):
    return Published(lambda: getattr(importlib.import_module("unet"), name)(
        in_channels=1, out_classes=2, num_encoding_blocks=3, out_channels_first_layer=4, **options), 1, size)


def instanseg():
    return Published(lambda: _alone("instanseg.utils.models.InstanSeg_UNet").InstanSeg_UNet(
        3, 2, layers=[32, 16, 8, 4]), 3, (40, 56))


def torchvision(name):
    def build():
        _torchvision()
        package = importlib.import_module("torchvision.models.segmentation")
        return Only(getattr(package, name)(weights=None, weights_backbone=None, num_classes=3), "out")
    return Published(build, 3, (65, 81))


class _Bilinear(nn.Module):
    """The blocks of the U-Net that many copy: convolutions with batch norm, bilinear upsampling, padded skips."""

    def __init__(self):
        super().__init__()
        widths = (4, 8, 16, 16)
        self.down = nn.ModuleList([self._block(a, b) for a, b in zip((3, *widths), widths, strict=False)])
        self.up = nn.ModuleList([self._block(a, b) for a, b in ((32, 8), (16, 4), (8, 4))])
        self.last = nn.Conv2d(4, 2, 1)

    def _block(self, into, out):
        layers = [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True))

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            dy, dx = (skip.shape[axis] - x.shape[axis] for axis in (2, 3))
            x = block(torch.cat([skip, nn.functional.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])], 1))
        return self.last(x)


_SMALL = {"channels": (4, 8, 16), "strides": (2, 2), "in_channels": 1, "out_channels": 2}
_DYN = {"in_channels": 1, "out_channels": 2, "kernel_size": [3] * 4, "strides": [1, 2, 2, 2],
        "upsample_kernel_size": [2, 2, 2], "filters": [4, 8, 8, 16]}
_BASIC = {"in_channels": 1, "out_channels": 2, "features": (4, 4, 8, 8, 16, 4)}
_SEG = {"in_channels": 1, "out_channels": 2, "init_filters": 8}

NETWORKS = {
    "careamics.UNet 2d": careamics(2, (40, 56)),
    "careamics.UNet 3d": careamics(3, (16, 24, 24)),
    "cellpose3.CPnet": cellpose(),
    "cellpose3.CPnet style off": cellpose(style=False),
    "empanada.PanopticDeepLab resnet50": empanada("resnet50"),
    "empanada.PanopticDeepLab regnety_6p4gf": empanada("regnety_6p4gf"),
    "fepegar.UNet2D": fepegar("UNet2D", (20, 28), normalization="batch", padding=True),
    "fepegar.UNet3D valid": fepegar("UNet3D", (44, 44, 44), padding=0),
    "instanseg.InstanSeg_UNet": instanseg(),
    "unet with bilinear upsampling": Published(_Bilinear, 3, (41, 55)),
    "monai.AttentionUnet 2d": monai("AttentionUnet", (36, 44), spatial_dims=2, **_SMALL),
    "monai.BasicUNet 2d": monai("BasicUNet", (48, 80), spatial_dims=2, **_BASIC),
    "monai.BasicUNet 2d batch": monai("BasicUNet", (48, 80), spatial_dims=2, norm="batch", **_BASIC),
    "monai.BasicUNet 3d batch": monai("BasicUNet", (32, 32, 48), spatial_dims=3, norm="batch", **_BASIC),
    "monai.DynUNet 2d": monai("DynUNet", (40, 56), spatial_dims=2, **_DYN),
    "monai.DynUNet 2d batch": monai("DynUNet", (40, 56), spatial_dims=2, norm_name="batch", **_DYN),
    "monai.DynUNet 3d": monai("DynUNet", (16, 24, 40), spatial_dims=3, **_DYN),
    "monai.FlexibleUNet resnet18": monai("FlexibleUNet", (96, 160), 3, in_channels=3, out_channels=2,
                                         backbone="resnet18"),
    "monai.HighResNet 2d": monai("HighResNet", (41, 55), spatial_dims=2, in_channels=1, out_channels=2),
    "monai.SegResNet 2d": monai("SegResNet", (40, 56), spatial_dims=2, norm="batch", **_SEG),
    "monai.SegResNet 3d": monai("SegResNet", (16, 24, 24), spatial_dims=3, norm="batch", **_SEG),
    "monai.SegResNetDS 3d": monai("SegResNetDS", (16, 24, 24), spatial_dims=3, **_SEG),
    "monai.SwinUNETR 3d": monai("SwinUNETR", (32, 64, 32), spatial_dims=3, in_channels=1, out_channels=2,
                                feature_size=12),
    "monai.UNETR 3d": monai("UNETR", (32, 32, 32), in_channels=1, out_channels=2, img_size=(32, 32, 32),
                            feature_size=4, hidden_size=24, mlp_dim=32, num_heads=3),
    "monai.UNet 2d": monai("UNet", (36, 44), spatial_dims=2, **_SMALL),
    "monai.UNet 2d batch": monai("UNet", (36, 44), spatial_dims=2, norm="batch", **_SMALL),
    "monai.UNet 2d batch residual": monai("UNet", (36, 44), spatial_dims=2, norm="batch", num_res_units=2, **_SMALL),
    "monai.UNet 3d batch residual": monai("UNet", (16, 20, 24), spatial_dims=3, norm="batch", num_res_units=2,
                                          **_SMALL),
    "monai.VNet 3d": monai("VNet", (32, 32, 48), spatial_dims=3, in_channels=1, out_channels=2),
    "nnunet.PlainConvUNet 2d": nnunet("PlainConvUNet", 2, 6, (96, 160)),
    "nnunet.PlainConvUNet 2d batch": nnunet("PlainConvUNet", 2, 4, (40, 56), "Batch"),
    "nnunet.PlainConvUNet 2d deep supervision": nnunet("PlainConvUNet", 2, 4, (40, 56), deep=True),
    "nnunet.PlainConvUNet 3d": nnunet("PlainConvUNet", 3, 4, (16, 24, 40)),
    "nnunet.ResidualEncoderUNet 3d": nnunet("ResidualEncoderUNet", 3, 4, (16, 24, 40)),
    "nnunet.ResidualEncoderUNet 3d batch": nnunet("ResidualEncoderUNet", 3, 3, (16, 24, 20), "Batch"),
    "pytorch3dunet.ResidualUNet2D": plantseg("ResidualUNet2D", "cbr", (41, 55)),
    "pytorch3dunet.ResidualUNetSE3D": plantseg("ResidualUNetSE3D", "cbr", (17, 22, 26)),
    "pytorch3dunet.UNet2D bcr": plantseg("UNet2D", "bcr", (41, 55)),
    "pytorch3dunet.UNet2D gcr": plantseg("UNet2D", "gcr", (41, 55)),
    "pytorch3dunet.UNet3D bcr": plantseg("UNet3D", "bcr", (17, 22, 26)),
    "pytorch3dunet.UNet3D gcr": plantseg("UNet3D", "gcr", (17, 22, 26)),
    "smp.DPT vit": smp("DPT", "tu-vit_tiny_patch16_224", (224, 224)),
    "smp.DeepLabV3 resnet34": smp("DeepLabV3", "resnet34"),
    "smp.DeepLabV3Plus mobilenet_v2": smp("DeepLabV3Plus", "mobilenet_v2"),
    "smp.DeepLabV3Plus resnet34": smp("DeepLabV3Plus", "resnet34"),
    "smp.FPN efficientnet-b0": smp("FPN", "efficientnet-b0"),
    "smp.FPN resnet34": smp("FPN", "resnet34"),
    "smp.Linknet resnet34": smp("Linknet", "resnet34"),
    "smp.MAnet resnet34": smp("MAnet", "resnet34"),
    "smp.PSPNet resnet34": smp("PSPNet", "resnet34"),
    "smp.Segformer mit_b0": smp("Segformer", "mit_b0"),
    "smp.UPerNet resnet34": smp("UPerNet", "resnet34"),
    "smp.Unet densenet121": smp("Unet", "densenet121"),
    "smp.Unet efficientnet-b0": smp("Unet", "efficientnet-b0"),
    "smp.Unet mit_b0": smp("Unet", "mit_b0"),
    "smp.Unet mobilenet_v2": smp("Unet", "mobilenet_v2"),
    "smp.Unet resnet34": smp("Unet", "resnet34"),
    "smp.Unet resnet34 bilinear": smp("Unet", "resnet34", decoder_interpolation="bilinear"),
    "smp.Unet resnext50": smp("Unet", "resnext50_32x4d"),
    "smp.Unet se_resnext50": smp("Unet", "se_resnext50_32x4d"),
    "smp.Unet tu-convnext_tiny": smp("Unet", "tu-convnext_tiny"),
    "smp.Unet tu-regnetx_008": smp("Unet", "tu-regnetx_008"),
    "smp.Unet tu-resnet34": smp("Unet", "tu-resnet34"),
    "smp.Unet vgg16_bn": smp("Unet", "vgg16_bn"),
    "smp.UnetPlusPlus resnet34": smp("UnetPlusPlus", "resnet34"),
    "smp3d.Unet resnet18": smp3d("resnet18"),
    "torch_em.AnisotropicUNet batch": torch_em("AnisotropicUNet", (12, 24, 32), norm="BatchNorm",
                                               scale_factors=[[1, 2, 2], [2, 2, 2]]),
    "torch_em.UNet2d": torch_em("UNet2d", (40, 56), depth=3),
    "torch_em.UNet2d batch": torch_em("UNet2d", (40, 56), depth=3, norm="BatchNorm"),
    "torch_em.UNet2d group": torch_em("UNet2d", (40, 56), depth=3, norm="GroupNorm"),
    "torch_em.UNet2d tracked": torch_em("UNet2d", (40, 56), depth=3, norm="InstanceNormTrackStats"),
    "torch_em.UNet2d none": torch_em("UNet2d", (40, 56), depth=3, norm=None),
    "torch_em.UNet3d": torch_em("UNet3d", (16, 24, 24), depth=2),
    "torchvision.deeplabv3_resnet50": torchvision("deeplabv3_resnet50"),
    "torchvision.fcn_resnet50": torchvision("fcn_resnet50"),
}
"""By name."""
