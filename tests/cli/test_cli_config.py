"""A run as TOML: printed by `tiler config`, done by ``tiler segment --config``."""

from __future__ import annotations

import tomllib

import pytest
from click.testing import CliRunner

from tiler.cli import segment as command
from tiler.cli.main import main, tiler
from tiler.options import TABLE

GIVEN = ["in.npy", "-o", "out.zarr", "-m", "unet", "--as", "instances", "--tile", "1x572x572", "--channel", "0,2",
         "--roi", "y=3:20,x=-4:", "--no-tune", "--fill-holes", "--threads", "2", "--model-arg", "a=1", "--model-arg",
         "b=\"two\"", "--levels", "none", "--trust", "--memory", "8GiB", "--threshold", "0.6"]


@pytest.fixture
def seen(monkeypatch):
    """What `tiler segment` would do."""
    found = []
    monkeypatch.setattr(command, "_attempt", lambda pair, options, *rest: found.append((pair, options)))
    monkeypatch.setattr(command, "conclude", lambda *outcomes, **how: 0)
    return found


def toml_of(arguments):
    result = CliRunner().invoke(tiler, ["config", *arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


def run(arguments):
    return CliRunner().invoke(tiler, ["segment", *arguments])


def test_a_run_as_toml_is_the_same_run(seen, tmp_path):
    (tmp_path / "run.toml").write_text(toml_of(GIVEN))
    assert run(GIVEN).exception is None
    assert run(["--config", str(tmp_path / "run.toml")]).exception is None
    assert seen[0] == seen[1]


def test_every_option_is_there_with_its_default():
    text = toml_of(["in.npy", "-m", "unet"])
    assert tomllib.loads(text) == {"input": ["in.npy"], "model": "unet"}
    for name in TABLE:
        assert f"# {name}: " in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_command_line_takes_precedence(seen, tmp_path):
    (tmp_path / "run.toml").write_text(toml_of(GIVEN))
    assert run(["other.npy", "--config", str(tmp_path / "run.toml"), "--as", "labels", "--tune"]).exception is None
    pair, options = seen[0]
    assert (pair.source, options["kind"], options["tune"], options["tile"]) == ("other.npy", "labels", True,
                                                                               "1x572x572")


def test_lists_and_numbers_of_toml_are_read(seen, tmp_path):
    (tmp_path / "run.toml").write_text('input = "in.npy"\nmodel = "unet"\nchannel = [0, 2]\ntile = 572\nroi = "z=3"\n')
    assert run(["--config", str(tmp_path / "run.toml")]).exception is None
    assert {name: seen[0][1][name] for name in ("channel", "tile", "roi")} == {"channel": "0,2", "tile": "572",
                                                                              "roi": "z=3"}


@pytest.mark.parametrize(("text", "told"), [
    ('tyle = 572', "there is no option 'tyle': did you mean tile"), ('as = "labels"', "'as': did you mean kind?"),
    ("resume = true", "there is no option 'resume'"), ("tile = ", "is not TOML"),
    ("tile = {z = 3}", "tile is {'z': 3}"),
    ("tile = 1979-05-27", "give a text, a number"), ("channel = []", "give a text, a number"),
    ('kind = "masks"', "masks"), ("workers = 0", "workers"), ('tile = "big"', "big")])
def test_what_a_file_must_not_hold_is_refused_in_one_line(tmp_path, capfd, text, told):
    (tmp_path / "run.toml").write_text(f'input = "in.npy"\nmodel = "unet"\n{text}\n')
    with pytest.raises(SystemExit) as ended:
        main(["segment", "--config", str(tmp_path / "run.toml"), "-o", str(tmp_path / "out.zarr")])
    assert ended.value.code in (1, 2)
    assert told in capfd.readouterr().err


def test_a_file_that_is_not_there(tmp_path, capfd):
    with pytest.raises(SystemExit):
        main(["segment", "--config", str(tmp_path / "run.toml")])
    assert "cannot be read: No such file" in capfd.readouterr().err


def test_contradictions_are_not_printed(capfd):
    with pytest.raises(SystemExit):
        main(["config", "in.npy", "-m", "unet", "--min-size", "5"])
    assert "leave out --min-size" in capfd.readouterr().err
