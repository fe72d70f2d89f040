import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tiler.errors import WeightsError
from tiler.models import Normalisation, UNet, WeightsCard, describe, load_model, read_card, save_weights
from tiler.models.loading.weights import check_fits, file_hash, load_into, state_hash
from tiler.ports import UNSTATED, TrainedOn


def card_of(module: UNet) -> WeightsCard:
    return WeightsCard(
        "unet", module.arguments, ("membrane", "cell"), Normalisation(255.0, (0.5,), (0.2,)), "none", "none"
    )


def narrow(**arguments) -> UNet:
    torch.manual_seed(1)
    return UNet(**{"base": 2, "depth": 1, "batch_norm": True} | arguments)


@pytest.fixture
def stored(tmp_path):
    module = narrow()
    path = tmp_path / "narrow.safetensors"
    save_weights(path, module.state_dict(), card_of(module))
    return path


def test_card_survives(stored):
    assert read_card(stored) == card_of(narrow())


@pytest.mark.parametrize("known", [
    UNSTATED, TrainedOn((None, 4.0, 4.0), "dark", 0.6), TrainedOn((8.0, 8.0, 8.0)), TrainedOn(best_threshold=0.5)])
def test_the_kind_of_data_survives(tmp_path, known):
    path, module = tmp_path / "w.safetensors", narrow()
    save_weights(path, module.state_dict(), replace(card_of(module), trained_on=known))
    assert read_card(path).trained_on == known
    assert load_model("unet", path).trained_on == known


@pytest.mark.parametrize(("entry", "value"), [
    ("voxel_size", {"unit": "parsec", "z": 1, "y": 1, "x": 1}), ("voxel_size", {"unit": "nanometer", "y": 1, "x": 1}),
    ("voxel_size", {"unit": "nanometer", "z": None, "y": -1, "x": 1}), ("voxel_size", [4, 4]), ("contrast", "pale"),
    ("best_threshold", 2), ("best_threshold", "high")])
def test_a_damaged_kind_of_data_is_refused(stored, entry, value):
    with safe_open(stored, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, stored, metadata | {entry: json.dumps(value)})
    with pytest.raises(WeightsError, match=r"metadata of .* are damaged"):
        read_card(stored)


def test_values_survive_without_batch_counters(stored):
    other = narrow()
    torch.nn.init.zeros_(other.head.weight)
    load_into(other, stored)
    assert state_hash(other.state_dict()) == state_hash(narrow().state_dict())


def test_others_may_read_a_file_as_the_umask_says(stored, tmp_path):
    (tmp_path / "any").touch()
    assert stored.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_module_without_memory_is_filled(stored):
    with torch.device("meta"):
        empty = UNet(**narrow().arguments)
    load_into(empty, stored)
    image = torch.rand(1, 1, 24, 24)
    assert torch.equal(empty.eval()(image), narrow().eval()(image))


def test_float16_storage_is_read_as_float32(tmp_path):
    module = narrow()
    save_weights(tmp_path / "half.safetensors", module.state_dict(), card_of(module), torch.float16)
    other = narrow()
    load_into(other, tmp_path / "half.safetensors")
    assert other.head.weight.dtype == torch.float32
    assert torch.equal(other.head.weight, module.head.weight.half().float())


def test_loaded_values_do_not_live_in_the_file(stored):
    module = narrow()
    load_into(module, stored)
    before = state_hash(module.state_dict())
    with stored.open("r+b") as file:
        file.seek(-64, 2)
        file.write(b"\xff" * 64)
    assert state_hash(module.state_dict()) == before


def refusal(path, module=None) -> str:
    with pytest.raises(WeightsError) as caught:
        check_fits(path, module or narrow())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (ran,)

    for protocol in (2, 5):
        path = tmp_path / f"bomb{protocol}.safetensors"
        path.write_bytes(pickle.dumps({"weight": Bomb()}, protocol=protocol))
        assert "is a pickle" in refusal(path)
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pt")
    assert "is a pickle that is not read" in refusal(tmp_path / "bomb.pt")
    assert not ran.exists()


def test_a_truncated_file_is_refused(stored, tmp_path):
    whole = stored.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / f"cut{length}.safetensors"
        path.write_bytes(whole[:length])
        assert "truncated" in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.safetensors")


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path):
    state = {k: v for k, v in narrow().state_dict().items() if "num_batches" not in k}
    path = tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if k != "head.bias"}, path)
    assert "head.bias" in refusal(path)
    save_file(state | {"extra": torch.zeros(1)}, path)
    assert "extra" in refusal(path)
    save_file(state | {"head.bias": torch.zeros(3)}, path)
    assert "head.bias has shape (3,), it needs (2,)" in refusal(path)


def test_other_arguments_are_named(stored):
    message = refusal(stored, narrow(base=4, batch_norm=False))
    assert "unet base=2, batch_norm=True" in message
    assert "the model asked for has base=4, batch_norm=False" in message


def test_a_file_of_another_program_has_no_card(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", {"format": "pt"})
    assert read_card(tmp_path / "w.safetensors") is None


def test_a_later_format_and_damaged_metadata_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    for metadata, word in (({"tiler_format": "99"}, "format 99"), ({"tiler_format": "1"}, "damaged")):
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(WeightsError, match=word):
            read_card(path)


@pytest.mark.parametrize("wrong", [(0.0, (0.5,), (0.2,)), (1.0, (0.5,), (0.0,)), (1.0, (), ()), (1.0, (1.0,), ())])
def test_impossible_normalisations_are_refused(wrong):
    with pytest.raises(WeightsError, match="normalisation"):
        Normalisation(*wrong)


def test_bundled_weights():
    path = describe("unet").weights
    card = read_card(path)
    assert card.classes == ("membrane", "cell")
    assert card.arguments["base"] == 32
    assert "10.1371/journal.pbio.1000502" in card.training_data
    assert path.stat().st_size < 16e6
    assert file_hash(path) in path.with_suffix(".md").read_text()
    check_fits(path, UNet(**card.arguments))
