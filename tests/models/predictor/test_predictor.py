import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tiler.errors import MemoryBudgetError, ModelError, OutputShapeError, TilerError
from tiler.geometry import Footprint
from tiler.models import Normalisation, PredictorOptions, UNet, WeightsCard, open_predictor, save_weights
from tiler.models.inference.devices import device_errors, float32_products, resolve_device, threads_of
from tiler.ports import Predictor

CPU = PredictorOptions(device="cpu", threads=1)
TILE = (1, 60, 68)
BOUND = 1e-5  # the law's, in float32
SCALING = Normalisation(255.0, (0.4,), (0.2,))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Predictor of a narrow network with three classes."""
    torch.manual_seed(7)
    module = UNet(base=4, depth=2, classes=3)
    path = tmp_path_factory.mktemp("weights") / "narrow.safetensors"
    card = WeightsCard("unet", module.arguments, ("out", "rim", "in"), SCALING, "none", "none")
    save_weights(path, module.state_dict(), card)
    return path


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).integers(0, 256, (3, 1, 2, *TILE[1:]), np.uint8)


@pytest.fixture(scope="module")
def expected(weights, batch):
    """Probabilities of every slice, by torch alone."""
    predictor = open_predictor("unet", weights=weights, options=CPU)
    x = (torch.from_numpy(batch).float() / 255 - 0.4) / 0.2
    with torch.inference_mode():
        planes = [predictor.model.build()(x[:, :, z]).softmax(1) for z in range(2)]
    return torch.stack(planes, 2).numpy()


def narrow(weights, **options):
    return open_predictor("unet", weights=weights, options=replace(CPU, **options))


def test_it_is_a_predictor(weights):
    predictor = narrow(weights)
    assert isinstance(predictor, Predictor)
    assert predictor.footprint == Footprint((0, 20, 20), (0, 20, 20), (0, 20, 20), (0, 20, 20), (1, 4, 4))
    assert predictor.border == "mirror"
    assert predictor.classes == ("out", "rim", "in")
    assert predictor.dtype == np.float32
    assert json.loads(json.dumps(predictor.identity))["arguments"]["depth"] == 2


def test_probabilities_are_those_of_the_bare_network(weights, batch, expected):
    result = narrow(weights)(batch)
    assert result.shape == (3, 3, 2, 20, 28)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.abs(result - expected).max() < BOUND


def test_a_result_does_not_depend_on_its_batch(weights, batch):
    predictor = narrow(weights)
    together = predictor(batch)
    for n, z in np.ndindex(3, 2):
        alone = predictor(batch[n : n + 1, :, z : z + 1])
        assert np.array_equal(alone[0, :, 0], together[n, :, z])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "int64", "float32", "float64"])
def test_any_source_type_is_normalised_alike(weights, batch, expected, dtype):
    given = batch.astype(dtype)
    before = given.copy()
    given.flags.writeable = False
    assert np.abs(narrow(weights)(given) - expected).max() < BOUND
    assert np.array_equal(given, before)
    given.flags.writeable = True
    narrow(weights)(given)
    assert np.array_equal(given, before)


def test_a_network_that_keeps_its_input_leaves_the_source_alone():
    predictor = open_predictor(nn.Conv2d(1, 1, 1), options=replace(CPU, average="flip4"))
    batch = np.random.default_rng(0).random((1, 1, 1, 8, 8)).astype("f4")
    before = batch.copy()
    predictor(batch)
    assert np.array_equal(batch, before)


def test_normalisation_rules(weights, batch, expected):
    constants = narrow(weights, normalise="102,51")(batch)  # 0.4 and 0.2 in grey values
    assert np.abs(constants - expected).max() < BOUND
    waiting = narrow(weights, normalise="volume")
    assert waiting.capabilities.needs_statistics
    assert waiting.identity["normalise"] == "volume"
    with pytest.raises(ModelError, match="with_statistics"):
        waiting(batch)
    ready = waiting.with_statistics((102.0,), (51.0,))
    assert not ready.capabilities.needs_statistics
    assert np.array_equal(ready(batch), constants)
    assert ready.identity["normalise"] == {"scale": 1.0, "mean": [102.0], "std": [51.0]}
    assert waiting.with_statistics((7.0,), (0.0,)).scaling.values.std == (1.0,)
    foreign = open_predictor(nn.Conv2d(2, 1, 1), options=replace(CPU, normalise="volume"))
    assert foreign.with_statistics((1.0, 2.0), (3.0, 4.0)).scaling.values.mean == (1.0, 2.0)
    assert open_predictor(nn.Conv2d(2, 1, 1), options=CPU).identity["normalise"] == "none"
    with pytest.raises(ModelError, match="per channel"):
        foreign.with_statistics((1.0, 2.0, 3.0), (1.0, 1.0, 1.0))


def test_classes_and_types_of_output(weights, batch, expected):
    assert np.array_equal(narrow(weights, classes="rim")(batch), narrow(weights)(batch)[:, 1:2])
    assert narrow(weights, classes=[2, "out"]).classes == ("in", "out")
    eight = narrow(weights, dtype="uint8")(batch)
    assert eight.dtype == np.uint8
    assert np.abs(eight - np.rint(255 * expected)).max() <= 1
    half = narrow(weights, dtype="float16")
    assert half.dtype == half(batch).dtype == np.float16
    labels = narrow(weights, kind="labels")
    assert labels.dtype == labels(batch).dtype == np.uint8
    assert labels.classes == ("labels",)
    assert np.array_equal(labels(batch)[:, 0], expected.argmax(1))


def test_heads(weights, batch, expected):
    scores = narrow(weights, head="none")(batch)
    assert np.abs(np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - expected).max() < BOUND
    assert np.abs(narrow(weights, head="sigmoid")(batch) - 1 / (1 + np.exp(-scores))).max() < BOUND


def test_two_classes_give_the_second_one():
    assert open_predictor("unet", options=CPU).classes == ("cell",)
    assert open_predictor("unet", options=replace(CPU, classes="all")).classes == ("membrane", "cell")


def test_averaging_in_the_predictor(weights, batch):
    square = batch[:1, :, :1, :, :60]
    averaged = narrow(weights, average="d4", precision="float64")
    turned = averaged(np.ascontiguousarray(np.rot90(square, axes=(-2, -1))))
    result = averaged(square)
    assert result.shape[2:] == averaged.footprint.output((1, 60, 60))
    assert np.allclose(np.rot90(result, axes=(-2, -1)), turned, atol=1e-6)
    assert not np.allclose(np.rot90(narrow(weights)(square), axes=(-2, -1)), turned, atol=1e-3)


def test_seven_rotations_take_the_whole_slice(weights, batch):
    predictor = narrow(weights, average="rot7", slice_shape=(20, 28))
    tile = predictor.footprint.smallest
    assert predictor(np.zeros((1, 1, *tile), np.uint8)).shape == (1, 3, 1, 20, 28)
    with pytest.raises(OutputShapeError, match="seven rotations"):
        predictor(batch)
    with pytest.raises(ModelError, match="slice_shape"):
        PredictorOptions(average="rot7")


def opened_runner(predictor):
    with predictor.network.session() as session:
        return session.feeder.runner


@pytest.mark.parametrize(("precision", "bound"), [("bfloat16", 2e-2), ("float16", 5e-3), ("float64", 1e-5)])
def test_precisions(weights, batch, expected, precision, bound):
    predictor = narrow(weights, precision=precision)
    assert np.abs(predictor(batch) - expected).max() < bound
    assert next(opened_runner(predictor).module.parameters()).dtype == getattr(torch, precision)
    assert predictor.identity != narrow(weights).identity


def test_double_precision_all_the_way(weights, batch):
    predictor = narrow(weights, precision="float64", dtype="float64")
    x = (torch.from_numpy(batch[:1, :, 0]).double() / 255 - 0.4) / 0.2
    with torch.inference_mode():
        exact = predictor.model.build().double()(x).softmax(1).numpy()
    assert np.abs(predictor(batch[:1])[:, :, 0] - exact).max() < 1e-14


def test_volumetric_networks(batch):
    torch.manual_seed(2)
    predictor = open_predictor(UNet(base=2, depth=1, ndim=3, padding="same"), options=replace(CPU, head="softmax"))
    assert predictor.border == "zero"
    assert predictor(batch).shape == (3, 1, 2, 60, 68)
    assert np.array_equal(predictor(batch)[1:2], predictor(batch[1:2]))


def test_pickled_predictors_open_their_network_where_they_are_used(weights, batch):
    predictor = narrow(weights)
    expected = predictor(batch)
    sent = pickle.dumps(predictor)
    assert len(sent) < 4000
    code = (
        "import sys, pickle, numpy as np;"
        "predictor, batch = pickle.load(sys.stdin.buffer); pickle.dump(predictor(batch), sys.stdout.buffer)"
    )
    run = subprocess.run([sys.executable, "-c", code], input=pickle.dumps((predictor, batch)), capture_output=True,
                         check=True)
    assert np.array_equal(pickle.loads(run.stdout), expected)
    assert opened_runner(pickle.loads(sent)) is opened_runner(predictor)


def test_threads_share_one_network(weights, batch):
    predictor = narrow(weights)
    expected = narrow(weights)(batch)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(predictor, [batch] * 6))
    assert all(np.array_equal(result, expected) for result in results)


def test_identity_changes_with_everything_that_changes_the_result(weights):
    changes = [{"head": "sigmoid"}, {"classes": "rim"}, {"kind": "labels"}, {"dtype": "uint8"}, {"average": "d4"},
               {"precision": "bfloat16"}, {"normalise": "1,2"}, {"threads": 2}]
    seen = {json.dumps(narrow(weights, **change).identity, sort_keys=True) for change in ({}, *changes)}
    assert len(seen) == len(changes) + 1
    assert narrow(weights).identity == narrow(weights).identity


def test_what_is_left_open_is_resolved_once(weights):
    predictor = open_predictor("unet", weights=weights, options=PredictorOptions())
    assert predictor.head.name == "softmax"
    assert predictor.network.setting.threads == torch.get_num_threads()


class Padded(nn.Module):
    """Says nothing of the three voxels that it adds at large sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x if x.shape[-1] < 50 else torch.cat([x, x[..., -3:]], -1))


