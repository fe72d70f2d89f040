"""`tiler train`: options become keywords, progress is lines, errors are raised for the command's one line."""

import json
import signal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tiler.cli.train import train as command
from tiler.errors import PlanError
from tiler.models.training import TrainingResult

SAMPLE = Path(__file__).parents[3] / "data_samples"


@pytest.fixture
def called(monkeypatch):
    """Arguments with which the API was called."""
    calls = []

    def train(images, labels, output, *, listener, stop, **options):
        calls.append((images, labels, output, options))
        listener.started(10, 2)
        listener.stepped(10, 0.5)
        listener.validated(10, {"v_rand_thinned": 0.9}, True)
        listener.note("can learn")
        listener.warn("no picture")
        return TrainingResult(Path(output), Path("w.csv"), 10, {"v_rand_thinned": 0.9})

    monkeypatch.setattr("tiler.models.training.api.train", train)
    return calls


def run(*arguments):
    return CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)


def test_pairs_and_options_reach_the_api(called):
    result = run("a.tif", "b.tif", "c.tif", "d.tif", "-o", "w.safetensors", "--base", "16", "--tile", "316",
                 "--model", "unetpp", "--model-arg", "heads=fast", "--model-arg", "dropout=0.5",
                 "--weight-map", "paper", "--set", "learning_rate=5e-4", "--set", "augmentation.rotate=False",
                 "--set", "optimiser=sgd", "--classes", "membrane, cell", "--validate", "20:25", "--time", "2h")
    images, labels, output, options = called[0]
    assert (images, labels, output) == (["a.tif", "c.tif"], ["b.tif", "d.tif"], "w.safetensors")
    assert options == {
        "model": "unetpp", "base": 16, "arguments": {"heads": "fast", "dropout": 0.5},
        "classes": ("membrane", "cell"), "validate": "20:25", "time": "2h", "device": "auto",
        "dtype": "float32", "resume": False, "overwrite": False, "freeze": (), "sanity": False,
        "changes": {"tile": 316, "weights.border": "paper", "learning_rate": 5e-4, "augmentation.rotate": False,
                    "optimiser": "sgd"}}
    assert result.stdout == "w.safetensors\n"
    for line in ("2 of 10 steps were done before", "step 10 of 10, loss 0.5000", "v_rand_thinned 0.90000, the best",
                 "can learn", "warning: no picture"):
        assert line in result.stderr


def test_what_is_the_user_s_own_reaches_the_api(called):
    run("a.tif", "b.tif", "-o", "w.safetensors", "--model", "mine.py:make", "--loss", "mine.py:loss", "--augment",
        "mine.py:vary", "--init", "unet", "--freeze", "enc", "--freeze", "up.0", "--normalise", "100,20",
        "--tile", "16,96,96", "--classes", "a,b,c")
    assert called[0][3] == {
        "model": "mine.py:make", "init": "unet", "freeze": ("enc", "up.0"), "normalise": "100,20",
        "classes": ("a", "b", "c"), "device": "auto", "dtype": "float32", "resume": False, "overwrite": False,
        "sanity": False, "changes": {"tile": 96, "planes": 16, "loss": "mine.py:loss", "augment": "mine.py:vary"}}


def test_quiet_leaves_warnings_and_json_is_one_object(called):
    result = run("a.tif", "b.tif", "-o", "w.safetensors", "--quiet", "--json")
    assert json.loads(result.stdout) == {"weights": "w.safetensors", "curves": "w.csv", "steps": 10,
                                         "best": {"v_rand_thinned": 0.9}}
    assert result.stderr == "warning: no picture\n"


def test_a_run_is_told_to_stop_at_a_step(called, monkeypatch):
    def train(*_, stop, **__):
        # The handler itself: a real signal would also meet whatever else the process of the tests listens with.
        signal.getsignal(signal.SIGINT)(signal.SIGINT, None)
        assert stop.is_set()
        return TrainingResult(Path("w.safetensors"), Path("w.csv"), 1, None)

    monkeypatch.setattr("tiler.models.training.api.train", train)
    assert "stopping at the next step;" in run("a.tif", "b.tif", "-o", "w.safetensors", "--quiet").stderr


def test_an_odd_number_of_inputs_is_wrong_usage(called):
    with pytest.raises(click.UsageError, match="3 inputs are not pairs"):
        run("a.tif", "b.tif", "c.tif", "-o", "w.safetensors")


@pytest.mark.parametrize(("arguments", "says"), [
    (("--set", "learning_rate"), "sets nothing.*--set"),
    (("--model-arg", "dropout"), "sets nothing.*--model-arg"),
    (("--classes", "cell"), "does not name two classes"),
    (("--classes", "cell,cell"), "does not name two classes"),
    (("--tile", "3,4"), "not the size of a tile.*--tile"),
    (("--tile", "16,96,48"), "not the size of a tile.*--tile"),
    (("--tile", "0"), "not the size of a tile.*--tile"),
])
def test_wrong_texts_are_refused(arguments, says, called):
    with pytest.raises(PlanError, match=says):
        run("a.tif", "b.tif", "-o", "w.safetensors", *arguments)


def test_the_command_trains(tmp_path):
    output = tmp_path / "w.safetensors"
    result = run(str(SAMPLE / "sstem.tif"), str(SAMPLE / "sstem_labels.tif"), "-o", str(output), "--steps", "1",
                 "--base", "2", "--depth", "1", "--tile", "60", "--batch", "1", "--threads", "1", "--seed", "2")
    assert result.stdout == f"{output}\n"
    assert output.exists()
    assert output.with_suffix(".csv").exists()
