"""`tiler evaluate` on the command line: its output on stdout and stderr, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tiler.cli.main import main
from tiler.metrics.isbi2012_result import HEADLINES

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    labels = tifffile.imread(SAMPLES / "sstem_labels.tif")[:2, :64, :72]
    noise = np.random.default_rng(3).normal(0, 0.2, labels.shape)
    np.save(folder / "cells.npy", np.clip(labels / 255 * 0.7 + 0.1 + noise, 0, 1).astype(np.float32))
    np.save(folder / "grey.npy", np.rint(np.load(folder / "cells.npy") * 255).astype(np.uint8))
    np.save(folder / "labels.npy", labels)
    np.save(folder / "ids.npy", tifffile.imread(SAMPLES / "sstem_instances.tif")[:2, :64, :72])
    tifffile.imwrite(folder / "colour.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


def test_a_table_on_stdout_and_progress_on_stderr(capsys, files):
    code, out, err = run(capsys, files / "cells.npy", files / "labels.npy")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["isbi2012", *HEADLINES]
    assert "slices: 2 of 2" in err


def test_json_alone_on_stdout(capsys, files):
    code, out, err = run(capsys, files / "cells.npy", files / "labels.npy", "--json", "-", "-q")
    assert (code, err) == (0, "")
    loaded = json.loads(out)
    assert loaded["official"].keys() == loaded["thresholds_reached"].keys() == HEADLINES.keys()
    assert out.count("\n") == 1


def test_json_and_report_in_files(capsys, files, tmp_path):
    code, out, _ = run(capsys, files / "cells.npy", files / "labels.npy", "--json", tmp_path / "r.json",
                       "--report", tmp_path / "r.html", "--slices", "1:2", "--image", files / "labels.npy")
    assert code == 0
    assert out.startswith("isbi2012")
    assert json.loads((tmp_path / "r.json").read_text())["region"] == [[1, 0, 0], [2, 64, 72]]
    assert "<!doctype html>" in (tmp_path / "r.html").read_text()


def test_a_hint_about_grey_values(capsys, files):
    _, raw, hinted = run(capsys, files / "grey.npy", files / "labels.npy")
    _, scaled, quiet = run(capsys, files / "grey.npy", files / "labels.npy", "--rescale")
    assert "--rescale divides by 255" in hinted
    assert "--rescale" not in quiet
    assert raw != scaled


@pytest.mark.parametrize("protocol", ["semantic", "instances", "snemi3d", "cremi"])
def test_other_protocols(capsys, files, protocol):
    more = ["--binary"] if protocol == "semantic" else []
    code, out, _ = run(capsys, files / "ids.npy", files / "ids.npy", "--protocol", protocol, *more)
    assert code == 0
    assert out.startswith(protocol)


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("colour.tif", "labels.npy"), 1, "3 channels (a colour image?)"),
    (("cells.npy", "labels.npy", "--slices", "0:9"), 1, "does not lie in both"),
    (("cells.npy", "labels.npy", "--mask", "none.npy"), 1, "none.npy does not exist"),
    (("cells.npy", "labels.npy", "--image", "labels.npy"), 1, "give --report as well, or leave out --image"),
    (("cells.npy", "labels.npy", "--image", "none.npy", "--report", "r.html"), 1, "none.npy does not exist"),
    (("ids.npy", "ids.npy", "--image", "ids.npy", "--report", "r.html", "--protocol", "cremi"), 1,
     "belongs to the protocol isbi2012"),
    (("cells.npy", "labels.npy", "--json", "none/r.json"), 1, "no folder that can be written (--json)"),
    (("cells.npy", "labels.npy", "--protocol", "cremi"), 1, "ids are whole numbers"),
    (("cells.npy", "labels.npy", "--protocol", "isbi"), 2, "'isbi' is not one of"),
    (("cells.npy",), 2, "Missing argument 'LABELS'"),
    (("cells.npy", "labels.npy", "--workers", "0"), 2, "0 is not in the range"),
])
def test_what_is_wrong_is_one_line(capsys, files, monkeypatch, arguments, code, message):
    monkeypatch.chdir(files)
    ended, out, err = run(capsys, *arguments)
    assert (ended, out) == (code, "")
    assert message in " ".join(err.split())
    assert code == 2 or (err.count("\n") == 1 and err.startswith("tiler: "))


def test_help_loads_no_metric():
    code = ("import sys; from tiler.cli.main import main\n"
            "try: main(['evaluate', '--help'])\n"
            "except SystemExit: print([name for name in ('torch', 'numba') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "--protocol" in done.stdout


def test_several_proposals_are_one_table(capsys, files):
    code, out, _ = run(capsys, files / "cells.npy", files / "cells.npy", files / "labels.npy")
    assert code == 0
    assert "[1]" in out
    assert "v_rand_thinned, [2] - [1]: +0.000000 +- 0.000000, better in 0 of 2 slices" in out
    code, out, _ = run(capsys, files / "cells.npy", files / "cells.npy", files / "labels.npy", "--json", "-", "-q")
    assert [each["protocol"] for each in json.loads(out)] == ["isbi2012"] * 2


def test_a_report_shows_one_proposal(capsys, files, tmp_path):
    code, _, err = run(capsys, files / "cells.npy", files / "cells.npy", files / "labels.npy", "--report",
                       tmp_path / "r.html")
    assert code == 1
    assert "a report shows one proposal" in err
