"""`tiler sample` writes what the commands of the README read."""

from __future__ import annotations

import json
from pathlib import Path

from tiler.cli.main import _run

ORIGIN = Path(__file__).parents[2] / "data_samples"


def test_the_sample_is_written_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert _run(["sample"]) == 0
    written = capsys.readouterr().out.splitlines()[:4]
    for name in written:
        assert Path(name).read_bytes() == (ORIGIN / Path(name).name).read_bytes()
    assert _run(["sample", "data_samples", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_another_file_of_that_name_is_left_alone(tmp_path, capsys):
    (tmp_path / "sstem.tif").write_bytes(b"mine")
    assert _run(["sample", str(tmp_path)]) == 1
    assert "sstem.tif exists and is another file" in capsys.readouterr().err
    assert (tmp_path / "sstem.tif").read_bytes() == b"mine"
