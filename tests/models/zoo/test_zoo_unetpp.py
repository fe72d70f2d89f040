"""U-Net++: dense skips, four heads, pruning, both ways up."""

from __future__ import annotations

import pytest
import torch
from zoo_cases import count, on_meta, varied

from tiler.errors import ModelError
from tiler.models.probe import derive, probe
from tiler.models.zoo.blocks import mean_of_heads
from tiler.models.zoo.unetpp import UNetPlusPlus


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pruned(module, level):
    """The same network without what head x0,level does not need: the one of that depth, with its values."""
    small = UNetPlusPlus(**{**module.arguments, "depth": level, "heads": "one"}).eval()
    small.load_state_dict({name: module.state_dict()[name] for name in small.state_dict()}, assign=True)
    return small


@pytest.mark.parametrize(("depth", "parameters"), [(1, 100_961), (2, 511_105), (3, 2_204_961), (4, 9_041_601)])
def test_pruned_networks_have_the_published_sizes(depth, parameters):
    assert count(on_meta("unetpp", depth=depth)) == parameters
    with torch.device("meta"):
        assert count(pruned(UNetPlusPlus(heads="fast"), depth)) == parameters


@pytest.mark.parametrize(("up", "contexts"), [
    ("deconv", [(8, 8), (22, 24), (46, 48), (94, 96)]), ("bilinear", [(10, 10), (26, 28), (54, 56), (110, 112)])])
def test_contexts_of_every_head(up, contexts):
    for depth, (needed, rounded) in enumerate(contexts, 1):
        report = derive(UNetPlusPlus(base=1, depth=depth, up=up), 1)
        assert report.exactness == "EXACT"
        assert report.border == "zero"
        assert report.context.low[1:] == report.context.high[1:] == (needed,) * 2
        assert report.footprint.low[1:] == report.footprint.high[1:] == (rounded,) * 2
        assert report.footprint.stride == (1, 2**depth, 2**depth)


def test_aligned_corners_are_told():
    report = probe(on_meta("unetpp-corners", base=2), 1)
    assert report.exactness == "STAGES"
    assert "stretch (Upsample): align_corners=True" in str(report.offending[0])


def test_a_node_joins_its_whole_row():
    module = UNetPlusPlus(base=3, depth=2)
    seen = {}
    for name, node in module.nodes.items():
        node.register_forward_pre_hook(lambda layer, inputs, name=name: seen.update({name: inputs[0].shape[1]}))
    module(torch.zeros(1, 1, 8, 8))
    assert seen == {"0_0": 1, "1_0": 3, "0_1": 6, "2_0": 6, "1_1": 12, "0_2": 9}
    assert sum(kind.transposed for kind in module.modules() if hasattr(kind, "transposed")) == 3


@pytest.mark.parametrize("up", ["deconv", "bilinear"])
def test_what_comes_up_is_joined_first_or_last(up):
    module, seen = UNetPlusPlus(base=2, depth=1, up=up).eval(), {}
    module.nodes["0_1"].register_forward_pre_hook(lambda layer, inputs: seen.update(joined=inputs[0]))
    for name in ("0_0", "1_0"):
        module.nodes[name].register_forward_hook(lambda layer, inputs, output, name=name: seen.update({name: output}))
    module(torch.randn(1, 1, 8, 8))
    above = module.up["0_1"](seen["1_0"]) if up == "deconv" else module.stretch(seen["1_0"])
    parts = [above, seen["0_0"]] if up == "deconv" else [seen["0_0"], above]
    assert torch.equal(seen["joined"], torch.cat(parts, 1))


def test_accurate_is_the_mean_of_the_probabilities_and_fast_the_last_head():
    module = varied("unetpp-ds", base=2, depth=3).double()
    image = torch.randn(1, 1, 16, 24, dtype=torch.float64)
    heads = module.supervised(image).outputs
    assert len(heads) == 3
    mean = torch.stack(heads).sigmoid().mean(0)
    torch.testing.assert_close(module(image).sigmoid(), mean, rtol=0, atol=1e-12)
    module.arguments["heads"] = "fast"
    assert torch.equal(module(image), heads[-1])


def test_the_mean_of_heads_is_one_of_probabilities_with_several_classes_too():
    scores = torch.randn(4, 2, 3, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(mean_of_heads(scores).softmax(1), scores.softmax(2).mean(0), rtol=0, atol=1e-12)
    assert mean_of_heads(torch.full((4, 1, 1, 1, 1), 300.0)).isfinite().all()


def test_a_pruned_network_is_its_head():
    module = varied("unetpp-ds", base=2, depth=3).eval()
    image = torch.randn(1, 1, 16, 16)
    for level in (1, 2, 3):
        assert torch.equal(pruned(module, level)(image), module.supervised(image).outputs[level - 1])


@pytest.mark.parametrize("wrong", [{"up": "nearest"}, {"heads": "slow"}, {"depth": 0}])
def test_impossible_arguments_of_the_nested_network_are_refused(wrong):
    with pytest.raises(ModelError, match=r"U-Net\+\+"):
        UNetPlusPlus(**wrong)
