"""The installed package: its list of packages, its contents, and the cost of an import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"tiler": ROOT / "tiler", "tiler.models": ROOT / "models", "tiler.cli": ROOT / "cli"}

def modules():
    """Every module of the distribution with its file."""
    for package, folder in FOLDERS.items():
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), file


def imported(file):
    """Modules that a file names in imports at its top level."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield node.module


def engine():
    return [(name, file) for name, file in modules()
            if not name.startswith(("tiler.models", "tiler.cli")) and name != "tiler.__main__"]


@pytest.mark.parametrize(("name", "file"), engine(), ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_the_engine_never_imports_torch_or_click(name, file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for target in names:
            assert target.split(".")[0] not in {"torch", "click"}, f"{name} imports {target}"
            assert not target.startswith(("tiler.models", "tiler.cli")), f"{name} imports {target}"


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "tiler", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tiler")


def test_the_name_of_the_distribution_is_a_command_too():
    assert PROJECT["project"]["scripts"] == {"tiler": "tiler.cli.main:main", "em-tiler": "tiler.cli.main:main"}


def test_nothing_imports_the_command_line():
    for name, file in modules():
        if not name.startswith("tiler.cli") and name != "tiler.__main__":
            assert not any(target.startswith("tiler.cli") for target in imported(file)), name


@pytest.mark.parametrize("statement", [
    "import tiler", "import tiler; tiler.segment", "import tiler.models", "import tiler.models.zoo.endoscopy",
    "from tiler.cli.main import main"])
def test_an_import_is_light(statement):
    heavy = ["torch", "dask", *([] if "cli" in statement else ["click"])]
    code = f"import sys; {statement}; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_package_list_is_that_of_the_tree():
    found = set()
    for package, folder in FOLDERS.items():
        for init in folder.rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(folder).parts]))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"tiler.samples"}, "which holds data alone"


def test_the_names_of_modules_are_not_those_of_public_functions():
    import tiler

    for name in tiler.__all__:
        assert not (ROOT / "tiler" / f"{name}.py").exists(), name


def test_the_top_level_holds_what_the_design_card_names():
    allowed = {"pyproject.toml", "README.md", "tiler", "models", "cli", "tests", "data_samples", "LICENSE",
               "constraints.txt", ".ci", ".gitignore", ".github", "CITATION.cff"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    assert {line.split("/")[0] for line in tracked.splitlines()} <= allowed


def test_the_tested_versions_satisfy_the_requirements():
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    wanted = [*PROJECT["project"]["dependencies"],
              *(need for extra in PROJECT["project"]["optional-dependencies"].values() for need in extra)]
    for need in wanted:
        name, low = re.match(r"([\w-]+)(?:\[.*?\])?(?:>=([\d.]+))?", need).groups()
        if name == "em-tiler":
            continue
        assert name in pinned, f"{name} is not pinned in constraints.txt"
        assert [*map(int, re.findall(r"\d+", pinned[name]))] >= [*map(int, low.split("."))], name


def test_the_conda_recipe_asks_for_what_the_package_needs():
    recipe = (ROOT / ".ci" / "conda-recipe.yaml").read_text()
    for need in PROJECT["project"]["dependencies"]:
        assert f"- {need.replace('torch', 'pytorch').replace('>=', ' >=')}\n" in recipe, need


def test_the_plain_formats_need_no_extra(tmp_path):
    """The environment of the tests has every extra; that of the README's first command has none."""
    optional = ("tensorstore", "obstore", "h5py", "dask", "distributed", "pyarrow", "roifile", "onnx", "openvino",
                "neuroglancer", "bioimageio", "mrcfile")
    code = ("import sys\n"
            f"sys.modules.update(dict.fromkeys({optional}))\n"  # None: an import of it fails
            "import numpy as np, tiler\n"
            "from tiler.testing.predictors import PoolingNet\n"
            "for name in ('a.zarr', 'a.tif', 'a.npy'):\n"
            "    tiler.segment(np.zeros((2, 20, 20), np.uint8), PoolingNet(), name)\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
