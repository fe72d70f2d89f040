"""Wrong input: one line, exit code 1, nothing under the final name."""

from __future__ import annotations

import errno
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from filelock import FileLock
from torch import nn

from tiler.models.loading.weights import WeightsCard, save_weights
from tiler.models.zoo.unet import UNet
from tiler.sinks.zarr import ZarrSink

CARD = WeightsCard("vgg", {}, ("membrane", "cell"), None, "none", "none")


def refused(outcome, *words):
    """One line on stderr that says what is wrong, exit code 1, no result."""
    assert outcome.code == 1, outcome
    assert len(outcome.lines) == 1, outcome.err
    assert outcome.err.startswith("tiler: ")
    assert "unexpected" not in outcome.err
    for word in words:
        assert re.search(word, outcome.err), outcome.err
    assert outcome.out == ""
    assert not list(Path().glob("*.zarr"))


def write_inputs(folder):
    whole = (folder / "stack.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "nothing.tif").write_bytes(b"")
    (folder / "text.tif").write_text("not an image\n" * 100)
    (folder / "notes.txt").write_text("not an image")
    (folder / "folder").mkdir()
    (folder / "empty.zarr.d").mkdir()
    tifffile.imwrite(folder / "colour.tif", np.full((40, 40, 3), (9, 0, 0), np.uint8), photometric="rgb")
    np.save(folder / "empty.npy", np.zeros((0, 40, 40), np.uint8))
    np.save(folder / "complex.npy", np.zeros((40, 40), complex))
    np.save(folder / "line.npy", np.zeros(40, np.uint8))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object))


@pytest.mark.parametrize(("name", "words"), [
    ("missing.tif", "missing.tif does not exist"),
    ("truncated.tif", "truncated.tif is truncated"),
    ("nothing.tif", "nothing.tif is not a readable TIFF"),
    ("text.tif", "text.tif is not a readable TIFF"),
    ("notes.txt", r"notes.txt: unknown format .txt; known are .*\.tif"),
    ("folder", "folder holds no images"),
    ("empty.npy", r"empty.npy is empty: its shape is \(0, 40, 40\)"),
    ("complex.npy", "complex.npy holds complex numbers"),
    ("line.npy", "line.npy has 1 axes"),
    ("objects.npy", "objects.npy is not a readable .npy file"),
    ("colour.tif", "colour.tif has 3 channels, the network takes 1.*--channel"),
])
def test_inputs_that_cannot_be_segmented(segment, folder, name, words):
    write_inputs(folder)
    before = set(os.listdir())
    refused(segment(name), words)
    assert set(os.listdir()) == before


@pytest.mark.parametrize(("options", "words"), [
    (["--tile", "59"], "tile 59 in y .*nearest legal tiles are 56 and 60 .--tile"),
    (["--tile", "20"], "tile 20 in y leaves no core.*smallest legal tile is 44 .--tile"),
    (["--tile", "big"], "'big' is not a size.*--tile"),
    (["--roi", "0:4,0:10,0:10"], r"region \[0:4, 0:10, 0:10\] does not lie in the volume.*--roi"),
    (["--roi", "0:1,0:0,0:10"], "does not lie in the volume.*--roi"),
    (["--roi", "here"], "region 'here' cannot be read.*--roi"),
    (["--memory", "lots"], "'lots' is not an amount of bytes.*--memory"),
    (["--batch", "0"], "'0' is not a whole number of at least 1 .--batch"),
    (["--channel", "1"], "has 1 channel.*--channel"),
    (["--axes", "yx"], "has 3 axes.*--axes"),
    (["--device", "abacus"], "'abacus' is no device.*--device"),
    (["--device", "cuda:77"], "no device cuda:77 here.*--device"),
    (["--device", "cpu,cpu"], "several devices are GPUs.*--device"),
    (["--device", "cpu", "--precision", "tf32"], "tf32 is a format of CUDA devices, cpu has none.*--precision"),
    (["--normalise", "often"], "'often' is not a normalisation: give weights, volume.*--normalise"),
    (["--classes", "cat"], "no class 'cat'.*--classes"),
    (["--as", "instances", "--dtype", "uint8"], "instances are written as uint32, uint16, uint64; got.*--dtype"),
    (["--border", "zero"], "--border mirror"),
    (["--min-size", "5"], "probabilities have no objects: say --as instances.*--min-size"),
    (["--as", "labels", "--classes", "all"], "labels are made of all classes.*leave out --classes"),
    (["-o", "out.tif", "--ngff", "0.4"], "out.tif: .tif outputs have no such choice: leave out --ngff.*-o"),
    (["-o", "s3://bucket/out.tif"], "outputs on object stores are .zarr; got .tif .-o"),
    (["--resume", "--overwrite"], "not both"),
    (["--log-file", "missing/log.txt"], "cannot write the log.*--log-file"),
])
def test_options_that_cannot_be_granted(segment, options, words):
    plan = () if options[0] == "--tile" else ("--tile", "60")
    refused(segment("stack.tif", *options, plan=("--threads", "1", *plan)), words)
    assert set(os.listdir()) == {"stack.tif"}


