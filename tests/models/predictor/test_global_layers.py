"""Networks with global means and maxima: several passes over tiles give what one pass over the whole input gives."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from networks import GatedSkips, Hourglass, SqueezeExcite, conv
from torch import nn
from torch.nn import functional as F
from zoo_cases import TOLERANCE, saved, varied

import tiler
from tiler.errors import ModelError
from tiler.geometry import Box
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.models.aten.modules import quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.predictor.averaging import TURNS
from tiler.models.predictor.passes import TorchPasses
from tiler.models.probe import derive, probe
from tiler.models.probe.inject import Injected, answers_of
from tiler.testing.global_predictors import PassesConformance
from tiler.testing.predictors import PredictorConformance

EXACT64 = {"device": "cpu", "precision": "float64", "dtype": "float64", "threads": 1, "head": "none",
           "classes": "all", "executor": "serial"}
ZOO = {"caunet": {"base": 2, "depth": 1, "rates": (1,), "in_channels": 1},
       "unet3plus-cgm": {"base": 2, "depth": 1, "in_channels": 1}}
SIZE = (35, 47)
"""No whole number of strides."""


class ValidGates(UNet):
    """A valid U-Net with channel attention on its skip, and a mean of all its input at the bottom."""

    def __init__(self) -> None:
        super().__init__(base=4, depth=1)
        self.gate, self.image = SqueezeExcite(4), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.gate(self.enc[0](x))
        deep = self.enc[1](F.max_pool2d(skip, 2))
        up = self.up[0](deep + self.image(deep))
        return self.head(self.dec[0](torch.cat([skip[..., 4:-4, 4:-4], up], 1)))


@contextmanager
def only_cells(low: tuple[int, int], stop: tuple[int, int], size: tuple[int, int]):
    """Let global pooling see no more than the cells of a part of the image: an oracle that knows no operators."""
    means, maxima = F.adaptive_avg_pool2d, torch.Tensor.amax

    def cells(x):
        step = [image // own for image, own in zip(size, x.shape[2:], strict=True)]
        rows, columns = (slice(a // s, b // s) for a, b, s in zip(low, stop, step, strict=True))
        return x[..., rows, columns]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "adaptive_avg_pool2d", lambda x, n: means(cells(x), n))
        patch.setattr(F, "adaptive_max_pool2d", lambda x, n, _=False, plain=F.adaptive_max_pool2d: plain(cells(x), n))
        patch.setattr(torch.Tensor, "amax", lambda x, d, keepdim: maxima(cells(x) if d == (2, 3) else x, d, keepdim))
        yield


def whole(module: nn.Module, image: np.ndarray, border: str) -> np.ndarray:
    """``(k, y, x)`` float64 of a same-padded network, by numpy and torch alone."""
    module = module.double()
    (_, y, x) = derive(module, 1).footprint.axes
    low = [reach.low if border == "mirror" else 0 for reach in (y, x)]
    cores = [a + -(-size // reach.stride) * reach.stride
             for a, size, reach in zip(low, image.shape, (y, x), strict=True)]
    after = [stop - a - size + (reach.high if border == "mirror" else 0)
             for stop, a, size, reach in zip(cores, low, image.shape, (y, x), strict=True)]
    canvas = np.pad(image, list(zip(low, after, strict=True)), mode="reflect").astype(np.float64)
    inside = (0, slice(None), *(slice(a, a + size) for a, size in zip(low, image.shape, strict=True)))
    with torch.no_grad(), only_cells(tuple(low), tuple(cores), canvas.shape):
        return module(torch.from_numpy(canvas)[None, None])[inside].numpy()


def image(size=SIZE, seed=3):
    return np.random.default_rng(seed).normal(size=size).astype("f4")


def apart(found, expected):
    return np.abs(np.asarray(found).reshape(expected.shape) - expected).max() / np.ptp(expected)


@pytest.fixture(params=ZOO)
def registered(request, tmp_path):
    """Name, network and weights of every registered network of that class."""
    module = varied(request.param, **ZOO[request.param])
    return request.param, module, saved(tmp_path, request.param, module)


def test_the_table_is_complete():
    from tiler.models.zoo import registry

    assert set(ZOO) == {name for name in registry.names() if registry.describe(name).exactness == "EXACT_2PASS"}


@pytest.mark.parametrize("border", ["zero", "mirror"])
def test_registered_networks_at_three_tile_sizes(registered, border):
    name, module, weights = registered
    footprint, expected = derive(module, 1).footprint, whole(module, image(), border)
    assert expected.std() > 0.01
    for core in (6, 10, 24):
        tile = footprint.covering((1, core, core + 2))
        found = tiler.segment(image(), name, weights=weights, tile=tile, border=border, **EXACT64)
        assert apart(found, expected) <= TOLERANCE, tile


def test_the_zero_border_is_the_plain_call(registered):
    name, module, weights = registered
    canvas = np.pad(image(), [(0, -size % 2) for size in SIZE], mode="reflect").astype(np.float64)
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(canvas)[None, None])[0, :, :SIZE[0], :SIZE[1]].numpy()
    assert apart(tiler.segment(image(), name, weights=weights, **EXACT64), expected) <= TOLERANCE


def test_a_region_reduces_its_whole_slice_and_no_other(registered):
    name, module, weights = registered
    stack = np.stack([image(seed=seed) for seed in (1, 2, 3)])
    found = tiler.segment(stack, name, weights=weights, roi="1:2,10:30,20:41", tile=40, **EXACT64)
    expected = whole(module, stack[1], "zero")
    assert apart(np.asarray(found)[..., 0, :, :], expected[:, 10:30, 20:41]) <= TOLERANCE


def test_what_one_tile_says_is_not_what_the_slice_says(registered, monkeypatch):
    """The control: with the cells of one tile alone the result is another."""
    name, module, weights = registered
    size = (72, 72)
    where = {}
    plain = TorchPasses.reduce

    def first_tile_only(self, orientation, *given):
        return where.setdefault(orientation, plain(self, orientation, *given))

    ramp = image(size) + np.linspace(0, 3, 72, dtype="f4")
    expected = whole(module, ramp, "zero")
    options = {"weights": weights, "tile": 48, **EXACT64}
    assert apart(tiler.segment(ramp, name, **options), expected) <= TOLERANCE
    monkeypatch.setattr(TorchPasses, "reduce", first_tile_only)
    if name == "unet3plus-cgm":
        monkeypatch.setattr("tiler.models.predictor.passes.answers_of", misled)
    assert apart(tiler.segment(ramp, name, **options), expected) > 1e-4


def misled(sites, total):
    """A hard decision need not change with the numbers behind it: this turns it round."""
    return {site: values.flip(0) for site, values in answers_of(sites, total).items()}


def turned(module, canvas, turns):
    with torch.no_grad():
        return sum(turn.undo(module(turn.apply(canvas))) for turn in turns)[0] / len(turns)


@pytest.mark.parametrize("average", ["flip4", "d4"])
def test_every_orientation_has_its_own_statistics(registered, average):
    name, module, weights = registered
    canvas = np.pad(image(), [(0, -size % 2) for size in SIZE], mode="reflect").astype(np.float64)
    expected = turned(module.double(), torch.from_numpy(canvas)[None, None], TURNS[average])
    expected = expected[:, :SIZE[0], :SIZE[1]].numpy()
    for tile in (44, 56):
        found = tiler.segment(image(), name, weights=weights, average=average, tile=tile, **EXACT64)
        assert apart(found, expected) <= TOLERANCE


class Odd(nn.Module):
    """A network with legal sizes 1 + 2 k, so that a flipped tile has another phase, and a gate on its deeper level."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep, self.head = conv(1, 4), conv(4, 4), conv(4, 2)
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.deep(x[..., ::2, ::2]))
        return self.head(x + self.up(y * torch.sigmoid(y.mean((2, 3), keepdim=True))))


