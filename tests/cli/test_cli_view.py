"""`tiler view`: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import webbrowser

import numpy as np
import pytest

pytest.importorskip("neuroglancer", reason="neuroglancer is not installed")


@pytest.fixture
def asked(monkeypatch):
    """The addresses that a browser was asked to open; then the user presses Ctrl-C."""
    asked = []

    def open_browser(address):
        asked.append(address)
        threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
        return True

    monkeypatch.setattr("webbrowser.open", open_browser)
    return asked


def test_the_address_is_printed_and_opened_until_ctrl_c(tiler, asked):
    outcome = tiler("view", "stack.tif")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{asked[0]}\n"
    assert outcome.out.startswith("http://127.0.0.1:")


def test_json_tells_of_the_layers(tiler, folder, asked):
    np.save(folder / "result.npy", np.linspace(0, 1, 61 * 53, dtype=np.float32).reshape(61, 53))
    told = json.loads(tiler("view", "stack.tif", "result.npy", "--json").out)
    assert told == {"address": asked[0], "layers": [{"name": "stack", "kind": "image", "shape": [3, 61, 53]},
                                                    {"name": "result", "kind": "probabilities", "shape": [61, 53]}]}


def test_where_there_is_no_browser_it_says_so_and_goes_on(tiler, asked, monkeypatch):
    opening = webbrowser.open
    monkeypatch.setattr("webbrowser.open", lambda address: opening(address) and False)
    outcome = tiler("view", "stack.tif")
    assert (outcome.code, outcome.err) == (0, "no browser was found: open the address in one\n")


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["no.tif"], 1, "no.tif does not exist"), (["stack.tif", "no.zarr"], 1, "no.zarr does not exist"),
    (["stack.tif", "--axes", "qyx"], 1, "axes"), (["stack.tif", "--port", "70000"], 2, "--port"), ([], 2, "IMAGE")])
def test_what_cannot_be_shown_is_refused_before_anything_is_served(tiler, arguments, code, words):
    outcome = tiler("view", *arguments, "--no-browser")
    assert outcome.code == code
    assert words in outcome.lines[-1]
    assert outcome.out == ""


def test_without_the_package_it_says_what_to_install(tiler, monkeypatch):
    monkeypatch.delitem(sys.modules, "tiler.viewing.server", raising=False)
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    outcome = tiler("view", "stack.tif", "--no-browser")
    assert (outcome.code, outcome.lines) == (
        1, ["tiler: tiler view needs the package neuroglancer: pip install 'em-tiler[view]'"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(folder, number):
    process = subprocess.Popen([sys.executable, "-m", "tiler.cli", "view", "stack.tif", "--no-browser"], cwd=folder,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    time.sleep(0.1)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
