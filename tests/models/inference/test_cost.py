import math
import pickle
import warnings

import pytest
import torch
from torch import nn

from tiler.errors import MemoryBudgetError
from tiler.models import PredictorOptions, UNet, load_model, open_predictor
from tiler.models.inference.cost import Trace, Tracer, extrapolate, overhead, trace, unfolds


def on_meta(module_of, *args, **kwargs) -> nn.Module:
    with torch.device("meta"):
        return module_of(*args, **kwargs).eval()


def test_operations_of_the_published_network():
    found = trace(on_meta(UNet), (1, 1, 572, 572), torch.float32)
    assert found.flops == pytest.approx(2 * 150.43e9, rel=1e-4)
    assert found.shape == (1, 2, 388, 388)


def test_live_bytes_by_hand():
    """The last join is the worst moment: the whole skip, the upsampled map, and both side by side."""
    values = 64 * (568**2 + 392**2 + 2 * 392**2) + 572**2
    assert trace(on_meta(UNet), (1, 1, 572, 572), torch.float32).live == 4 * values
    assert trace(on_meta(UNet).bfloat16(), (1, 1, 572, 572), torch.bfloat16).live == 2 * values


def test_views_cost_nothing_and_the_dead_are_forgotten():
    class Chain(nn.Module):
        def forward(self, x):
            for _ in range(9):
                x = x.flip(-1).transpose(-2, -1).reshape(x.shape)
            return x

    assert trace(Chain(), (1, 1, 8, 8), torch.float32).live <= 3 * 4 * 64


def test_meta_and_real_agree():
    torch.manual_seed(0)
    module = UNet(base=2, depth=2).eval()
    real = trace(module, (1, 1, 60, 60), torch.float32)
    assert trace(module.to("meta"), (1, 1, 60, 60), torch.float32) == real


def test_script_modules_are_seen(tmp_path):
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(tmp_path / "net.pt")
    scripted = trace(load_model(tmp_path / "net.pt", trust=True).meta(), (1, 1, 34, 34), torch.float32)
    assert scripted.flops == 2 * 32 * 32 * (4 * 9 + 4 * 2)
    assert scripted.flops == trace(module, (1, 1, 34, 34), torch.float32).flops


def test_unfolded_convolutions_count_their_matrix():
    module = on_meta(nn.Conv2d, 3, 5, 3).double()
    plain = trace(module, (1, 3, 34, 34), torch.float64)
    assert trace(module, (1, 3, 34, 34), torch.float64, unfolded=True).live - plain.live == 8 * 27 * 32 * 32
    up = on_meta(nn.ConvTranspose2d, 3, 5, 2, stride=2).double()
    plain = trace(up, (1, 3, 16, 16), torch.float64)
    assert trace(up, (1, 3, 16, 16), torch.float64, unfolded=True).live - plain.live == 8 * 20 * 16 * 16
    assert unfolds(torch.float64)
    assert not unfolds(torch.float32)
    assert not unfolds(torch.bfloat16)


class NeedsValues(nn.Module):
    """Cannot run on the meta device: what it does depends on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x) if x.abs().max().item() >= 0 else x


def test_a_network_that_needs_values_is_measured_and_extrapolated():
    tracer = Tracer(load_model(NeedsValues()), torch.float32, False, tuple((1, 1, s, s) for s in (8, 12, 16)))
    found = tracer.at((1, 1, 102, 102))
    assert not found.exact
    assert found.shape == (1, 2, 100, 100)
    assert found.flops == pytest.approx(2 * 18 * 100 * 100)
    assert found.live == pytest.approx(4 * (102**2 + 2 * 100**2), rel=0.01)


def test_extrapolation_of_the_published_network():
    module = on_meta(UNet)
    small = {(1, 1, s, s): trace(module, (1, 1, s, s), torch.float32) for s in (204, 396, 604)}
    guess, true = extrapolate((1, 1, 1148, 1148), small), trace(module, (1, 1, 1148, 1148), torch.float32)
    assert guess.shape == true.shape
    assert guess.flops == pytest.approx(true.flops, rel=1e-6)
    assert guess.live == pytest.approx(true.live, rel=0.1)  # the worst moment of the smallest is another one


def test_extrapolation_never_falls_below_what_grows_with_the_voxels():
    bent = {(1, 1, s, s): Trace(value, value, (1, 1, s, s)) for s, value in ((4, 10), (8, 90), (12, 100))}
    assert extrapolate((1, 1, 24, 24), bent).live == 400


def test_an_input_whose_bytes_have_no_number_is_refused_in_words():
    tracer = Tracer(load_model("unet"), torch.float32, False, ((1, 1, 204, 204),))
    with pytest.raises(MemoryBudgetError, match=r"an input of 1000000012x1000000012 needs more memory.*tile="):
        tracer.at((1, 1, 10**9 + 12, 10**9 + 12))


def test_tracer_remembers_and_travels_light():
    tracer = Tracer(load_model("unet"), torch.float32, False, ((1, 1, 204, 204),))
    assert tracer.at((1, 1, 572, 572)) is tracer.at((1, 1, 572, 572))
    again = pickle.loads(pickle.dumps(tracer))
    assert len(pickle.dumps(again)) < 3000
    assert again.at((1, 1, 572, 572)) == tracer.at((1, 1, 572, 572))
    assert again.parameters == sum(value.nbytes for value in load_model("unet").build().state_dict().values())


def test_overhead_grows_with_what_is_alive_and_never_shrinks_it():
    for device, dtype in (("cpu", torch.float32), ("cpu", torch.float64), ("cuda", torch.float32)):
        peaks = [overhead(device, dtype).peak(live, 10**7) for live in (10**6, 10**8, 10**9)]
        assert peaks == sorted(peaks)
        assert all(peak >= live + 10**7 for peak, live in zip(peaks, (10**6, 10**8, 10**9), strict=True))


def test_cost_of_a_predictor():
    plain = open_predictor("unet", options=PredictorOptions(device="cpu"))
    tile = (1, 572, 572)
    one, four = plain.cost(tile, 1), plain.cost(tile, 4)
    assert four.flops == 4 * one.flops
    assert one.exact
    # One at a time on the CPU: three more outputs, and no more live tensors.
    assert four.bytes - one.bytes == 3 * 4 * 388**2
    turned = open_predictor("unet", options=PredictorOptions(device="cpu", average="d4"))
    assert turned.cost(tile, 1).flops == 8 * one.flops
    side = 700
    options = PredictorOptions(device="cpu", average="rot7", slice_shape=(side, side))
    rotated = open_predictor("unet", options=options)
    outer = rotated.footprint.smallest
    assert outer[1] > math.hypot(side, side)
    assert rotated.cost(outer, 1).flops > 7 * one.flops
