import pickle
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from torch import nn

from tiler.errors import ModelError, TilerError, WeightsError
from tiler.models import Normalisation, UNet, WeightsCard, load_model, save_weights
from tiler.models.loading.weights import state_hash

FACTORY = """
    import torch
    from torch import nn

    def network():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

    def unseeded():
        return nn.Conv3d(2, 2, 3)

    def broken():
        raise ValueError("no such checkpoint")

    def wrong():
        return 3
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(FACTORY))
    return path


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())).save(path)
    return path


def refusal(*args, **kwargs) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert "=" in str(caught.value) or "--" in str(caught.value), "it names the option to change"
    return str(caught.value)


def in_another_process(loaded) -> str:
    """Hash of the values of a network that a fresh process builds."""
    code = (
        "import sys, pickle; from tiler.models.loading.weights import state_hash;"
        "print(state_hash(pickle.load(sys.stdin.buffer).build().state_dict()))"
    )
    run = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(loaded), capture_output=True, check=True)
    return run.stdout.decode().strip()


def test_registered_name():
    loaded = load_model("unet")
    assert (loaded.in_channels, loaded.ndim, loaded.classes) == (1, 2, ("membrane", "cell"))
    assert loaded.normalisation.scale == 255
    assert loaded.identity["arguments"]["base"] == 32
    module = loaded.build()
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert {parameter.device.type for parameter in loaded.meta().parameters()} == {"meta"}


def test_name_with_other_weights(tmp_path):
    module = UNet(base=2, depth=1, in_channels=3, classes=3)
    card = WeightsCard("unet", module.arguments, ("a", "b", "c"), None, "none", "none")
    save_weights(tmp_path / "w.safetensors", module.state_dict(), card)
    loaded = load_model("unet", tmp_path / "w.safetensors")
    assert (loaded.in_channels, loaded.classes, loaded.normalisation) == (3, ("a", "b", "c"), None)
    assert state_hash(loaded.build().state_dict()) == state_hash(module.state_dict())
    assert loaded.identity != load_model("unet").identity
    save_weights(tmp_path / "w.safetensors", UNet(base=2, depth=1, in_channels=3, classes=3).state_dict(), card)
    with pytest.raises(WeightsError, match="changed while"):
        loaded.build()


def test_weights_of_another_architecture_are_refused(tmp_path):
    card = WeightsCard("unetpp", {"width": 3}, ("a",), None, "none", "none")
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card)
    message = refusal("unet", tmp_path / "w.safetensors")
    assert "weights of unetpp {'width': 3}, the model asked for is unet" in message
    card = WeightsCard("unet", {"width": 3}, ("a",), None, "none", "none")
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card)
    assert "does not take" in refusal("unet", tmp_path / "w.safetensors")


def test_unknown_names_and_files():
    assert "did you mean unet" in refusal("unett")
    assert "no model file nets/a.pt" in refusal("nets/a.pt")
    assert "cannot import no_such_package" in refusal("no_such_package:net")


def test_factory_in_a_file(source):
    loaded = load_model(f"{source}:network")
    assert (loaded.in_channels, loaded.ndim, loaded.classes, loaded.normalisation) == (3, 2, None, None)
    assert state_hash(loaded.build().state_dict()) == in_another_process(loaded)
    source.write_text(source.read_text() + "\n# another text\n")
    changed = load_model(f"{source}:network")
    assert changed.identity["values"] == loaded.identity["values"]
    assert changed.identity["source"] != loaded.identity["source"]


def test_factory_in_a_package():
    loaded = load_model("tiler.models.zoo.unet:UNet")
    assert loaded.in_channels == 1
    assert len(loaded.identity["source"]) == 64
    assert "gives a UNetArguments" in refusal("tiler.models.zoo.unet:UNetArguments")


def test_factory_that_draws_its_weights_anew_is_refused(source):
    loaded = load_model(f"{source}:unseeded")
    assert (loaded.in_channels, loaded.ndim) == (2, 3)
    with pytest.raises(ModelError, match="other weights each time"):
        loaded.build()


@pytest.mark.parametrize(
    ("factory", "hint"),
    [
        ("missing", "has no 'missing'"),
        ("broken", "raised ValueError: no such checkpoint"),
        ("wrong", "gives a int, a torch.nn.Module is needed"),
    ],
)
def test_bad_factories_are_one_line(source, factory, hint):
    assert hint in refusal(f"{source}:{factory}")


def test_a_file_that_cannot_be_imported(source):
    source.write_text("def network(:\n")
    assert "SyntaxError" in refusal(f"{source}:network")
    assert "no file" in refusal(f"{source}x.py:network")
    assert "needs its factory" in refusal(str(source))


def test_factory_with_weights(source, tmp_path):
    module = load_model(f"{source}:network").build()
    torch.nn.init.ones_(module[0].weight)
    card = WeightsCard("mine", {}, ("in", "out"), Normalisation(1.0, (0.0,), (2.0,)), "none", "none")
    save_weights(tmp_path / "w.safetensors", module.state_dict(), card)
    loaded = load_model(f"{source}:network", tmp_path / "w.safetensors")
    assert loaded.classes == ("in", "out")
    assert torch.equal(loaded.build()[0].weight, torch.ones(4, 3, 3, 3))
    assert "not weights of the model" in refusal(nn.Conv2d(1, 1, 1), tmp_path / "w.safetensors")


def test_module_instance_is_copied_and_left_alone():
    module = UNet(base=2, depth=1).train()
    loaded = load_model(module)
    built = loaded.build()
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert built.head.weight.data_ptr() != module.head.weight.data_ptr()
    assert in_another_process(loaded) == state_hash(module.state_dict())


def test_script_runs_only_where_it_is_trusted(script, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    message = refusal(script)
    assert "trust=" in message
    assert "code/__torch__" in message


def test_trusted_script(script):
    loaded = load_model(script, trust=True)
    assert (loaded.in_channels, loaded.ndim) == (3, 2)
    assert loaded.meta()(torch.zeros(1, 3, 8, 8, device="meta")).shape == (1, 4, 6, 6)
    assert in_another_process(loaded) == state_hash(loaded.build().state_dict())
    assert "its own weights" in refusal(script, "w.safetensors", trust=True)


def test_other_files_as_models_are_refused(tmp_path, source):
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    assert "without a program" in refusal(tmp_path / "state.pt", trust=True)
    (tmp_path / "w.safetensors").write_bytes(b"x")
    assert "weights=" in refusal(tmp_path / "w.safetensors")


def test_input_from_attributes_where_there_is_no_convolution():
    module = nn.Flatten()
    with pytest.raises(TilerError, match="in_channels and ndim"):
        load_model(module)
    module.in_channels, module.ndim = 2, 3
    assert (load_model(module).in_channels, load_model(module).ndim) == (2, 3)


def test_grouped_convolutions_count_every_channel():
    assert load_model(nn.Conv2d(6, 6, 3, groups=3)).in_channels == 6


def test_one_dimensional_networks_are_refused():
    assert "works on 1 axes" in refusal(nn.Conv1d(1, 1, 3))


def test_where_a_file_lies_is_no_part_of_its_identity(source, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text(source.read_text())
    monkeypatch.chdir(elsewhere)
    loaded = load_model("mine.py:network")
    assert loaded.identity == load_model(f"{source}:network").identity
    monkeypatch.chdir(tmp_path.parent)
    assert state_hash(loaded.build().state_dict()) == loaded.values
