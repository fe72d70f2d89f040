"""`tiler models` and `tiler probe`."""

from __future__ import annotations

import json
import re

import pytest


def test_models_lists_the_registered_networks(tiler):
    outcome = tiler("models")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(r"^unet ", outcome.out, re.MULTILINE)
    (unet,) = [each for each in json.loads(tiler("models", "--json").out) if each["name"] == "unet"]
    assert "Ronneberger" in unet["source"]


def test_models_shows_the_class_of_every_network_in_one_table(tiler):
    listed = json.loads(tiler("models", "--json").out)
    out = tiler("models").out
    for each in listed:
        assert re.search(rf"^{each['name']} +(now|train first) +{each['exactness']} ", out, re.MULTILINE)
    assert {each["exactness"] for each in listed} == {"exact in tiles", "exact in stages", "whole inputs"}
    assert [each["name"] for each in listed if each["weights"] != "none bundled"] == ["unet"]
    assert max(map(len, out.splitlines())) <= 80


def test_models_tells_about_networks_without_weights_as_they_were_published(tiler):
    facts = json.loads(tiler("models", "fcn8s", "--json").out)
    assert facts["parameters"] == 134_362_751
    assert facts["arguments"]["stride"] == 8
    assert "needs 221 and 215" in facts["geometry"]
    shown = tiler("models", "gain-resnet50").out
    assert "23,512,130" in shown
    assert "one answer for its whole input" in shown
    assert "left_open    no head was published" in tiler("models", "fcn-googlenet").out
    assert tiler("models", "ciresan-n4").err == ""


def test_models_tells_all_about_one(tiler):
    facts = json.loads(tiler("models", "unet", "--json").out)
    assert facts["doi"] == "10.1007/978-3-319-24574-4_28"
    assert facts["classes"] == ["membrane", "cell"]
    assert "context 92 before and 96 after" in facts["geometry"]
    assert f"{facts['parameters']:,}" in tiler("models", "unet").out


def test_probe_proves_the_users_network(tiler, networks):
    outcome = tiler("probe", f"{networks}:Net")
    assert outcome.code == 0
    assert "exact in tiles with context, proved" in outcome.out
    assert "context 20 before and 20 after" in outcome.out
    report = json.loads(tiler("probe", f"{networks}:Net", "--json").out)
    assert report["proved"]
    assert report["footprint"]["stride"] == [1, 4, 4]


INEXACT = {
    "values": "def forward(s, x): return s.a(x) * float(x.max())",
}
STAGED = {
    "coordinates": "def forward(s, x): return s.a(x + torch.linspace(0, 1, x.shape[-1]))",
    "whole": "def forward(s, x): return nn.functional.instance_norm(s.a(x))",
    "aligned": ("def forward(s, x): return nn.functional.interpolate(nn.functional.max_pool2d(s.a(x), 2), "
                "scale_factor=2, mode='bilinear', align_corners=True)"),
}


GATED = "def forward(s, x): return s.a(x) * s.a(x).mean((2, 3), keepdim=True)"


def write_network(folder, forward):
    (folder / "mine.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n    def __init__(s):\n"
        "        super().__init__(); torch.manual_seed(0); s.a = nn.Conv2d(1, 2, 3, padding=1)\n"
        f"    {forward}\n")


@pytest.mark.parametrize("name", INEXACT)
def test_probe_unmasks_what_cannot_be_tiled_exactly(tiler, folder, name):
    write_network(folder, INEXACT[name])
    outcome = tiler("probe", "mine.py:Net")
    assert outcome.code == 1
    assert "proved" not in outcome.out
    refused = tiler("segment", "stack.tif", "-m", "mine.py:Net", "--threads", "1")
    assert (refused.code, len(refused.lines), refused.out) == (1, 1, "")
    assert "--tiling blend" in refused.err


@pytest.mark.parametrize("name", STAGED)
def test_what_cannot_be_tiled_runs_exactly_in_stages(tiler, folder, name):
    write_network(folder, STAGED[name])
    outcome = tiler("probe", "mine.py:Net")
    assert outcome.code == 0
    assert ("exact; 1 statistic of the whole input" if name == "whole" else "exact in stages") in outcome.out
    run = ("stack.tif", "-m", "mine.py:Net", "--threads", "1")
    assert "stages, exactly as the whole input in one pass" in tiler("plan", *run).out
    assert tiler("segment", *run, "-o", "staged.zarr", "-q").code == 0
    checked = tiler("check", "staged.zarr")
    assert checked.code == 0


def test_what_is_blended_says_so_everywhere(tiler, folder):
    write_network(folder, STAGED["whole"])
    run = ("stack.tif", "-m", "mine.py:Net", "--threads", "1", "--tile", "34", "--tiling", "blend")
    assert "APPROXIMATION" in tiler("plan", *run).out
    outcome = tiler("segment", *run, "-o", "blended.zarr", "-q")
    assert outcome.code == 0
    assert "warning: the result is blended from windows of 1x34x34, an approximation" in outcome.err
    checked = tiler("check", "blended.zarr")
    assert checked.code == 0
    assert "blended, an approximation: windows that lie elsewhere differ by" in checked.out
    assert "every input in one piece" in tiler("plan", *run[:-4], "--tiling", "whole").out


def test_help_is_there_for_every_command(tiler):
    for command in ([], ["segment"], ["plan"], ["check"], ["models"], ["probe"]):
        outcome = tiler(*command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.startswith("Usage: tiler")
    headings = re.findall(r"^(\w+):$", tiler("segment", "--help").out, re.MULTILINE)
    assert headings == ["Model", "Input", "Result", "Objects", "Resources", "Messages", "Other"]
