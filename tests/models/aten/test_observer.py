"""What is worked out in torch's place is what torch gives."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tiler.models.aten.meta_device import without_values
from tiler.models.aten.observer import Observer, Shapes

aten = torch.ops.aten
CALLS = [
    (aten.cat.default, lambda zeros: ([zeros(2, 3, 5), zeros(2, 4, 5)], 1)),
    (aten.cat.default, lambda zeros: ([zeros(2, 3, 5), zeros(2, 3, 1)], -1)),
    (aten.cat.default, lambda zeros: ([zeros(2, 3)],)),
    (aten.cat.default, lambda zeros: ([zeros(0), zeros(2, 3)], 1)),
    (aten.cat.default, lambda zeros: ([zeros(2, 3), zeros(2, 3).double()],)),
    (aten.native_layer_norm.default, lambda zeros: (zeros(2, 3, 5), [5], zeros(5), zeros(5), 1e-5)),
    (aten.upsample_bilinear2d.vec, lambda zeros: (zeros(1, 2, 3, 5), [7, 8], False, None)),
    (aten.upsample_bilinear2d.vec, lambda zeros: (zeros(1, 2, 3, 5), None, False, [2.0, 1.5])),
    (aten.upsample_nearest3d.vec, lambda zeros: (zeros(1, 2, 3, 5, 4), None, [2.0, 1.5, 1.0])),
    (aten._softmax.default, lambda zeros: (zeros(2, 3), 1, False)),
    (aten.add.Tensor, lambda zeros: (zeros(2, 1, 5), zeros(3, 1))),
    (aten.mul.Scalar, lambda zeros: (zeros(2, 3), 2.5)),
    (aten.native_batch_norm.default,
     lambda zeros: (zeros(2, 3, 5, 5), zeros(3), None, zeros(3), zeros(3), False, 0.1, 1e-5)),
    (aten.native_batch_norm.default,
     lambda zeros: (zeros(2, 3, 5, 5), None, None, zeros(3), zeros(3), True, 0.1, 1e-5)),
]


def described(result):
    return [(tensor.shape, tensor.dtype) for tensor in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize(("func", "given"), CALLS)
def test_shapes_are_those_that_torch_gives(func, given):
    """On the processor, where there are values to make them of."""
    with without_values():
        found = Observer.run(func, given(torch.zeros), {})
    assert all(tensor.is_meta for tensor in (found if isinstance(found, tuple) else (found,)))
    assert described(found) == described(func(*given(torch.zeros)))


def test_tensors_with_values_are_computed_and_drawn():
    with without_values():
        weight = torch.zeros(20, device="cpu")
        nn.init.normal_(weight)
        assert weight.std() > 0
        assert nn.init.normal_(torch.zeros(3)).is_meta
        assert torch.zeros(3).normal_().is_meta
    assert torch.equal(Observer.run(aten.cat.default, ([weight, weight],), {})[20:], weight)


class Plain(Observer):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})


def test_a_compiled_network_is_observed_and_not_compiled():
    graphs = []
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
    compiled = torch.compile(network, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    image = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        with Plain():
            found = compiled(image)
        assert not graphs
        assert torch.equal(found, network(image))


def test_opening_a_network_does_not_import_the_compiler():
    code = ("import sys, numpy as np, tiler; tiler.plan(np.zeros((1, 64, 64), np.uint8), 'unet'); "
            "sys.exit('torch._dynamo' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("forward", [lambda x: torch.cat([x, x[..., :-1]], 1), lambda x: x + x[..., :-1]])
def test_shapes_refuse_what_torch_refuses(forward):
    x = torch.zeros(1, 2, 5, 4)
    with pytest.raises(RuntimeError):
        forward(x)
    with Shapes(), pytest.raises(RuntimeError):
        forward(x.to("meta"))