def test_flipped_tiles_of_odd_sizes():
    module = random_copy(Odd(), 0).float()
    assert derive(module, 1).footprint.smallest[1] % 2 == 1
    canvas = torch.from_numpy(np.pad(image(), [(0, 0), (0, 0)]).astype(np.float64))[None, None]
    expected = turned(module.double(), canvas, TURNS["d4"]).numpy()
    for tile in (19, 31):
        found = tiler.segment(image(), module.float(), average="d4", tile=tile, **EXACT64)
        assert apart(found, expected) <= TOLERANCE


def test_valid_networks_reduce_the_cells_of_the_volume():
    """The cells that a pass whose output begins at voxel 0 has at the strides of the volume."""
    module = random_copy(ValidGates(), 1).float()
    report = probe(module, 1)
    assert report.exactness == "EXACT_2PASS"
    assert report.proved, str(report)
    results = [np.asarray(tiler.segment(image(), module, tile=tile, **EXACT64)) for tile in (24, 40, 76)]
    for other in results[1:]:
        assert apart(other, results[0]) <= TOLERANCE


def test_layers_behind_each_other_take_a_pass_each():
    module = random_copy(Hourglass(nn.Sequential(SqueezeExcite(), SqueezeExcite())), 0).float()
    report, expected = probe(module, 1), whole(module, image(), "zero")
    assert [len(each.sites) for each in report.passes] == [2, 2]
    module = module.float()
    assert tiler.plan(image(), module).estimate.passes == 3
    for tile in (20, 34):
        assert apart(tiler.segment(image(), module.float(), tile=tile, **EXACT64), expected) <= TOLERANCE