def test_the_published_network_names_its_nearest_tiles(tiler):
    refused(tiler("segment", "stack.tif", "-m", "unet", "--tile", "570"), "570.*556 and 572.*--tile")


def test_a_budget_that_is_too_small_says_what_would_do(segment):
    outcome = segment("stack.tif", "--memory", "1MB", plan=("--threads", "1"))
    refused(outcome, "a memory budget of 1 MB is too small: the least that would do is.*--memory")
    more = int(re.search(r"would do is (\d+) MB", outcome.err)[1])
    # Between two plans the process itself may grow by a little.
    assert segment("stack.tif", "--memory", f"{more + 20}MB", plan=("--threads", "1")).code == 0


@pytest.mark.parametrize(("model", "words"), [
    ("nonet", "unknown model 'nonet': did you mean unet"),
    ("", "the name of the model is empty.*--model"),
    ("missing.py:make", "there is no file missing.py.*--model"),
    ("{networks}:missing", "has no 'missing'.*--model"),
    ("{networks}", "needs its factory: file.py:factory.*--model"),
    ("{networks}:failing", "failing raised RuntimeError: no such luck .--model"),
    ("{networks}:undecided", "gives other weights each time.*--weights"),
    ("{made}/other.safetensors", "holds weights, not a network.*--weights"),
    ("{made}/state.pt", "without a program.*--weights"),
    ("{made}/script.pt", "is a TorchScript program.*--trust"),
])
def test_models_that_are_none(tiler, networks, model, words, made):
    before = set(os.listdir())
    refused(tiler("segment", "stack.tif", "-m", model.format(networks=networks, made=made)), words)
    assert set(os.listdir()) == before


