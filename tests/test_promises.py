"""The pages of DESIGN.md that promise something name a test for each sentence: those tests exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DESIGN = TESTS.parent / "tiler" / "DESIGN.md"
PAGES = ("What tiler promises about its inputs", "What tiler promises about its outputs")


def promises():
    """The items of both pages."""
    sections = dict(part.split("\n", 1) for part in DESIGN.read_text().split("\n## ")[1:])
    return [" ".join(item.split()) for page in PAGES for item in re.split(r"\n- ", sections[page])[1:]]


def functions_of(file):
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


FILES = {file.stem: functions_of(file) for file in TESTS.rglob("test_*.py")}
FOLDERS = {f"tests/{file.parent.relative_to(TESTS)}" for file in TESTS.rglob("test_*.py")}


def named_in(item):
    """Modules and functions of tests that an item names, its folders left out."""
    return re.findall(r"`(?:tests/[\w/]*?)?(test_\w+)`", item)


@pytest.mark.parametrize("item", promises(), ids=lambda item: item[:40])
def test_each_promise_names_tests_that_exist(item):
    named = named_in(item)
    folders = re.findall(r"`(tests/\w+)`", item)
    assert named or folders, "a promise that names no test"
    modules = [name for name in named if name in FILES]
    known = set().union(*(FILES[module] for module in modules)) if modules else set().union(*FILES.values())
    assert [name for name in named if name not in FILES and name not in known] == []
    assert [folder for folder in folders if folder not in FOLDERS] == []


def test_the_check_finds_a_promise_without_a_test():
    assert named_in("A promise.") == []
    assert len(promises()) > 25
