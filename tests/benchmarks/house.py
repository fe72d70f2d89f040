"""The size and the habits of the code: lines, functions, files, import cycles, and words that the house avoids.

    python tests/benchmarks/house.py [--list NAME]

Reads the files of tiler/, models/ and cli/ and runs none of them: a second. ``--list`` prints where a figure comes
from, for example ``--list of`` or ``--list flags``.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"tiler": "tiler", "models": "tiler.models", "cli": "tiler.cli"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OUTPUTS = '"(?:probabilities|labels|instances)"'
ADDRESS = re.compile(r"isinstance\([^()]*(?:\([^()]*\))?[^()]*\bAddress\b")


@dataclass(frozen=True)
class Code:
    """One file: its path below the repository, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def read_packages() -> list[Code]:
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [Code(str(file.relative_to(ROOT)), text, ast.parse(text)) for file in files
            for text in [file.read_text()]]


def functions(code: Code) -> Iterator[tuple[str, int]]:
    """Name and lines of the body of every function, nested ones included; signature and docstring do not count."""
    for node in ast.walk(code.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield f"{code.path}:{node.lineno} {node.name}", lines


def matching(every: list[Code], pattern: str) -> list[str]:
    """Lines that match, as ``path:number text``."""
    return [f"{code.path}:{number} {line.strip()}" for code in every
            for number, line in enumerate(code.lines, 1) if re.search(pattern, line)]


def files_of(places: list[str]) -> int:
    return len({place.split(":")[0] for place in places})


def docstrings_with_what(every: list[Code]) -> list[str]:
    """Docstrings, and the texts below module constants, that begin with "What"."""
    found = []
    for code in every:
        for node in ast.walk(code.tree):
            text = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
            if isinstance(text, str) and re.match(r"\s*What\b", text):
                found.append(f"{code.path}:{node.lineno} {text.strip().splitlines()[0]}")
    return found


def modules(every: list[Code]) -> dict[str, Code]:
    """Importable names and their files."""
    named = {}
    for code in every:
        folder, *parts = Path(code.path).with_suffix("").parts
        named[".".join([PACKAGES[folder], *(part for part in parts if part != "__init__")])] = code
    return named


def imports_at_load(code: Code, named: dict[str, Code]) -> Iterator[str]:
    for node in code.tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in named)
        elif isinstance(node, ast.ImportFrom):
            for full in (f"{node.module}.{alias.name}" for alias in node.names):
                yield from [name for name in (full, node.module) if name in named][:1]


def cycles(every: list[Code]) -> list[str]:
    """Modules on an import cycle or above one."""
    named = modules(every)
    left = {name: set(imports_at_load(code, named)) - {name} for name, code in named.items()}
    while free := [name for name, needed in left.items() if not needed & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


def findings(every: list[Code]) -> dict[str, list[str]]:
    """Places behind each figure that counts places."""
    return {
        "cycles": cycles(every),
        "kind": matching(every, rf"\bkind [!=]= {OUTPUTS}|\bkind (?:not )?in \({OUTPUTS}"),
        "tiling": matching(every, r'[!=]= "(?:exact|blend|whole)"'),
        "address": matching(every, ADDRESS.pattern),
        "of": matching(every, r"^ +Of\b"),
        "what": docstrings_with_what(every),
        "flags": [place for place in matching(every, FLAG.pattern) if not place.startswith("cli/")],
    }


def table(every: list[Code], found: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Rows of figure, value and limit."""
    lengths = sorted(length for code in every for _, length in functions(code))
    sizes = sorted(((len(code.lines), code.path) for code in every), reverse=True)
    ninetieth = lengths[int(0.9 * (len(lengths) - 1))]
    lines = {package: sum(size for size, path in sizes if path.startswith(package + "/")) for package in PACKAGES}
    return [
        ("lines of code, comments and docstrings", f"{sum(lines.values()):,}", "32,350 before new features"),
        *((f"in {package}/", f"{count:,}", "") for package, count in lines.items()),
        ("functions", f"{len(lengths):,}", ""),
        ("lines of a function's body without its docstring: least, median, 90 %, most",
         f"{lengths[0]}, {statistics.median(lengths):g}, {ninetieth}, {lengths[-1]}", "median 3, 90 % 11, most 42"),
        *((f"largest file: {path}", str(size), "309") for size, path in sizes[:5]),
        ("modules on an import cycle", str(len(found["cycles"])), "0"),
        ("files that compare `kind`", str(files_of(found["kind"])), "3"),
        ("files that compare `tiling`", str(files_of(found["tiling"])), "3"),
        ("files with `isinstance(..., Address)`", str(files_of(found["address"])), "3"),
        ('parameter texts that begin with "Of"', str(len(found["of"])), "0"),
        ('docstrings that begin with "What"', str(len(found["what"])), "0"),
        ("lines of tiler/ and models/ that spell a --flag", str(len(found["flags"])), ""),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", metavar="NAME", help="cycles, kind, tiling, address, of, what, flags, functions")
    wanted = parser.parse_args().list
    every = read_packages()
    found = findings(every)
    found["functions"] = [f"{name} {length}" for code in every for name, length in functions(code) if length > 30]
    if wanted:
        print("\n".join(found[wanted]))
        return
    print("| figure | value | limit |\n|---|---|---|")
    for row in table(every, found):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
