"""Footprints are proved on graphs: right ones pass, all that are a stride off or whose layers see their place fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from networks import Bottleneck, Coordinates, Hourglass, Lambda, SelfAttention, SqueezeExcite
from torch import nn

from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.modules import on_meta
from tiler.models.aten.tiles import check_tiles
from tiler.models.probe import derive

CORNERS = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
TILED = {"hourglass": Hourglass(), "dilated": nn.Conv2d(1, 2, 3, padding=4, dilation=4),
         "bilinear": nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.Upsample(scale_factor=2, mode="bilinear")),
         "residual": Lambda(lambda x: x + nn.functional.avg_pool2d(x, 3, 1, 1))}


def checked(network, change=lambda footprint: footprint):
    network = nn.Sequential(nn.Conv2d(1, 1, 1), network)
    check_tiles(on_meta(network), change(derive(network, 1).footprint), 1, 2)


@pytest.mark.parametrize("name", TILED)
def test_right_footprints_are_proved_and_smaller_ones_are_not(name):
    checked(TILED[name])
    for side in ("low", "high"):
        def less(footprint, side=side):
            near = tuple(max(0, a - s) for a, s in zip(getattr(footprint, side), footprint.stride, strict=True))
            return replace(footprint, **{side: near})
        with pytest.raises(NotStagedError):
            checked(TILED[name], less)


@pytest.mark.parametrize("layer", [SqueezeExcite(), SelfAttention(), Bottleneck(nn.InstanceNorm2d(4)), Coordinates()],
                         ids=["mean", "attention", "norm", "coordinates"])
def test_layers_that_see_more_than_the_tile_or_its_place_are_refused(layer):
    footprint = derive(Hourglass(), 1).footprint
    with pytest.raises(NotStagedError, match=r"\(.*\): "):
        check_tiles(on_meta(Hourglass(layer)), footprint, 1, 2)


def test_aligned_corners_are_refused():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), CORNERS)
    with pytest.raises(NotStagedError, match=r"where it samples|depend on the size"):
        check_tiles(on_meta(network), derive(Hourglass(), 1).footprint, 1, 2)


def test_a_size_in_the_arguments_is_seen():
    class Scaled(nn.Module):
        def forward(self, x):
            return x * x.shape[-1]

    network = nn.Sequential(nn.Conv2d(1, 1, 1), Scaled())
    with pytest.raises(NotStagedError, match="arguments depend on the size"):
        check_tiles(on_meta(network), derive(Hourglass(), 1).footprint, 1, 2)
    assert torch.is_grad_enabled()
