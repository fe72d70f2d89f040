"""The package as it is installed: its list, its layers, what an import costs."""

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

LAYERS = [
    {"tiler.errors", "tiler.geometry", "tiler.version", "tiler.machine", "tiler.stores"},
    {"tiler.ports"},
    {"tiler.jobs.read_mirrored", "tiler.planning.reads", "tiler.planning.reduction_grid", "tiler.planning.blend_windows",
     "tiler.planning.tile_choice", "tiler.planning.workload", "tiler.planning.plan", "tiler.planning.resolve", "tiler.running.journal", "tiler.bounded_map",
     "tiler.planning.block_order", "tiler.sources.cached", "tiler.planning.speed", "tiler.sources",
     "tiler.sinks", "tiler.metrics", "tiler.testing"},
    {"tiler.jobs.segment", "tiler.jobs.slice_scaling", "tiler.jobs.statistics", "tiler.jobs.reduce",
     "tiler.jobs.blend", "tiler.jobs.seams", "tiler.jobs.instances", "tiler.report"},
    {"tiler.executors"},
    {"tiler.running.run_spec", "tiler.running.stages", "tiler.options", "tiler.running.output_state"},
    {"tiler.opening", "tiler.running.start", "tiler.running.lazy_array", "tiler.checking.recompute", "tiler.checking.verify", "tiler.evaluation",
     "tiler.viewing"},
    {"tiler.api"},
    {"tiler.napari_plugin"},
    {"tiler"},
]
LEAVES = {"tiler.sources": {"tiler.errors", "tiler.geometry", "tiler.ports", "tiler.stores", "tiler.stores.address"},
          "tiler.sinks": {"tiler.errors", "tiler.geometry", "tiler.ports", "tiler.stores", "tiler.stores.address",
                          "tiler.stores.label_places"},
          "tiler.stores": {"tiler.errors"},
          "tiler.metrics": {"tiler.errors", "tiler.geometry", "tiler.ports"}}


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


def layer_of(module):
    for number, layer in enumerate(LAYERS):
        if module in layer or any(module.startswith(f"{name}.") for name in layer if name != "tiler"):
            return number
    raise AssertionError(f"{module} has no layer: give it one in LAYERS")


def engine():
    return [(name, file) for name, file in modules() if not name.startswith(("tiler.models", "tiler.cli"))]


@pytest.mark.parametrize(("name", "file"), engine(), ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_a_module_imports_only_from_the_layers_below_its_own(name, file):
    own = ".".join(name.split(".")[:2])
    for target in imported(file):
        if not target.startswith("tiler.") or target.startswith(f"{own}.") or target == own:
            continue
        assert layer_of(target) <= layer_of(name), f"{name} imports {target}"
        if own in LEAVES:
            assert target in LEAVES[own], f"{name} imports {target}: formats and metrics know no engine"


@pytest.mark.parametrize(("name", "file"), engine(), ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_the_engine_never_imports_torch_or_click(name, file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for target in names:
            assert target.split(".")[0] not in {"torch", "click"}, f"{name} imports {target}"
            assert not target.startswith(("tiler.models", "tiler.cli")), f"{name} imports {target}"


def test_nothing_imports_the_command_line():
    for name, file in modules():
        if not name.startswith("tiler.cli"):
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
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_the_names_of_modules_are_not_those_of_public_functions():
    import tiler

    for name in tiler.__all__:
        assert not (ROOT / "tiler" / f"{name}.py").exists(), name


def test_the_top_level_holds_what_the_design_card_names():
    allowed = {"pyproject.toml", "README.md", "tiler", "models", "cli", "tests", "data_samples", "LICENSE",
               "constraints.txt", ".ci", ".gitignore"}
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
