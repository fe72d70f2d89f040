"""A network run in stages gives what one pass over the whole input gives, whatever the blocks."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.modules import on_meta
from tiler.models.aten.rule import RULES
from tiler.models.aten.selfcheck import check_stages
from tiler.models.aten.sizes import canvases_of
from tiler.models.aten.staged import StagedPlan
from tiler.models.aten.staged_network import staged
from tiler.models.aten.statistics import Moments, reduction
from tiler.models.aten.stored import blocks_of


class Squeeze(nn.Module):
    """Channel attention by a global mean and maximum."""

    def __init__(self, channels):
        super().__init__()
        self.less, self.more = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        seen = x.mean((2, 3), keepdim=True) + x.amax((2, 3), keepdim=True)
        return x * torch.sigmoid(self.more(F.relu(self.less(seen))))


class Norms(nn.Module):
    """A small U-Net with instance and group norm, pooled context at aligned corners, and writes in place."""

    def __init__(self, ndim=2):
        super().__init__()
        conv, up = (nn.Conv2d, nn.ConvTranspose2d) if ndim == 2 else (nn.Conv3d, nn.ConvTranspose3d)
        self.ndim = ndim
        self.first = conv(1, 4, 3, padding=1)
        self.one = (nn.InstanceNorm2d, nn.InstanceNorm3d)[ndim - 2](4, affine=True)
        self.down, self.two = conv(4, 8, 3, stride=2, padding=1), nn.GroupNorm(2, 8)
        self.up, self.last = up(8, 4, 2, 2), conv(8, 2, 1)
        self.squeeze = Squeeze(8) if ndim == 2 else nn.Identity()

    def forward(self, x):
        fine = torch.relu_(self.one(self.first(x)))
        coarse = self.squeeze(torch.relu(self.two(self.down(fine))))
        pool, mode = ((F.adaptive_avg_pool2d, "bilinear"), (F.adaptive_avg_pool3d, "trilinear"))[self.ndim - 2]
        context = F.interpolate(pool(coarse, (2,) * self.ndim), size=coarse.shape[2:], mode=mode, align_corners=True)
        coarse = coarse.clone()
        coarse += context
        high = self.up(coarse)[(..., *(slice(size) for size in x.shape[2:]))]
        return self.last(torch.cat([fine, high], 1))


class Attention(nn.Module):
    """Tokens that all meet each other, with keys and values of the whole image."""

    def __init__(self):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(1, 8, 3, 2, 1), nn.LayerNorm(8)
        self.attention, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        grid = self.patch(x)
        tokens = self.norm(grid.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        grid = tokens.transpose(1, 2).reshape(grid.shape)
        return self.last(F.interpolate(grid, size=x.shape[2:], mode="bilinear"))


class Deep(nn.Module):
    """Ten convolutions and no norm: nothing has to be stored, but much is."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1 if not n else 3, 3, 3, padding=1) for n in range(10)])

    def forward(self, x):
        for layer in self.layers:
            x = F.leaky_relu(layer(x))
        return x


