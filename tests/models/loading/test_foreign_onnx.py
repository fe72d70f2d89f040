"""ONNX files read operator by operator, against ONNX Runtime and against the network they were made of."""

import io
import warnings

import numpy as np
import pytest
import torch
from networks import Hourglass, ToTheSkip
from torch import nn

from tiler.errors import ModelError
from tiler.models import load_model
from tiler.models.loading.foreign.onnx import OnnxNetwork, with_shapes
from tiler.models.probe import probe

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper = onnx.helper


def saved(module, path, size=(32, 32), free=True):
    """The path of an ONNX file of a network with one input channel."""
    axes = {0: "n", 2: "y", 3: "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.randn(1, 1, *size),), path, dynamo=False, opset_version=17,
                          input_names=["image"], output_names=["scores"],
                          dynamic_axes={"image": axes, "scores": axes} if free else None)
    return path


def graph(nodes, constants, channels=2, opset=17):
    """A model of these nodes from ``x`` to ``y``."""
    floats = onnx.TensorProto.FLOAT
    made = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info("x", floats, [1, channels, "h", "w"])],
        [helper.make_tensor_value_info("y", floats, [1, None, None, None])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def by_runtime(model, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


WEIGHT = random(3, 2, 3, 3)
CASES = {
    "same padding, odd": ([("Conv", "x w b", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
                          {"w": WEIGHT, "b": random(3)}),
    "same padding, lower": ([("Conv", "x w", {"auto_pad": "SAME_LOWER", "strides": [2, 2], "kernel_shape": [2, 2]})],
                            {"w": random(3, 2, 2, 2)}),
    "uneven pads": ([("Conv", "x w", {"pads": [0, 1, 2, 1], "dilations": [1, 2]})], {"w": WEIGHT}),
    "transposed": ([("ConvTranspose", "x w", {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]})],
                   {"w": random(2, 3, 3, 3)}),
    "uneven maximum": ([("MaxPool", "x", {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]})], {}),
    "mean": ([("AveragePool", "x", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}),
    "batch norm": ([("BatchNormalization", "x s b m v", {"epsilon": 1e-3})],
                   {"s": random(2), "b": random(2), "m": random(2), "v": random(2) ** 2}),
    "nearest by floor": ([("Resize", "x r s", {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                                               "nearest_mode": "floor"})],
                         {"r": np.empty(0, np.float32), "s": np.float32([1, 1, 3, 2])}),
    "nearest of half pixels": ([("Resize", "x r s", {"mode": "nearest"})],
                               {"r": np.empty(0, np.float32), "s": np.float32([1, 1, 3, 2])}),
    "linear": ([("Resize", "x r s", {"mode": "linear"})],
               {"r": np.empty(0, np.float32), "s": np.float32([1, 1, 2, 2])}),
    "aligned corners": ([("Resize", "x r s", {"mode": "linear", "coordinate_transformation_mode": "align_corners"})],
                        {"r": np.empty(0, np.float32), "s": np.float32([1, 1, 2, 2])}),
    "pads by axis": ([("Pad", "x p", {"mode": "reflect"})], {"p": np.int64([0, 0, 1, 2, 0, 0, 3, 1])}),
    "slice": ([("Slice", "x a b d", {})], {"a": np.int64([1, 2]), "b": np.int64([2**62, -1]), "d": np.int64([2, 3])}),
    "clip": ([("Clip", "x low", {})], {"low": np.float32(0.1)}),
    "split": ([("Split", "x", {"axis": 1, "outputs": "a y"})], {}),
    "leaky": ([("LeakyRelu", "x", {"alpha": 0.3})], {}),
    "slopes": ([("PRelu", "x s", {})], {"s": random(2, 1, 1)}),
    "soft-max": ([("Softmax", "x", {"axis": 1})], {}),
    "constant": ([("Mul", "x c", {})], {"c": np.float32(0.5)}),
    "shuffle": ([("Conv", "x w", {}), ("DepthToSpace", "t0", {"blocksize": 2, "mode": "CRD"})],
                {"w": random(4, 2, 1, 1)}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_what_the_runtime_has(name):
    steps, constants = CASES[name]
    nodes = []
    for at, (kind, inputs, attributes) in enumerate(steps):
        outputs = attributes.pop("outputs", None) or ("y" if at == len(steps) - 1 else f"t{at}")
        nodes.append(helper.make_node(kind, inputs.split(), outputs.split(), **attributes))
        attributes.update({"outputs": outputs} if " " in outputs else {})
    model = graph(nodes, constants)
    image = torch.from_numpy(random(1, 2, 9, 12))
    found = OnnxNetwork(with_shapes(model), name)(image)
    np.testing.assert_allclose(found.numpy(), by_runtime(model, image), atol=5e-6)


def test_a_network_gives_the_same_at_every_size_and_precision(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(Hourglass(up=nn.Upsample(scale_factor=2, mode="bilinear")), nn.BatchNorm2d(2)).eval()
    loaded = load_model(saved(network, tmp_path / "net.onnx"))
    assert (loaded.in_channels, loaded.ndim) == (1, 2)
    image = torch.randn(2, 1, 48, 20)
    assert torch.allclose(loaded.build()(image), network(image), atol=1e-6)
    assert torch.allclose(loaded.build().double()(image.double()), network.double()(image.double()), atol=1e-6)


def test_it_is_proved_and_has_the_footprint_of_the_network(tmp_path):
    network = Hourglass().eval()
    loaded = load_model(saved(network, tmp_path / "net.onnx"))
    found = probe(loaded.bare(), 1)
    assert found.proved
    assert found.footprint == probe(network, 1, prove=False).footprint


@pytest.mark.parametrize("free", [True, False])
def test_interpolation_to_a_size_is_by_its_factor(tmp_path, free):
    network = ToTheSkip().eval()
    loaded = load_model(saved(network, tmp_path / "net.onnx", free=free))
    image = torch.randn(1, 1, 44, 60)
    assert torch.allclose(loaded.build()(image), network(image), atol=1e-6)
    assert probe(loaded.bare(), 1).proved


def test_a_constant_of_one_size_is_found_by_the_probe(tmp_path):
    class Reshaping(nn.Module):
        def forward(self, x):
            return x.reshape(1, 1, 32, 32) * 2

    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Reshaping())
    with pytest.raises(ModelError, match="runs at no size"):
        probe(load_model(saved(network, tmp_path / "net.onnx", free=False)).bare(), 1)


@pytest.mark.parametrize(("nodes", "says"), [
    ([helper.make_node("Einsum", ["x"], ["y"], equation="abcd->abdc")], "operator Einsum"),
    ([helper.make_node("NonZero", ["x"], ["t"]), helper.make_node("Cast", ["t"], ["y"], to=1)], "of values of the"),
])
def test_what_is_not_read_is_named(nodes, says):
    with pytest.raises(ModelError, match=says):
        OnnxNetwork(graph(nodes, {}), "net.onnx")(torch.zeros(1, 2, 8, 8))


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not protobuf at all")
    with pytest.raises(ModelError, match="no whole ONNX file"):
        load_model(path)


def test_weights_in_a_file_beside_it_are_refused_before_anything_is_read(tmp_path):
    """External data name any path that the process may read."""
    path = saved(Hourglass(), tmp_path / "net.onnx")
    model = onnx.load(io.BytesIO(path.read_bytes()))
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../etc/hostname"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="no whole ONNX file"):
        load_model(path)


def test_code_needs_no_trust_and_a_changed_file_is_noticed(tmp_path):
    path = saved(Hourglass(), tmp_path / "net.onnx")
    loaded = load_model(path)
    saved(Hourglass(), path)
    with pytest.raises(ModelError, match="was changed"):
        loaded.build()