def test_another_output_shape_is_refused():
    footprint = Footprint((0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1), (1, 1, 1))
    predictor = open_predictor(nn.Conv2d(1, 2, 3), options=replace(CPU, footprint=footprint))
    lying = replace(predictor, network=open_lying())
    assert lying(np.zeros((1, 1, 1, 20, 20), "u1")).shape == (1, 2, 1, 18, 18)
    with pytest.raises(OutputShapeError, match=r"\(2, 58, 61\).*\(2, 58, 58\)"):
        lying(np.zeros((1, 1, 1, 60, 60), "u1"))


def open_lying():
    from tiler.models import load_model
    from tiler.models.inference.backends import Setting
    from tiler.models.inference.network import Network

    return Network(Setting(load_model(Padded()), torch.device("cpu"), torch.float32, 1))


def test_a_declared_footprint_is_proved():
    right = Footprint((0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1), (1, 1, 1))
    assert open_predictor(nn.Conv2d(1, 1, 3), options=replace(CPU, footprint=right)).footprint == right
    module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1))
    wrong = Footprint((0, 1, 1), (0, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ModelError, match=r"declared .* not proved"):
        open_predictor(module, options=replace(CPU, footprint=wrong))


def test_networks_without_a_bound_are_refused():
    with pytest.raises(ModelError, match="no bounded context"):
        open_predictor(nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2)), options=CPU)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"device": "cuda:77"}, "device="),
        ({"device": "toaster"}, "device="),
        ({"precision": "float8"}, "precision="),
        ({"head": "argmax"}, "head="),
        ({"kind": "heat"}, "kind="),
        ({"dtype": "int64"}, "dtype="),
        ({"average": "d8"}, "average="),
        ({"normalise": "3"}, "normalise="),
        ({"normalise": "3,0"}, "normalise="),
        ({"normalise": "nan,1"}, "normalise="),
        ({"classes": "nucleus"}, "classes="),
        ({"threads": 0}, "thread"),
    ],
)
def test_options_that_make_no_sense_are_one_line(weights, options, hint):
    with pytest.raises(TilerError, match=hint) as caught:
        narrow(weights, **options)
    assert "\n" not in str(caught.value)


