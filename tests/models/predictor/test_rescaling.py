"""A network that sees its input at another voxel size is tiled as exactly as any other."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import tiler
from tiler.errors import ModelError, PlanError
from tiler.geometry import Footprint, Reach
from tiler.models import UNet
from tiler.models.predictor.averaging import Turns
from tiler.models.predictor.rescaling import Axis, Rescaled, factors_of, simple_fraction
from tiler.models.probe import probe

FACTORS = [Fraction(5, 2), Fraction(1, 2), Fraction(7, 5), Fraction(2, 3), Fraction(3)]
NETWORKS = {
    "3x3": torch.nn.Conv2d(1, 2, 3),
    "valid": UNet(1, 2, base=1, depth=2),
    "same": UNet(1, 2, base=1, depth=2, padding="same"),
}


@pytest.fixture(scope="module")
def plain():
    """Footprints of the networks."""
    return {name: probe(network, 1, 2, prove=False).footprint for name, network in NETWORKS.items()}


def forward(name):
    return NETWORKS[name].double().eval()


@pytest.mark.parametrize("factor", FACTORS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_every_tile_gives_what_one_large_tile_gives(plain, name, factor):
    oriented = Rescaled(Turns(plain[name]), (Fraction(1), factor, Fraction(1)))
    reach, across = oriented.footprint.axes[1:]
    large, small = reach.smallest + 4 * reach.stride, reach.smallest
    image = torch.randn(1, 1, large, across.smallest, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = oriented.mean(forward(name), image)
    for start in range(0, large - small + 1, reach.stride):
        part = oriented.mean(forward(name), image[:, :, start:start + small])
        assert part.shape[2] == oriented.footprint.output((1, small, across.smallest))[1]
        core = slice(reach.low - reach.shrink_low, small - reach.high - reach.shrink_low)
        wanted = whole[:, :, start + core.start:start + core.stop]
        torch.testing.assert_close(part[:, :, core], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_a_smaller_context_would_not_do(plain, factor):
    """The context is needed: what it drops at a tile's end differs from the whole."""
    oriented = Rescaled(Turns(plain["same"]), (Fraction(1), factor, Fraction(1)))
    reach = oriented.footprint.axes[1]
    image = torch.randn(1, 1, reach.smallest + reach.stride, 16, dtype=torch.float64)
    with torch.no_grad():
        whole, part = (oriented.mean(forward("same"), each) for each in (image, image[:, :, reach.stride:]))
    assert not torch.allclose(part[:, :, 0], whole[:, :, reach.stride], rtol=0, atol=1e-9)


@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_what_is_constant_stays_and_what_is_linear_stays_linear(factor):
    oriented = Rescaled(Turns(Footprint.of([Reach(0, 0, 0, 0, 1)] * 3)), (Fraction(1), factor, factor))
    size = oriented.footprint.smallest[1] + 6 * oriented.footprint.stride[1]
    ramp = torch.arange(size, dtype=torch.float64).expand(1, 1, size, size)
    seen = []
    back = oriented.mean(lambda x: seen.append(x) or x, ramp)
    assert seen[0].shape[2:] == oriented.network_size((1, size, size))[1:]
    margin = 8 * oriented.footprint.stride[1]
    if size > 2 * margin:
        torch.testing.assert_close(back[..., margin:-margin], ramp[..., margin:-margin])
    torch.testing.assert_close(oriented.mean(lambda x: x, torch.full_like(ramp, 7)), torch.full_like(ramp, 7))


@pytest.mark.parametrize("name", ["valid", "same"])
def test_the_engine_gives_a_region_of_the_whole(name):
    volume = np.random.default_rng(0).integers(0, 255, (2, 40, 37)).astype(np.uint8)
    model = tiler.open_model(NETWORKS[name].float().eval(), head="softmax", rescale=1.5, threads=1)
    whole = tiler.segment(volume, model, axes="zyx")
    assert whole.shape == volume.shape
    part = tiler.segment(volume, model, axes="zyx", roi="1:2,9:33,3:30", tile=model.predictor.footprint.smallest)
    np.testing.assert_allclose(part, whole[1:2, 9:33, 3:30], rtol=0, atol=1e-5)


def test_it_is_in_the_identity_and_in_the_plan():
    volume = np.zeros((40, 40), np.uint8)
    plans = [tiler.plan(volume, NETWORKS["valid"], rescale=factor) for factor in (None, 1.01, 2)]
    assert plans[0].fingerprint == plans[1].fingerprint != plans[2].fingerprint
    assert "1 x 2 x 2 (z, y, x), and back" in str(plans[2])
    assert "rescaled" not in str(plans[0])


@pytest.mark.parametrize(("factor", "found"), [
    (1.0, 1), (1.02, 1), (2.5, Fraction(5, 2)), (10 / 4.1, Fraction(5, 2)), (0.5, Fraction(1, 2)), (8, 8),
    (0.7, Fraction(5, 7))])
def test_factors_become_simple_fractions(factor, found):
    assert simple_fraction(factor) == found
    assert abs(float(found) / factor - 1) <= 0.03


def test_every_factor_in_reach_is_a_fraction_and_its_axis_is_in_phase():
    for factor in np.geomspace(1 / 8, 8, 200):
        axis = Axis(Reach(92, 96, 92, 92, 16), simple_fraction(factor))
        size = axis.size(axis.reach.smallest)
        assert axis.plain.admits(size) or axis.factor == 1


@pytest.mark.parametrize(("found", "wanted", "flat", "factors"), [
    ((50.0, 8.0, 8.0), (None, 4.0, 4.0), True, (1, 2, 2)), ((8.0, 8.0, 8.0), (16.0, 16.0, 4.0), False,
                                                           (Fraction(1, 2), Fraction(1, 2), 2)),
    ((None, 4.0, 4.0), (8.0, 8.0, 8.0), False, (1, Fraction(1, 2), Fraction(1, 2)))])
def test_auto_makes_voxels_as_large_as_in_training(found, wanted, flat, factors):
    assert factors_of("auto", found, wanted, flat) == factors


@pytest.mark.parametrize(("options", "refusal"), [
    ({"rescale": "auto"}, "the weights do not state the voxel size"), ({"rescale": 20}, "by 1/8 to 8, not by 20"),
    ({"rescale": (2, 1, 1)}, "not z by 2"), ({"rescale": 2, "average": "rot7"}, "turned by any angle"),
    ({"rescale": 2, "tiling": "whole"}, "run in exact tiles")])
def test_what_cannot_be_rescaled_is_refused_by_the_plan(options, refusal):
    with pytest.raises(ModelError, match=refusal) as caught:
        tiler.plan(np.zeros((40, 40), np.uint8), NETWORKS["same"], **options)
    assert "rescale=" in str(caught.value)


def test_auto_needs_the_input_s_voxel_size():
    with pytest.raises(ModelError, match="size of the input's voxels is not known"):
        tiler.plan(np.zeros((700, 700), np.uint8), "unet", rescale="auto")
    with pytest.raises(PlanError, match=r"not known yet: give a volume to open_model .source=., or factors"):
        tiler.open_model("unet", rescale="auto")


@pytest.mark.parametrize("value", ["much", 0, -1, (1, 2), "1,2", float("nan")])
def test_what_is_no_factor_is_refused(value):
    with pytest.raises(PlanError, match="rescale"):
        tiler.plan(np.zeros((40, 40), np.uint8), NETWORKS["valid"], rescale=value)