POOLED = {
    "sum": lambda x: x.sum((2, 3), keepdim=True) / 3000,
    "min": lambda x: x.amin((2, 3), keepdim=True),
    "max with its place": lambda x: x.flatten(2).max(2)[0][..., None, None],
    "mean of the flattened": lambda x: x.flatten(2).mean(2)[..., None, None],
    "channels too": lambda x: x.mean((1, 2, 3), keepdim=True),
    "a scalar": lambda x: x.mean(),
    "average pooling of everything": lambda x: F.avg_pool2d(x, x.shape[2:]),
    "largest pooling of everything": lambda x: F.max_pool2d(x, x.shape[2:]),
}


class Shifted(nn.Module):
    """Adds what a function makes of the whole."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x + self.function(x))


@pytest.mark.parametrize("name", POOLED)
def test_every_spelling(name):
    module = random_copy(Hourglass(Shifted(POOLED[name])), list(POOLED).index(name)).float()
    assert derive(module, 1).exactness == "EXACT_2PASS"
    canvas = torch.from_numpy(np.pad(image(), [(0, 1), (0, 1)], mode="reflect").astype(np.float64))[None, None]
    with torch.no_grad():
        expected = module.double()(canvas)[0, :, :SIZE[0], :SIZE[1]].numpy()
    assert apart(tiler.segment(image(), module.float(), tile=26, **EXACT64), expected) <= TOLERANCE


def test_a_line_is_no_number():
    report = probe(Hourglass(Shifted(lambda x: x.mean(2, keepdim=True))), 1)
    assert report.exactness == "BLEND"
    assert any("reduces some axes of the image and keeps others" in str(offence) for offence in report.offending)


def test_torchscript(tmp_path):
    module = random_copy(GatedSkips(), 0).float()
    expected = whole(module, image(), "zero")
    with quiet():
        torch.jit.save(torch.jit.script(module.float()), tmp_path / "gated.pt")
        for tile in (22, 34):
            found = tiler.segment(image(), tmp_path / "gated.pt", trust=True, tile=tile, **EXACT64)
            assert apart(found, expected) <= TOLERANCE


class Gated3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        return self.head(x * torch.sigmoid(x.mean((2, 3, 4), keepdim=True) + x.amax((2, 3, 4), keepdim=True)))


def test_a_volume_is_one_input():
    module = random_copy(Gated3d(), 0).float()
    stack = np.stack([image((19, 23), seed) for seed in range(9)])
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(stack)[None, None].double())[0].numpy()
    module = module.float()
    for tile in ("6x8x8", "9x7x11"):
        assert apart(tiler.segment(stack, module, tile=tile, **EXACT64), expected) <= TOLERANCE
    found = tiler.segment(stack, module, tile="6x8x8", roi="2:5,3:9,4:20", **EXACT64)
    assert apart(found, expected[:, 2:5, 3:9, 4:20]) <= TOLERANCE


def test_float32_keeps_the_law():
    module = random_copy(GatedSkips(), 0).float()
    options = {"threads": 1, "device": "cpu", "head": "softmax", "classes": "all"}
    small, large = (np.asarray(tiler.segment(image(), module, tile=tile, **options)) for tile in (22, 60))
    assert apart(small, large) <= 1e-5
    np.testing.assert_array_equal(small, tiler.segment(image(), module, tile=22, batch=7, **options))


def test_check_covers_both_passes(tmp_path, monkeypatch):
    module = random_copy(GatedSkips(), 0).float()
    np.save(tmp_path / "in.npy", np.stack([image(), image(seed=4)]))
    tiler.segment(tmp_path / "in.npy", module, tmp_path / "out.npy", tile=22, threads=1, device="cpu")
    report = tiler.check(tmp_path / "out.npy", model=module)
    assert report.sound
    assert report.passes == 2
    assert report.passes_worst < 1e-5
    plain = TorchPasses.reduce
    monkeypatch.setattr(TorchPasses, "reduce", lambda *given: plain(*given) + plain(*given))
    report = tiler.check(tmp_path / "out.npy", model=module)
    assert not report.sound  # the control: sums that are twice what was journalled
    assert report.passes_worst == pytest.approx(0.5, abs=1e-5)


def test_what_cannot_be_told_is_refused():
    options = PredictorOptions(device="cpu", threads=1)
    gated = GatedSkips()
    for backend in ("openvino", "onnxruntime", "compile"):
        with pytest.raises(ModelError, match=r"3 global layers.*--backend torch"):
            open_predictor(gated, options=PredictorOptions(device="cpu", threads=1, backend=backend))
    with pytest.raises(ModelError, match="--average d4"):
        open_predictor(gated, options=PredictorOptions(average="rot7", slice_shape=(9, 9)))
    predictor = open_predictor(gated, options=options)
    with pytest.raises(ModelError, match="global layers"):
        predictor(np.zeros((1, 1, *predictor.footprint.smallest), "f4"))


def test_a_layer_that_never_asks_is_noticed():
    with Injected({("mean", 3): torch.zeros(1)}) as mode:
        torch.ones(3).mean()
    with pytest.raises(ModelError, match="1 of the network's 1 global layers did not run"):
        mode.check()


def test_costs_end_where_the_pass_does():
    predictor = open_predictor(AsksFirst(), options=PredictorOptions(device="cpu", threads=1))
    tile = predictor.footprint.covering((1, 32, 32))
    assert 0 < predictor.capabilities.passes.reduction_cost(0, tile).flops < predictor.cost(tile, 1).flops / 2


class AsksFirst(nn.Module):
    """Asks first, works afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = conv(1, 4), nn.Sequential(*(conv(4, 4) for _ in range(4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.rest(x + x.mean((2, 3), keepdim=True))


def gated_predictor():
    torch.manual_seed(0)
    return open_predictor(random_copy(GatedSkips(), 0).float(), options=PredictorOptions(device="cpu", threads=1))


class TestGatedTorchPredictor(PassesConformance):
    def predictor(self):
        return gated_predictor()


class TestToldTorchPredictor(PredictorConformance):
    def predictor(self):
        net = gated_predictor()
        tile = np.random.default_rng(1).integers(0, 255, (1, *net.footprint.smallest), dtype=np.uint8)
        passes = net.capabilities.passes
        return passes.with_totals(((passes.reduce(0, tile, Box.of_shape(tile.shape[1:]), ()),),))
