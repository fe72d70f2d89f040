"""Mix Transformer and ESFPNet."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from zoo_cases import count, on_meta, varied

from tiler.errors import ModelError, UnboundedContextError
from tiler.models.probe import probe, require_tiled
from tiler.models.zoo.esfpnet import ESFPNet
from tiler.models.zoo.mit import DEPTHS, Attention, Block, MixTransformer, base_of, maps_of, tokens_of


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

ENCODERS = {"b0": 3_319_392, "b1": 13_151_424, "b2": 24_196_288, "b3": 44_072_128, "b4": 60_842_688, "b5": 81_443_008}


@pytest.mark.parametrize("variant", ENCODERS)
def test_parameters_of_encoder_and_decoder(variant):
    with torch.device("meta"):
        encoder, whole = MixTransformer(3, base_of(variant), DEPTHS[variant]), ESFPNet(variant=variant)
    assert count(encoder) == ENCODERS[variant]
    assert count(whole) - count(encoder) == (212_737 if variant == "b0" else 847_361)


@pytest.mark.parametrize(("name", "published"), [("esfpnet-t", 1.40), ("esfpnet-s", 9.20), ("esfpnet-l", 23.76)])
def test_work_on_a_frame_of_352(name, published):
    with FlopCounterMode(display=False) as counter:
        assert on_meta(name)(torch.zeros(1, 3, 352, 352, device="meta")).shape == (1, 1, 352, 352)
    assert counter.get_total_flops() / 2e9 == pytest.approx(published, abs=0.01)


def test_maps_and_sizes():
    module = on_meta("esfpnet-t", base=2)
    maps = module.encoder(torch.zeros(1, 3, 64, 96, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(2, 16, 24), (4, 8, 12), (10, 4, 6), (16, 2, 3)]
    with pytest.raises(RuntimeError, match=r"[Ss]izes"):
        module(torch.zeros(1, 3, 360, 360, device="meta"))


def test_attention_is_the_printed_formula():
    torch.manual_seed(0)
    layer = Attention(6, 3, 2).double()
    x = torch.randn(2, 16, 6, dtype=torch.float64)
    seen = layer.norm(tokens_of(layer.coarser(maps_of(x, (2, 6, 4, 4)))))
    query, (key, value) = layer.q(x), layer.kv(seen).chunk(2, 2)
    parts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    found = [(query[..., p] @ key[..., p].transpose(1, 2) / 2**0.5).softmax(-1) @ value[..., p] for p in parts]
    torch.testing.assert_close(layer(x, (2, 6, 4, 4)), layer.project(torch.cat(found, 2)), rtol=0, atol=1e-12)


def test_blocks_are_dropped_in_training_only_and_the_more_the_deeper():
    rates = [block.drop_path for stage in on_meta("esfpnet-t", base=1).encoder.stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])
    torch.manual_seed(0)
    block = Block(4, 1, 1, 0.5)
    x = torch.randn(64, 4, 4)
    assert torch.equal(block.eval()(x, (64, 4, 2, 2)), block(x, (64, 4, 2, 2)))
    skipped = (block.train()._dropped(torch.ones(4000, 1, 1)) == 0).float().mean()
    assert skipped.item() == pytest.approx(0.5, abs=0.05)


def test_normalisations():
    module = MixTransformer(3, 1)
    stage = module.stages[0]
    assert (stage.norm.eps, stage.blocks[0].norm1.eps) == (1e-6, 1e-6)
    assert (stage.embed.norm.eps, stage.blocks[0].attention.norm.eps) == (1e-5, 1e-5)


def test_no_tiling_is_exact_and_the_layer_is_named():
    report = probe(on_meta("esfpnet-t", base=2), 3)
    assert report.exactness == "STAGES"
    assert not report.proof
    assert len(report.offending) == 8
    assert str(report).count("every position meets every other") == 1
    assert "and 7 more like it, the last one encoder.stages.3.blocks.1.attention (Attention)" in str(report)
    with pytest.raises(UnboundedContextError, match=r"encoder\.stages\.0\.blocks\.0\.attention .*attention"):
        require_tiled(report)


@torch.no_grad()
def test_a_tile_sees_something_else_than_the_whole():
    module = varied("esfpnet-t", base=2).double().eval()
    image = torch.randn(1, 3, 128, 128, dtype=torch.float64)
    whole, tile = module(image), module(image[..., :96, :96])
    extent = whole.max() - whole.min()
    assert (whole[..., 32:64, 32:64] - tile[..., 32:64, 32:64]).abs().max() > 1e-3 * extent


def test_unknown_encoders_are_refused():
    with pytest.raises(ModelError, match="b0, b1"):
        ESFPNet(variant="b6")