class Sorted(nn.Module):
    """With an operator that no rule describes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        values, _ = self.first(x).flatten(2).sort(2)
        return values.reshape(1, 3, *x.shape[2:]) + F.conv2d(x, x[:, :, :3, :3])[..., :1, :1]


class Item(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return x * float(x.max())


class Piecewise(Item):
    """Writes into a part of a tensor, and reads all of it."""

    def forward(self, x):
        y = self.first(x)
        y[:, :, 1:] += 1
        mask = torch.zeros(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        mask[:, :, 2:5, 3:] = 2.0
        return self.first(y.relu_()[:, :1]) * mask


class Crossed(Item):
    """Writes into a part of a tensor, and reads a part that overlaps it."""

    def forward(self, x):
        y = self.first(x)
        rows, columns = y[:, :, 1:], y[:, :, :, 1:]
        rows += 1
        return columns.relu()


class Drawn(Item):
    def forward(self, x):
        return self.first(x) + torch.rand_like(x)


CASES = [(Norms(), (33, 29)), (Norms(3), (9, 14, 11)), (Attention(), (18, 23)), (Deep(), (40, 31)), (Sorted(), (12, 9)),
         (Piecewise(), (12, 9))]


def ready(module):
    torch.manual_seed(0)
    for tensor in module.parameters():
        nn.init.normal_(tensor, 0.1, 0.5)
    return module.double().eval().requires_grad_(False)


@pytest.mark.parametrize("voxels", [19, 100, 1 << 18])
@pytest.mark.parametrize(("module", "size"), CASES,
                         ids=["norms", "volume", "attention", "deep", "sorted", "piecewise"])
def test_stages_give_the_whole_pass(module, size, voxels):
    module = ready(module)
    x = torch.randn(1, 1, *size, dtype=torch.float64)
    network = staged(on_meta(module), module, tuple(x.shape), voxels)
    expected = module(x)
    scale = expected.max() - expected.min()
    assert (network(x) - expected).abs().max() <= 1e-12 * scale
    box = tuple((length // 3, length // 3 + max(1, length // 2)) for length in expected.shape[2:])
    part = network(x, ((0, 1), (0, expected.shape[1]), *box))
    assert (part - expected[(..., *(slice(*span) for span in box))]).abs().max() <= 1e-12 * scale


def test_statistics_are_counted():
    plan = StagedPlan.of(on_meta(ready(Norms())), (1, 1, 33, 29))
    assert plan.statistics == 4  # two norms, a mean and a maximum
    assert StagedPlan.of(on_meta(ready(Deep())), (1, 1, 40, 31)).statistics == 0


def test_no_stage_has_more_than_two_convolutions_in_a_row():
    plan = StagedPlan.of(on_meta(ready(Deep())), (1, 1, 40, 31), 50)
    for target in plan.storage.stored:
        made = plan.program(target, tuple((0, size) for size in plan.graph.nodes[target].shape))
        assert sum(step.node.op == "convolution" for step in made.steps) <= 2


def test_a_box_of_a_local_network_reads_what_it_needs():
    plan = StagedPlan.of(on_meta(ready(Deep())), (1, 1, 40, 31))
    extents = plan.extents(((0, 1), (0, 3), (20, 21), (15, 16)))
    assert max(high - low for extent in extents.values() for low, high in extent[2:]) <= 19


def test_memory_is_that_of_what_is_alive():
    plan = StagedPlan.of(on_meta(ready(Deep())), (1, 1, 400, 310), 1 << 12)
    box = tuple((0, size) for size in plan.shape)
    tensor = 3 * 400 * 310 * 8
    assert 2 * tensor < plan.peak(box) < 3.5 * tensor


def test_blocks_are_as_equal_as_can_be():
    assert [box[2:] for box in blocks_of(((0, 1), (0, 8), (0, 100), (0, 60)), frozenset({2, 3}), 2000)] == [
        ((0, 50), (0, 30)), ((0, 50), (30, 60)), ((50, 100), (0, 30)), ((50, 100), (30, 60))]


@pytest.mark.parametrize(("module", "says"), [
    (Item(), "does not run without data"), (Crossed(), "part of a tensor is written"),
    (Drawn(), "draws random numbers")])
def test_what_cannot_be_staged_is_refused(module, says):
    with pytest.raises(NotStagedError, match=says):
        StagedPlan.of(on_meta(ready(module)), (1, 1, 20, 20))


def test_an_operator_without_a_rule_is_not_run_on_large_tensors():
    with pytest.raises(NotStagedError, match="sort"):
        StagedPlan.of(on_meta(ready(Sorted())), (1, 1, 8000, 8000))


class Pooled(nn.Module):
    """Pools and resizes back to whatever size there was, or only to multiples of 4 rows and 2 columns."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.first = exact, nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        low = F.max_pool2d(self.first(x), (4, 2))
        return F.interpolate(low, **({"scale_factor": (4, 2)} if self.exact else {"size": x.shape[2:]}))


@pytest.mark.parametrize(("exact", "periods"), [(False, (1, 1)), (True, (4, 2))])
def test_the_sizes_that_a_network_takes_are_found(exact, periods):
    found = check_stages(ready(Pooled(exact)), 1, 2)
    assert found.periods == periods
    assert found.error <= 1e-10


def test_stages_that_differ_are_refused(monkeypatch):
    monkeypatch.setitem(RULES, "max_pool2d_with_indices", lambda node: RULES["slice"](
        dataclasses.replace(node, op="slice", args={"self": node.args["self"], "dim": 2, "start": 0, "step": 1})))
    with pytest.raises(NotStagedError):
        check_stages(ready(Pooled(False)), 1, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_of_half_precision_are_gathered_in_single_precision(dtype):
    """Squares of deviations above 256 are infinite in float16, and so is a sum of 2^16 ones."""
    block = (torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 1000).to(dtype)
    _, half = Moments(None, 1e-5).found(Moments(None, 1e-5).of(block), dtype)
    _, full = Moments(None, 1e-5).found(Moments(None, 1e-5).of(block.float()), dtype)
    torch.testing.assert_close(half, full)
    assert reduction("sum", (1, 1, 512, 512), (2, 3), (1, 1)).of(torch.ones(1, 1, 512, 512, dtype=dtype)) == 2**18


@pytest.mark.parametrize("period", [1, 2, 4, 8, 16, 32])
def test_canvases_of_checks_are_odd_multiples_and_few_cells(period):
    """A network of five poolings that normalises its last map is checked on less than a hundred thousand cells."""
    canvases = canvases_of((period,) * 3)
    assert all(side // period % 2 for canvas in canvases for side in canvas)
    cells = [math.prod(canvas) for canvas in canvases]
    assert cells == sorted(cells)
    if period == 32:
        assert next(each for each in canvases if math.prod(each) > period**3) == (32, 32, 96)
