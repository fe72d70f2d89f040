"""Crops of a network's output: the same as the whole output cropped, for less work."""

import copy
from dataclasses import replace

import networks
import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.geometry import Box, Grid, Span, tiles_of
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.models.aten.modules import on_meta
from tiler.models.aten.random_weights import random_copy
from tiler.models.cropping import Cropper, NotCroppableError, check_crops, program, rules
from tiler.models.cropping.graph import record
from tiler.models.cropping.program import Wiring, total_flops
from tiler.models.inference.backends.exported import Exported
from tiler.models.inference.cost import trace
from tiler.models.probe import derive
from tiler.models.probe.maps import Window
from tiler.models.zoo import registry
from tiler.planning.workload import Choice, Workload
from tiler.sources import open_source

OPTIONS = PredictorOptions(precision="float64", dtype="float64", head="softmax", classes="all", threads=1)


def small(ndim=2, **arguments):
    torch.manual_seed(0)
    return UNet(base=2, depth=2, ndim=ndim, **arguments).eval()


UNDERSTOOD = {
    "same-padded U-Net": lambda: small(padding="same", batch_norm=True),
    "valid U-Net": lambda: small(dropout=0.5),
    "in three axes": lambda: small(ndim=3, padding="same"),
    "nearest neighbours": lambda: networks.Hourglass(up=nn.Upsample(scale_factor=2)),
    "interpolation": lambda: networks.Hourglass(up=nn.Upsample(scale_factor=2, mode="bilinear")),
    "overlapping transposed convolution": lambda: networks.Hourglass(up=nn.ConvTranspose2d(4, 4, 4, 2, padding=1)),
    "dilation and groups": lambda: networks.Hourglass(nn.Conv2d(4, 4, 3, padding=4, dilation=4, groups=2)),
    "padded maximum and average": lambda: networks.Hourglass(
        nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.AvgPool2d(5, 1, padding=2))),
    "strided convolutions": networks.Strided,
    "padding of its own": networks.Causal,
    "padded skips": networks.PaddedSkips,
    "anisotropic": networks.Anisotropic,
    "nested": networks.NestedUNet,
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_any_crop_is_what_the_whole_output_holds(name):
    module = UNDERSTOOD[name]().eval()
    found = derive(module, 1, 3 if name in ("in three axes", "anisotropic") else 2)
    ndim = 3 if name in ("in three axes", "anisotropic") else 2
    check_crops(module, on_meta(module), found.footprint, 1, ndim)


@pytest.mark.parametrize(("name", "arguments"), [
    ("unetpp", {"base": 2, "depth": 3}), ("unetpp-bilinear", {"base": 2, "depth": 3}),
    ("unet3plus", {"base": 2, "depth": 3}), ("ciresan-n65", {"base": 2, "hidden": 3}), ("cnn-full-resolution", {}),
])
def test_networks_of_the_zoo_are_used_without_a_check_of_their_own(name, arguments):
    module = registry.build(name, **arguments).eval()
    check_crops(module, on_meta(module), derive(module, module.arguments["in_channels"]).footprint,
                module.arguments["in_channels"], 2)


@pytest.mark.parametrize(("module", "why"), [
    (networks.GatedSkips(), "has no rule"),
    (networks.Hourglass(nn.BatchNorm2d(4, track_running_stats=False)), "statistics"),
    (networks.Hourglass(up=nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)), "size of its input"),
    (networks.Coordinates(), "computed on the way"),
    (nn.Sequential(networks.conv(1, 2, padding_mode="reflect")), "has no rule"),
    (networks.Lambda(lambda x: x * torch.ones(()) + 1), "does not live"),
])
def test_what_is_not_understood_is_not_cropped(module, why):
    with pytest.raises(NotCroppableError, match=why):
        Wiring(record(on_meta(module), (1, 1, 64, 64)))


def test_writing_into_a_view_is_not_followed():
    def forward(x):
        y = net(x)
        y[:, :, 4:].relu_()
        return y

    net = networks.conv(1, 2)
    module = networks.Lambda(forward)
    module.net = net
    with pytest.raises(NotCroppableError):
        Wiring(record(copy.deepcopy(module).to("meta"), (1, 1, 16, 16)))


def test_an_interior_crop_of_the_u_net_needs_94_voxels_and_lies_at_2_of_16():
    wiring = Wiring(record(on_meta(UNet(base=1, padding="same")), (1, 1, 256, 256)))
    read = wiring.ranges(0, Span(112, 128))[0]
    assert read == Span(112 - 94, 128 + 94)
    assert read.start % 16 == 2


def test_its_work_is_that_of_the_valid_network():
    same = Wiring(record(on_meta(UNet(base=2, padding="same")), (1, 1, 256, 256)))
    inside = total_flops(same, [{Span(112, 128): 1}] * 2)
    # The valid network of depth 4 gives 20 voxels for 204, two of which on either side of each axis are not wanted.
    assert inside < trace(on_meta(UNet(base=2)), (1, 1, 204, 204), torch.float32).flops
    whole = total_flops(same, [{Span(0, 256): 1}] * 2)
    assert whole == trace(on_meta(UNet(base=2, padding="same")), (1, 1, 256, 256), torch.float32).flops
    resized = Wiring(record(on_meta(UNet(base=2, padding="same")), (1, 1, 64, 64))).resized((256, 256))
    assert total_flops(resized, [{Span(0, 40): 2, Span(112, 128): 1}] * 2) == pytest.approx(
        total_flops(same, [{Span(0, 40): 2, Span(112, 128): 1}] * 2))


