"""What the command line prints reaches its reader, or one line says why not; names cannot forge lines."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiler.cli.logs import LogLines, printable, set_up_logging

FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_control_characters_are_spelled():
    assert printable("a\x1b[31mb\x07\u202e\ud800é\n\t") == "a\\x1b[31mb\\x07\\u202e\\ud800é\n\t"


def test_a_name_cannot_forge_a_line_of_the_log():
    lines = LogLines("%(levelname)s %(message)s")
    made = [lines.format(logging.LogRecord("tiler", level, "", 0, "x\n%s\x1b", ("ERROR forged",), None))
            for level in (logging.INFO, logging.DEBUG)]
    assert made == ["INFO x\\nERROR forged\\x1b", "DEBUG x\nERROR forged\\x1b"]


@full_disk
def test_a_log_on_a_full_disk_is_one_warning(capsys):
    root = logging.getLogger()
    before = list(root.handlers)
    set_up_logging(verbose=False, log_file=str(FULL))
    try:
        for number in range(3):
            logging.getLogger("tiler.cli").info("line %d", number)
        assert root.handlers == before
    finally:
        logging.getLogger("tiler").setLevel(logging.NOTSET)
    told = capsys.readouterr().err.splitlines()
    assert told == ["warning: cannot write the log /dev/full: No space left on device; nothing more is written to it"]


@full_disk
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_that_cannot_be_printed_are_one_line(unbuffered):
    with FULL.open("w") as full:
        ran = subprocess.run([sys.executable, "-m", "tiler.cli", "--version"], stdout=full, stderr=subprocess.PIPE,
                             text=True, check=False, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert ran.returncode == 1
    assert ran.stderr == "tiler: cannot write to stdout: No space left on device\n"
