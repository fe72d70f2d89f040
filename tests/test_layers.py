"""The order of the house: a module imports only from rooms above its own, wherever in the file the import stands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = """
errors machine version bounded_map activity
geometry stores
ports
options planning sources sinks metrics testing
objects
jobs executors report
opening evaluation
running viewing
checking
api
napari_plugin
"""
"""Rooms of ``tiler/``: each line imports only from the lines above it."""

MODELS = {"aten", "cropping", "exporting", "inference", "loading", "losses", "predictor", "probe", "training", "zoo"}
"""Rooms of ``models/``."""

LOOSE = {"tiler": 8, "models": 4}
"""How many modules may stand beside the rooms."""

LEAVES = {"stores": {"errors"}, "metrics": {"errors", "geometry", "machine", "ports"},
          "sources": {"errors", "geometry", "ports", "stores"}, "sinks": {"errors", "geometry", "ports", "stores"}}
"""Rooms that know less than their line allows: formats and metrics know no engine."""

DOORS = {ROOT / "tiler" / "__init__.py", ROOT / "tiler" / "__main__.py"}
"""The package itself, and ``python -m tiler``: they may import anything."""

FLOOR = {room: floor for floor, line in enumerate(ORDER.strip().splitlines()) for room in line.split()}


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def room_of(file):
    return file.relative_to(ROOT / "tiler").parts[0].removesuffix(".py")


def imported(tree):
    """Every module that a file names: in imports at any depth, and as text given to ``import_module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ([f"tiler.{alias.name}" for alias in node.names] if node.module == "tiler" else [node.module])
        elif isinstance(node, ast.Call) and _name(node.func) == "import_module" and node.args:
            yield _text(node.args[0])


def _name(function):
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _text(argument):
    """A literal, or the beginning of an f-string; "" if the text is known only at run time."""
    if isinstance(argument, ast.JoinedStr):
        argument = argument.values[0]
    return argument.value if isinstance(argument, ast.Constant) else ""


def violations(room, tree):
    """Imports of ``tiler`` from a room's own floor or below, or from outside what a leaf may know."""
    for target in imported(tree):
        if not target.startswith("tiler."):
            continue
        other = target.split(".")[1]
        if other in (room, "TilerError", "__version__"):
            continue
        allowed = other in LEAVES[room] if room in LEAVES else FLOOR.get(other, 99) < FLOOR[room]
        if not allowed and not _opens_models(room, target):
            yield target


def _opens_models(room, target):
    """Torch is opened at one door, by text; the napari plugin lists the registry, which imports no torch."""
    return target.startswith("tiler.models.") and room in ("opening", "napari_plugin")


@pytest.mark.parametrize("file", files("tiler"), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_from_the_floors_above(file):
    if file in DOORS:
        return
    assert not list(violations(room_of(file), ast.parse(file.read_text())))


@pytest.mark.parametrize("code", [
    "from tiler.running import start", "def late():\n    import tiler.api", "import_module('tiler.checking.verify')",
    "importlib.import_module(f'tiler.sinks.{name}')", "from tiler import jobs"])
def test_the_walk_sees_every_kind_of_import(code):
    assert list(violations("planning", ast.parse(code)))


def test_every_room_of_the_engine_has_a_floor():
    assert {room_of(file) for file in files("tiler")} - {"__init__", "__main__"} == set(FLOOR)


def test_the_rooms_of_models_are_these():
    assert {file.parent.name for file in (ROOT / "models").glob("*/*.py")} == MODELS


@pytest.mark.parametrize("folder", sorted(LOOSE))
def test_few_modules_stand_beside_the_rooms(folder):
    assert len(list((ROOT / folder).glob("*.py"))) <= LOOSE[folder]


def test_no_modules_need_each_other():
    every = {name: file for folder, package in (("tiler", "tiler"), ("models", "tiler.models"))
             for file in files(folder) for name in [_dotted(file, folder, package)]}
    graph = {name: set(needed_on_import(ast.parse(file.read_text()), every)) for name, file in every.items()}
    assert not cycle(graph)


def test_a_cycle_is_seen():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}


def _dotted(file, folder, package):
    parts = file.relative_to(ROOT / folder).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


def needed_on_import(tree, every):
    """Modules named at the top level of a file; those inside functions wait, and cannot tie a knot."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in every)
        elif isinstance(node, ast.ImportFrom):
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                found = name if name in every else node.module
                if found in every:
                    yield found


def cycle(graph):
    """Modules on a cycle or above one: those left after repeatedly removing modules without remaining imports."""
    left = dict(graph)
    while free := [name for name, targets in left.items() if not targets & set(left) - {name}]:
        for name in free:
            del left[name]
    return set(left)
