"""Make the links and pictures of the README absolute, so that PyPI shows them: ``python .ci/absolute_links.py``.

The README names files of the repository, as a clone shows them. A release builds from this rewritten copy; the address
comes from `[project.urls]` in pyproject.toml, where OWNER stands for an account that is not chosen yet.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


def absolute(text: str, repository: str) -> str:
    """The text with links to the repository's pages and to the files of its pictures."""

    def target(match: re.Match[str]) -> str:
        picture, title, path = match.groups()
        kind = "raw" if picture else "blob"
        return f"{picture}[{title}]({repository}/{kind}/main/{path})"

    return LINK.sub(target, text)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = ROOT / project["readme"]
    readme.write_text(absolute(readme.read_text(encoding="utf-8"), project["urls"]["Repository"]), encoding="utf-8")


if __name__ == "__main__":
    main()
