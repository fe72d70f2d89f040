"""`tiler doctor`: what it finds here, and what it says where something is missing."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from tiler.models import installation
from tiler.models.installation import examine, folder_at, packages_of
from tiler.version import __version__


@pytest.fixture(scope="module")
def found():
    return examine()


@pytest.fixture
def doctor(tiler, monkeypatch):
    """The command, which finds what it is given."""

    def call(found, *arguments):
        monkeypatch.setattr(installation, "examine", lambda: found)
        return tiler("doctor", *arguments)

    return call


def changed(found, **changes):
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return type(found)(**{**values, **changes})


def test_what_is_here_is_found(found):
    assert found.versions["tiler"] == __version__
    assert {"numpy", "torch", "zarr"} <= {package.name for package in found.packages}
    assert found.machine.cores >= 1
    assert found.machine.memory >= found.machine.memory_available > 0
    assert "float32" in found.backends["torch"].precisions
    assert found.backends["onnxruntime"].precisions in [("float32",), ()]
    assert all(folder.writable and folder.free > 0 for folder in found.folders.values())


def test_it_is_told_as_text_and_as_json(doctor, found):
    sound = changed(found, packages=())
    text = doctor(sound)
    assert (text.code, text.err) == (0, "")
    assert text.out.endswith("\nsound\n")
    assert re.search(r"^  torch +\S+", doctor(found).out, re.M)
    told = json.loads(doctor(sound, "--json").out)
    assert told["sound"]
    assert told["backends"]["torch"]["precisions"][0] == "float32"


@pytest.mark.parametrize(("requirement", "words"), [
    ("no-such-package>=2.1", "no-such-package is missing: tiler needs no-such-package>=2.1 (pip install"),
    ("numpy>=99", f"numpy {metadata.version('numpy')}: tiler needs numpy>=99"),
])
def test_what_is_required_and_not_there_is_wrong(doctor, found, requirement, words):
    broken = changed(found, packages=packages_of([requirement]))
    outcome = doctor(broken)
    assert outcome.code == 1
    assert f"WRONG: {words}" in outcome.out
    assert "\nsound" not in outcome.out
    assert not json.loads(doctor(broken, "--json").out)["sound"]


def test_extras_that_are_missing_are_no_fault_and_say_how_to_install_them(doctor, found):
    requirements = ["numpy>=1", "no-such-package>=2; extra == 'odd'", "click>=8; extra == 'here'"]
    extras = {name: installation.Extra(packages_of(requirements, name), f"pip install 'em-tiler[{name}]'")
              for name in ("odd", "here")}
    assert [package.name for package in packages_of(requirements)] == ["numpy"]
    outcome = doctor(changed(found, packages=(), extras=extras))
    assert outcome.code == 0
    assert re.search(r"^  odd +no-such-package missing: pip install 'em-tiler\[odd\]'$", outcome.out, re.M)
    assert re.search(r"^  installed +here$", outcome.out, re.M)


def test_a_package_that_came_with_another_distribution_is_there(monkeypatch):
    def version(name):
        if name != "onnxruntime-gpu":
            raise metadata.PackageNotFoundError(name)
        return "1.31.1"

    monkeypatch.setattr(installation.metadata, "version", version)
    assert [package.installed for package in packages_of(["onnxruntime>=1.20", "torch"])] == ["1.31.1", None]


def test_a_folder_that_cannot_be_written_is_found(doctor, found):
    there_is_none = folder_at(Path("/proc"))
    assert not there_is_none.writable
    outcome = doctor(changed(found, packages=(), folders={**found.folders, "temporary": there_is_none}))
    assert outcome.code == 1
    assert "/proc cannot be written: set TMPDIR" in outcome.out


def test_backends_that_cannot_be_used_say_why(found, monkeypatch):
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setitem(installation.backends.MODULES, "openvino", "tiler.models.inference.backends.no_such_module")
    here = examine()
    assert "C++ compiler" in here.backends["compile"].note
    assert here.backends["openvino"].version is None
    assert "pip install 'em-tiler[openvino]'" in here.backends["openvino"].note


def test_where_compiled_code_cannot_be_kept_it_says_so(doctor, found):
    assert "NUMBA_CACHE_DIR" in doctor(changed(found, packages=(), numba_cache=None)).out