def test_no_zero_padding_where_no_face_is_in_reach():
    wiring = Wiring(record(on_meta(UNet(base=1, depth=2, padding="same")), (1, 1, 96, 96)))
    inside, at_face = (program.Program(wiring, Box.between((first, 40), (first + 16, 56))) for first in (40, 0))
    assert not any(any(pad) for step in inside.steps for pad in step.pads)
    assert any(step.pads[0] == (1, 0) for step in at_face.steps)


def test_a_wrong_rule_is_found(monkeypatch):
    module = small(padding="same")
    right = rules.RULES["convolution"]

    def shifted(node, size):
        return tuple(replace(step, before=step.before + 1) if isinstance(step, Window) else step
                     for step in right.maps(node, size))

    monkeypatch.setitem(rules.RULES, "convolution", replace(right, maps=shifted))
    with pytest.raises(NotCroppableError, match="differ from the whole"):
        check_crops(module, on_meta(module), derive(module, 1, 2).footprint, 1, 2)


def test_programs_are_kept_within_bounds_and_give_the_same_again(monkeypatch):
    monkeypatch.setattr("tiler.models.cropping.KEPT", 2)
    module = random_copy(networks.Strided(), 0)
    cropper = Cropper(module, on_meta(module))
    image = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    crops = [Box.between((start, 3), (start + 5, 20)) for start in range(4)]
    with torch.no_grad():
        first = [cropper(image, crop) for crop in crops]
        assert len(cropper._programs) == 2
        assert all(torch.equal(cropper(image, crop), kept) for crop, kept in zip(crops, first, strict=True))


@pytest.mark.parametrize("average", ["none", "d4"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_law_holds_between_crops_and_the_whole(padding, average):
    module = random_copy(small(padding=padding), 0)
    predictor = open_predictor(module, options=replace(OPTIONS, average=average))
    assert predictor.capabilities.crops is not None
    image = np.random.default_rng(0).standard_normal((90, 101))
    whole = tiler.segment(image, predictor, tile=predictor.footprint.covering((1, 90, 101)), block=(1, 90, 101))
    tiled = tiler.segment(image, predictor, tile=predictor.footprint.covering((1, 24, 32)), block=(1, 40, 37))
    assert whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)


def test_openvino_makes_crops_too(monkeypatch):
    pytest.importorskip("openvino")
    module = random_copy(small(padding="same"), 0).float()
    own, torchs = (open_predictor(module, options=replace(OPTIONS, precision="float32", dtype="float32", backend=name))
                   for name in ("openvino", "torch"))
    assert own.cost((1, 64, 64), 1).bytes > torchs.cost((1, 64, 64), 1).bytes
    batch = np.random.default_rng(0).standard_normal((1, 1, 1, 80, 72)).astype(np.float32)
    opened = []
    monkeypatch.setattr(Exported, "_open_crop", lambda *args, made=Exported._open_crop: opened.append(1) or made(*args))
    for start in (24, 28, 0):
        crop = Box.between((0, start, 20), (1, start + 16, 45))
        made, wanted = (each.capabilities.crops.cropped(batch, crop) for each in (own, torchs))
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-5)
    assert len(opened) == 2, "crops that differ in their place alone share a program, those at a face have another"


def test_the_shortest_crop_in_phase_does_what_a_long_one_does():
    wiring = Wiring(record(on_meta(UNet(base=1, depth=2, padding="same")), (1, 1, 96, 128)))
    for crop in (Box.between((30, 33), (61, 90)), Box.between((0, 40), (50, 128)), Box.of_shape((96, 128))):
        whole, short = program.Program(wiring, crop), program.shortened(wiring, crop)
        assert short.signature == whole.signature
        assert all(a < b for a, b in zip(short.input.shape, whole.input.shape, strict=True))


def test_the_plan_counts_the_work_of_crops():
    predictor = open_predictor(small(padding="same").float(), options=replace(
        OPTIONS, precision="float32", dtype="float32"))
    source = open_source(np.zeros((90, 101), np.float32))
    region = Box.of_shape((1, 90, 101))
    canvas = Box.of_shape((1, 92, 104))
    load, choice = Workload(source, predictor, region, canvas), Choice((1, 64, 72), (1, 40, 37))
    tiles = [tile for block in Grid(region, choice.block) for tile in
             tiles_of(block, choice.tile, predictor.footprint, canvas)]
    crops = predictor.capabilities.crops
    one_by_one = sum(crops.crop_flops(choice.tile, [{span: 1} for span in tile.crop.spans]) for tile in tiles)
    assert load.flops(choice) == pytest.approx(one_by_one)
    assert load.flops(choice) < 0.8 * len(tiles) * predictor.cost(choice.tile, 1).flops


def test_networks_that_cannot_be_cropped_run_as_they_are():
    plain = open_predictor(nn.Sequential(networks.conv(1, 2, padding_mode="reflect")).double(), options=OPTIONS)
    assert plain.capabilities.crops is None
    assert "crops" not in plain.identity