@pytest.mark.parametrize(("model", "weights", "words"), [
    ("unet", "missing.safetensors", "cannot read weights .*missing.safetensors: No such file.*--weights"),
    ("unet", "pickle.pkl", "pickle.pkl is a pickle.*--weights"),
    ("unet", "state.pt", "state.pt.*--weights"),
    ("unet", "short.safetensors", "no whole safetensors file.*truncated.*--weights"),
    ("unet", "other.safetensors", "are weights of vgg.*asked for is unet.*--weights"),
    ("{networks}:Net", "other.safetensors", "are not weights of the model asked for.*--weights"),
])
def test_weights_that_are_unsafe_or_of_another_network(tiler, networks, model, weights, words, made):
    refused(tiler("segment", "stack.tif", "-m", model.format(networks=networks), "-w", made / weights), words)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder of files that hold weights, or seem to."""
    folder = tmp_path_factory.mktemp("made")
    net = UNet(base=4, depth=2)
    save_weights(folder / "other.safetensors", net.state_dict(), CARD)
    (folder / "short.safetensors").write_bytes((folder / "other.safetensors").read_bytes()[:1000])
    (folder / "pickle.pkl").write_bytes(pickle.dumps({"a": 1}))
    torch.save(net.state_dict(), folder / "state.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which files in the wild still are
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1))), folder / "script.pt")
    return folder


def test_a_trusted_script_runs(tiler, folder, made):
    assert tiler("segment", "stack.tif", "-m", made / "script.pt", "--trust", "--threads", "1").code == 0
    assert (folder / "stack_segmented.zarr").is_dir()


def test_nan_is_refused_unless_told_to_take_zero(segment, folder):
    holed = np.ones((2, 40, 40), np.float32)
    holed[1, 20, 20] = np.nan
    np.save(folder / "holed.npy", holed)
    refused(segment("holed.npy"), "not finite.*--nan zero")
    assert segment("holed.npy", "--nan", "zero", "--overwrite").code == 0


def test_an_output_that_exists_is_not_touched(segment, folder):
    (folder / "mine.npy").write_bytes(b"precious")
    refused(segment("stack.tif", "-o", "mine.npy"), "mine.npy exists: --overwrite replaces it")
    refused(segment("stack.tif", "-o", "mine.npy", "--resume"), "no journal, so it cannot be resumed")
    refused(segment("stack.tif", "-o", "stack.tif", "--overwrite"), "stack.tif is the input")
    assert (folder / "mine.npy").read_bytes() == b"precious"
    assert set(os.listdir()) == {"stack.tif", "mine.npy"}


def test_a_second_run_on_the_same_output_is_refused(segment, folder):
    with FileLock(folder / "out.zarr.lock"):
        refused(segment("stack.tif", "-o", "out.zarr"), "another run is writing out.zarr")


@pytest.mark.parametrize("damage", [
    lambda text: text.replace(b'"tile"', b'"tilt"', 1),
    lambda text: text[: len(text) // 2] + b"\n" + text[len(text) // 2 :],
    lambda text: b"",
    lambda text: b"\xff\xfe\n\n",
])
def test_a_damaged_journal_is_not_trusted(segment, tiler, damage):
    full_disk = [6]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ZarrSink, "write", scarce(full_disk))
        segment("stack.tif", "-o", "out.zarr")
    journal = Path("out.zarr.journal")
    journal.write_bytes(damage(journal.read_bytes()))
    for how in ((), ("--resume",)):
        refused(segment("stack.tif", "-o", "out.zarr", *how), "journal out.zarr.journal .*--overwrite")
    refused(tiler("check", "out.zarr"), "journal out.zarr.journal")
    assert segment("stack.tif", "-o", "out.zarr", "--overwrite").code == 0


def scarce(room, write=ZarrSink.write):
    """A disk with room for so many blocks."""

    def written(self, box, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room[0] -= 1
        write(self, box, data)

    return written


def test_an_error_that_nobody_foresaw_is_one_line_too(segment):
    outcome = segment("stack.tif", model="Choosy", plan=("--threads", "1", "--tile", "108"))
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "too large" in outcome.err
    assert set(os.listdir()) == {"stack.tif"}


@pytest.mark.parametrize("arguments", [
    ["segment"], ["segment", "stack.tif"], ["segment", "stack.tif", "--model", "unet", "--colour"],
    ["segment", "stack.tif", "--model", "unet", "--as", "masks"], ["segment", "", "--model", "unet"],
    ["segment", "stack.tif", "--model", "unet", "-o", ""],
    ["segment", "stack.tif", "--model", "unet", "--verify"],
    ["segment", "stack.tif", "--model", "unet", "--same-input"],
    ["segment", "stack.tif", "--model", "unet", "--threads", "0"],
    ["plan", "stack.tif"], ["check"], ["check", "x.zarr", "--seed", "-1"], ["probe"], ["sement"],
])
def test_wrong_usage_is_exit_code_2(tiler, arguments):
    outcome = tiler(*arguments)
    assert outcome.code == 2
    assert outcome.lines[-1].startswith("Error: ")
    assert set(os.listdir()) == {"stack.tif"}


@pytest.mark.parametrize("arguments", [["models", "nonet"], ["probe", "nonet"], ["plan", "x.tif", "-m", "unet"],
                                       ["check", "x.zarr"], ["check", "stack.tif"]])
def test_other_commands_refuse_in_one_line_too(tiler, arguments):
    refused(tiler(*arguments))


def test_a_parent_that_is_a_file(segment):
    refused(segment("stack.tif", "-o", "stack.tif/out.zarr"), "is a file")


def test_an_unknown_suffix_leaves_nothing(segment):
    before = set(os.listdir())
    refused(segment("stack.tif", "-o", "out.xyz"), "outputs end in")
    assert set(os.listdir()) == before


def test_an_output_that_holds_its_input_is_refused(segment):
    assert segment("stack.tif", "-o", "own.zarr").code == 0
    outcome = segment("own.zarr/0", "-o", "own.zarr", "--overwrite")
    assert outcome.code == 1
    assert "holds the input" in outcome.err


def test_a_tile_that_no_memory_holds_is_refused_before_anything_is_written(segment):
    before = set(os.listdir())
    refused(segment("stack.tif", "-o", "big.zarr", plan=("--tile", "100000")), "needs .* MB, there are .* MB.*--tile")
    assert set(os.listdir()) == before


def test_a_refusal_leaves_nothing_to_resume(segment, tmp_path):
    holed = np.ones((2, 40, 40), np.float32)
    holed[0, 3, 4] = np.nan
    np.save("holed.npy", holed)
    refused(segment("holed.npy", "-o", "filled.zarr"), "--nan zero")
    assert segment("holed.npy", "-o", "filled.zarr", "--nan", "zero").code == 0
