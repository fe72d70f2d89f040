"""Networks that cannot be tiled are refused by the name of the layer, blended by consent, or run whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from networks import Bottleneck, Classifier, Hourglass, SelfAttention
from torch import nn
from torch.nn import functional as F
from zoo_cases import saved, varied

import tiler
from tiler.errors import ModelError, OutputShapeError, PlanError, UnboundedContextError
from tiler.models import PredictorOptions, open_predictor
from tiler.models.aten.random_weights import random_copy
from tiler.models.zoo import registry

CPU = {"device": "cpu", "threads": 1, "executor": "serial"}
EXACT64 = {**CPU, "precision": "float64", "dtype": "float64", "head": "none", "classes": "all"}
FRAME = np.random.default_rng(0).integers(0, 255, (3, 90, 110), dtype=np.uint8)
GREY = FRAME[0].astype("f4")


@pytest.fixture(scope="module")
def esfpnet(tmp_path_factory):
    module = varied("esfpnet-t", base=4)
    return module, {"weights": saved(tmp_path_factory.mktemp("weights"), "esfpnet-t", module), "axes": "cyx"}


def whole(module, frame, size=(96, 128)):
    canvas = np.pad(frame, [(0, 0), *((0, full - own) for full, own in zip(size, frame.shape[1:], strict=True))],
                    mode="reflect")
    with torch.no_grad():
        return module.double()(torch.from_numpy(canvas)[None].double())[0, :, :90, :110].numpy()


def test_attention_is_refused_in_tiles_by_name_with_what_could_be_done(esfpnet):
    _, options = esfpnet
    with pytest.raises(UnboundedContextError, match=r"blocks\.0\.attention .*tiling=.blend. .*tiling=.whole."):
        tiler.segment(FRAME, "esfpnet-t", execution="tiles", **options, **CPU)


def test_attention_runs_in_stages_as_in_one_pass_unasked(esfpnet):
    module, options = esfpnet
    found = np.asarray(tiler.segment(FRAME, "esfpnet-t", **options, **EXACT64))
    expected = whole(module, FRAME)
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-10 * np.ptp(expected)
    assert tiler.plan(FRAME, "esfpnet-t", **options, **CPU).staged


def test_frames_in_one_piece_are_the_plain_call_of_each(esfpnet):
    module, options = esfpnet
    video = np.stack([FRAME, FRAME[::-1]])
    found = np.asarray(tiler.segment(video, "esfpnet-t", tiling="whole", **options | {"axes": "zcyx"}, **EXACT64))
    expected = np.stack([whole(module, frame) for frame in video])
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-10 * np.ptp(expected)


def test_blended_it_says_by_how_much(esfpnet, tmp_path, capsys):
    _, options = esfpnet
    np.save(tmp_path / "frame.npy", FRAME)
    tiler.segment(tmp_path / "frame.npy", "esfpnet-t", tmp_path / "out.npy", tiling="blend", tile=64, **options, **CPU)
    report = tiler.check(tmp_path / "out.npy")
    assert report.sound
    exact = np.asarray(tiler.segment(FRAME, "esfpnet-t", tiling="whole", **options, **CPU))
    error = np.abs(np.load(tmp_path / "out.npy") - exact).max()
    with capsys.disabled():
        print(f"\nESFPNet-T, random weights, windows of 64: {report.seams}; whole frame: {error:.2g}")
    assert 0 < report.seams.worst < 1
    assert 0 < error < 1


def test_frames_are_resized_and_their_masks_back(esfpnet):
    module, options = esfpnet
    found = np.asarray(tiler.segment(FRAME, "esfpnet-t", tiling="whole", resize="64x96", **options, **EXACT64))
    x = torch.from_numpy(FRAME)[None].double()
    with torch.no_grad():
        small = module.double()(F.interpolate(x, (64, 96), mode="bilinear", antialias=True))
        expected = F.interpolate(small, (90, 110), mode="bilinear")[0].numpy()
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-10 * np.ptp(expected)
    assert tiler.plan(FRAME, "esfpnet-t", tiling="whole", resize=64, **options, **CPU).tile == (1, 90, 110)
    with pytest.raises(ModelError, match=r"does not take inputs of 50: .* 32 and 64 \(resize=\)"):
        tiler.plan(FRAME, "esfpnet-t", tiling="whole", resize=50, **options, **CPU)


@pytest.mark.parametrize("name", [
    name for name in registry.names()
    # The ESFPNets are above: the larger ones have the same operators, many times over.
    if registry.describe(name).exactness == "STAGES" and not name.startswith("esfpnet")])
def test_every_registered_network_of_that_class_runs_both_ways(name, tmp_path):
    module = varied(name, base=4, in_channels=3)
    options = {"weights": saved(tmp_path, name, module), "axes": "cyx", **CPU}
    assert np.isfinite(tiler.segment(FRAME, name, tiling="blend", tile=64, **options)).all()
    assert np.isfinite(tiler.segment(FRAME, name, tiling="whole", **options)).all()


def test_a_classifier_with_attention_exports_its_map(tmp_path):
    module = varied("gain-resnet50", base=2)
    options = {"weights": saved(tmp_path, "gain-resnet50", module), "axes": "cyx", **CPU}
    found = np.asarray(tiler.segment(FRAME, "gain-resnet50", precision="float64", dtype="float64", **options))
    with torch.no_grad():
        explained = module.double().explain(torch.from_numpy(FRAME)[None].double())
        attention = F.interpolate(explained.attention, (90, 110), mode="bilinear")[0, 0].numpy()
        probabilities = explained.scores.softmax(1)[0].numpy()
    assert found.shape == (3, 90, 110)
    for channel, probability in zip(found, probabilities, strict=False):
        np.testing.assert_allclose(channel, probability, atol=1e-12)
    np.testing.assert_allclose(found[2], attention, atol=1e-12)
    alone = tiler.segment(FRAME, "gain-resnet50", classes="attention", resize=64, **options)
    assert alone.shape == (90, 110)
    plan = tiler.plan(FRAME, "gain-resnet50", **options)
    assert (plan.tiling, plan.tile, plan.estimate.tiles) == ("whole", (1, 90, 110), 1)


def test_a_classifier_says_the_same_everywhere():
    module = random_copy(Classifier(), 0).float()
    stack = np.stack([GREY, GREY[::-1] * 2])
    found = np.asarray(tiler.segment(stack, module, head="softmax", classes="all", **CPU))
    with torch.no_grad():
        expected = module(torch.from_numpy(stack)[:, None]).softmax(1).T.numpy()
    np.testing.assert_allclose(found, np.broadcast_to(expected[..., None, None], found.shape), atol=1e-5)


def test_a_coarse_map_is_brought_to_the_grid_of_the_image():
    module = random_copy(nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1)), 0).float()
    with pytest.raises(OutputShapeError, match=r"one voxel for every 2 x 2.*tiling[= ].?whole"):
        tiler.segment(GREY, module, **EXACT64)
    found = tiler.segment(GREY, module, tiling="whole", **EXACT64)
    assert found.shape == (2, 90, 110)


INSTANCE = random_copy(Hourglass(Bottleneck(nn.InstanceNorm2d(4))), 0).float()


def test_instance_norm_is_refused_in_tiles_by_name_and_run_by_consent():
    with pytest.raises(UnboundedContextError, match=r"bottleneck\.norm \(InstanceNorm2d\).*tiling=.blend."):
        tiler.segment(GREY, INSTANCE, execution="tiles", **CPU)
    exact = np.asarray(tiler.segment(GREY, INSTANCE, tiling="whole", **EXACT64))
    with torch.no_grad():
        expected = INSTANCE.double()(torch.from_numpy(GREY)[None, None].double())[0].numpy()
    INSTANCE.float()
    np.testing.assert_allclose(exact, expected, atol=1e-10)
    np.testing.assert_allclose(tiler.segment(GREY, INSTANCE, **EXACT64), expected, atol=1e-10)
    blended = np.asarray(tiler.segment(GREY, INSTANCE, tiling="blend", tile=40, **EXACT64))
    assert 0 < np.abs(blended - exact).max() < np.ptp(exact)


def test_blending_is_deterministic_whatever_the_block():
    options = {"tiling": "blend", "tile": 40, **CPU}
    one = tiler.segment(GREY, INSTANCE, **options)
    np.testing.assert_array_equal(one, tiler.segment(GREY, INSTANCE, block=33, batch=4, **options))
    labels = tiler.segment(GREY, INSTANCE, kind="labels", **options)
    np.testing.assert_array_equal(labels, np.argmax(one, 0))


class Opaque(nn.Module):
    """Ranks everything in a way that nobody follows."""

    def forward(self, x):
        return x - x.flatten(1).kthvalue(3, 1).values[:, None, None, None]


def test_an_opaque_module_is_named_in_tiles_and_exact_in_stages():
    module = random_copy(Hourglass(Opaque()), 0).float()
    with pytest.raises(ModelError, match=r"bottleneck \(Opaque\).*declare its footprint, or tiling=.blend."):
        tiler.segment(GREY, module, execution="tiles", **CPU)
    one, staged = (tiler.segment(GREY, module, tiling=tiling, **EXACT64) for tiling in ("whole", None))
    np.testing.assert_allclose(staged, one, atol=1e-10)


class ThroughNumpy(nn.Module):
    """Leaves torch and returns a value that depends on the whole input."""

    def forward(self, x):
        values = x.numpy()
        return torch.from_numpy(values - values.mean())


def test_what_is_computed_outside_of_torch_is_refused_until_somebody_consents():
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), ThroughNumpy(), nn.Conv2d(4, 2, 3, padding=1))
    with pytest.raises(ModelError, match=r"the output: does not come from the input by operators of torch.*whole"):
        tiler.segment(GREY, module, **CPU)
    assert tiler.segment(GREY, module, tiling="whole", **EXACT64).shape == (2, 90, 110)


def test_what_makes_no_sense_is_refused():
    exact, attention = Hourglass(), Hourglass(SelfAttention())
    for model, options, said in [
        (exact, {"tiling": "blend"}, "it need not be blended"),
        (exact, {"resize": 64}, "say tiling=.whole"),
        (attention, {"tiling": "blend", "resize": 64}, "say tiling=.whole"),
        (Classifier(), {"tiling": "blend"}, "of which nothing can be blended"),
        (Classifier(), {"tiling": "exact"}, "cannot be tiled"),
        (Classifier(), {"execution": "stages"}, "no map"),
        (nn.Conv2d(1, 1, 3), {"tiling": "whole"}, "drops"),
        (attention, {"tiling": "whole", "average": "rot7"}, "average=.d4"),
        (nn.Conv3d(1, 1, 3, padding=1), {"tiling": "whole", "resize": 64}, "takes volumes"),
    ]:
        with pytest.raises(ModelError, match=said):
            tiler.segment(GREY, model, **options, **CPU)
    for options in ({"tiling": "cut"}, {"tiling": "whole", "resize": "4x4x4"}):
        with pytest.raises(PlanError, match=r"tiling|resize"):
            tiler.segment(GREY, exact, **options, **CPU)


def test_an_exact_network_may_take_its_input_in_one_piece():
    module = random_copy(Hourglass(), 0).float()
    tiled, one = (np.asarray(tiler.segment(GREY, module, tiling=tiling, **EXACT64)) for tiling in (None, "whole"))
    assert np.abs(tiled - one).max() <= 1e-10 * np.ptp(one)


def test_a_pickled_predictor_gives_the_same():
    options = PredictorOptions(device="cpu", threads=1, tiling="whole", resize=(64, 64), head="none")
    predictor = open_predictor(Hourglass(SelfAttention()), options=options)
    assert predictor.capabilities.tiling == "whole"
    assert predictor.identity["resize"] == [64, 64]
    batch = FRAME[None, :1, None]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(batch), predictor(batch))


class ToTheSize(nn.Module):
    """Takes every size, since its coarse features are brought back to the size of its fine ones."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fine, self.coarse = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, stride=4)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        fine = self.fine(x).relu()
        return self.last(torch.cat([fine, nn.functional.interpolate(self.coarse(fine), fine.shape[2:])], 1))


@pytest.mark.parametrize("size", [(61, 53), (64, 57), (60, 52)])
def test_a_whole_input_is_the_plain_call_at_any_size_that_the_network_takes(size):
    image = np.random.default_rng(1).integers(0, 255, size).astype("uint8")
    found = tiler.segment(image, ToTheSize(), tiling="whole", **{**EXACT64, "head": "none", "classes": "all"})
    with torch.no_grad():
        expected = ToTheSize().double().eval()(torch.from_numpy(image).double()[None, None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.ptp(expected))