def test_probabilities_that_may_be_none_are_refused():
    module = nn.Conv2d(1, 1, 3)
    for options in ({"dtype": "uint8"}, {"kind": "labels"}, {"head": "softmax"}):
        with pytest.raises(ModelError, match="head="):
            open_predictor(module, options=replace(CPU, **options))
    assert open_predictor(module, options=replace(CPU, kind="labels", head="sigmoid")).dtype == np.uint8


def test_batches_of_another_form_are_refused(weights):
    for shape in ((1, 3, *TILE), (1, *TILE)):
        with pytest.raises(ModelError, match="channel="):
            narrow(weights)(np.zeros(shape, "u1"))


def test_ieee_float32_holds_while_any_thread_is_inside_and_is_undone():
    flags = torch.backends.cudnn
    before = flags.allow_tf32, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with float32_products():
            with float32_products():
                pass
            assert not flags.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
        assert flags.allow_tf32 == before[0]
    finally:
        torch.set_float32_matmul_precision(before[1])


def test_threads_are_set_and_restored():
    before = torch.get_num_threads()
    with threads_of(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_what_a_device_cannot_do_is_one_line():
    cpu = torch.device("cpu")
    with pytest.raises(MemoryBudgetError, match="batch="), device_errors(cpu, torch.float32):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(ModelError, match="float16 on cpu"), device_errors(cpu, torch.float16):
        raise RuntimeError('"slow_conv2d_cpu" not implemented for \'Half\'')
    with pytest.raises(RuntimeError, match="something else"), device_errors(cpu, torch.float32):
        raise RuntimeError("something else")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(weights, batch, expected):
    predictor = narrow(weights, device="cuda")
    assert np.abs(predictor(batch) - expected).max() < 1e-5
    assert np.array_equal(predictor(batch), predictor(batch))
