"""A result as one static HTML page, made of a template, a style sheet and a script in this package.

The page loads nothing from a network. Its content security policy allows only pictures inside the file and, by their
hashes, its own script and style sheet. All text that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from tiler.errors import SinkError
from tiler.metrics import Isbi2012Result, Result
from tiler.report.curves import curve_charts
from tiler.report.leaderboard import BOARD, COLUMNS
from tiler.report.pictures import KINDS, Viewer
from tiler.report.scores import SCORES, shown
from tiler.stores.durable import replace_durably
from tiler.version import __version__

CARDS = ("v_rand_thinned", "v_info_thinned", "warping_min_splits_mergers_r20", "rand_error_2012", "pixel_error")
NUMBER = re.compile(r"-|-?[\d.]+|nan")
OWN = "This proposal"
NUMERIC = ' class="number"'


def write_page(path: str | os.PathLike[str], result: Result, facts: Mapping[str, Any],
               remarks: Sequence[str] = (), viewer: Viewer | None = None) -> None:
    """Write a result as one HTML file.

    Parameters
    ----------
    path
        The file to write; an older one is replaced in one step.
    result
        The scores.
    facts
        JSON that names proposal, labels, mask and region.
    remarks
        Remarks that readers need before they quote the scores.
    viewer
        Slices to show, or None.

    Raises
    ------
    SinkError
        The file cannot be written.
    """
    try:
        replace_durably(Path(path), page(result, facts, remarks, viewer).encode())
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error} (`report`)") from error


def page(result: Result, facts: Mapping[str, Any], remarks: Sequence[str], viewer: Viewer | None) -> str:
    """Return the page as text; parameters as for `write_page`."""
    style, script = _asset("report.css"), _asset("report.js") if viewer else ""
    isbi = result if isinstance(result, Isbi2012Result) else None
    return _filled(_asset("report.html"), {
        "policy": _policy(style, script),
        "title": escape(f"{Path(str(facts['proposal'])).name}: {result.protocol}"),
        "style": style,
        "heading": escape(Path(str(facts["proposal"])).name),
        "protocol": escape(result.protocol),
        "facts": _facts(facts),
        "remarks": "".join(f"<li>{escape(remark)}</li>" for remark in remarks),
        "cards": _cards(result, isbi),
        "scores": _scores(result, isbi),
        "details": "" if isbi else _per_class(result),
        "board": _board(isbi) if isbi else "",
        "curves": _curves(isbi) if isbi else "",
        "viewer": _viewer(viewer) if viewer else "",
        "version": escape(__version__),
        "data": "" if viewer is None else f'<script type="application/json" id="data">{_data(viewer)}</script>',
        "script": f"<script>{script}</script>" if script else "",
    })


def _asset(name: str) -> str:
    return (files("tiler.report") / name).read_text(encoding="utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Fill a template in one pass, so that braces inside the parts are left alone."""
    return re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], template)


def _policy(style: str, script: str) -> str:
    sources = {"style-src": style, "script-src": script}
    hashes = "; ".join(f"{name} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                       for name, text in sources.items() if text)
    return f"default-src 'none'; img-src data:; {hashes}"


def _data(viewer: Viewer) -> str:
    """Return JSON for a script element; "<" is escaped so that no text can close the element."""
    return json.dumps(viewer.to_json(), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _facts(facts: Mapping[str, Any]) -> str:
    start, stop = facts["region"]
    axes = ", ".join(f"{axis} {a}:{b}" for axis, a, b in zip("zyx", start, stop, strict=True))
    rows = {"Proposal": facts["proposal"], "Truth": facts["labels"], "Mask": facts.get("mask"),
            "Compared": f"{' x '.join(str(b - a) for a, b in zip(start, stop, strict=True))} voxels ({axes})"}
    return "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in rows.items() if value)


def _cards(result: Result, isbi: Isbi2012Result | None) -> str:
    scores = result.headline()
    chosen = CARDS if isbi else tuple(scores)[:5]
    return "".join(
        f'<div class="card{_doubt(isbi, name)}"><span>{escape(SCORES[name].title)}</span>'
        f"<strong>{_number(scores[name])}</strong><small>{SCORES[name].better} is better{_at(isbi, name)}</small></div>"
        for name in chosen)


def _doubt(isbi: Isbi2012Result | None, name: str) -> str:
    """The class of a score that means nothing: at its threshold nearly all of the proposal is one colour."""
    return " doubtful" if isbi is not None and _is_degenerate(isbi, name) else ""


def _is_degenerate(isbi: Isbi2012Result, name: str) -> bool:
    reached = isbi.thresholds_reached[name]
    return reached is None or isbi.is_degenerate(reached)


def _at(isbi: Isbi2012Result | None, name: str) -> str:
    if isbi is None:
        return ""
    doubt = ", where nearly all is one colour: it means nothing" if _is_degenerate(isbi, name) else ""
    return f", at {shown(isbi.thresholds_reached[name])}{doubt}"


def _number(value: float) -> str:
    return f"{value:.6f}" if 0 < abs(value) < 0.01 else f"{value:.4f}"


def _scores(result: Result, isbi: Isbi2012Result | None) -> str:
    head = ("Score", "Value", *(("Threshold",) if isbi else ()), "Better", "What it is")
    rows = []
    for name, value in result.headline().items():
        threshold = [shown(isbi.thresholds_reached[name])] if isbi else []
        cells = [f"{value:.6f}", *threshold, SCORES[name].better, SCORES[name].meaning]
        rows.append((f'{escape(SCORES[name].title)}<br><code>{escape(name)}</code>', cells))
    return _table("All scores", head, rows)


def _per_class(result: Result) -> str:
    """Return a table with a row for each class, or nothing if the protocol has no classes."""
    found = result.details().get("per_class")
    if not isinstance(found, Mapping):
        return ""
    columns = list(next(iter(found.values())))
    rows = [(escape(str(name)), [f"{values[column]:.6f}" for column in columns]) for name, values in found.items()]
    made = _table("Scores of each class", ("Class", *columns), rows)
    return f'<section aria-labelledby="classes"><h2 id="classes">Classes</h2>{made}</section>'


def _table(caption: str, head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table; the first cell of a row is HTML, the others are text, with numbers aligned right."""
    rows = list(rows)
    numeric = [False, *(bool(NUMBER.fullmatch(cell)) for cell in rows[0][1])]
    top = "".join(f'<th scope="col"{NUMERIC if right else ""}>{escape(cell)}</th>'
                  for cell, right in zip(head, numeric, strict=True))
    body = "".join(f'<tr><th scope="row">{name}</th>{"".join(map(_cell, cells))}</tr>' for name, cells in rows)
    return (f'<div class="scroll"><table><caption class="quiet">{escape(caption)}</caption><thead><tr>{top}</tr>'
            f"</thead><tbody>{body}</tbody></table></div>")


def _cell(text: str) -> str:
    return f"<td{NUMERIC if NUMBER.fullmatch(text) else ''}>{escape(text)}</td>"


def _board(isbi: Isbi2012Result) -> str:
    """The published rows with this proposal among them, by warping error as on the board.

    Thresholds at which nearly all of the proposal is one colour do not count: they leave no splits and no mergers.
    """
    best = [isbi.sound_best(name) for name in COLUMNS.values()]
    own = tuple(math.inf if reached is None else value for value, reached in best)
    rows = [((entry.warping, entry.rand, entry.pixel), entry.rank, entry.group) for entry in BOARD]
    body = "".join(_board_row(*row) for row in sorted([*rows, (own, None, OWN)], key=lambda row: row[0]))
    return _filled(_asset("board.html"), {"rows": body})


def _board_row(errors: tuple[float, ...], rank: int | None, name: str) -> str:
    """One row; an error that was reached at no sound threshold is a dash."""
    cells = "".join(f'<td class="number">{"-" if math.isinf(error) else f"{error:.{digits}f}"}</td>'
                    for error, digits in zip(errors, (6, 4, 4), strict=True))
    return (f'<tr{" class=own" if name == OWN else ""}><td class="number">{"" if rank is None else rank}</td>'
            f'<th scope="row">{escape(name)}</th>{cells}</tr>')


def _curves(isbi: Isbi2012Result) -> str:
    return ('<section aria-labelledby="curves"><h2 id="curves">Scores over the threshold</h2>'
            "<p>The proposal is cut at eleven thresholds. A ring marks where each score is best; every chart has a "
            "scale of its own around it, and steep ends leave the chart.</p>"
            f'<div class="curves">{curve_charts(isbi)}</div></section>')


def _viewer(viewer: Viewer) -> str:
    panels = [("image", "Image")] if viewer.slices[0]["image"] else []
    panels += [("proposal", "Proposal"), ("truth", "Truth")]
    figures = "".join(
        f'<figure class="panel"><figcaption>{title}</figcaption><canvas data-layer="{layer}" width="{viewer.shape[1]}" '
        f'height="{viewer.shape[0]}" role="img" aria-label="{title}"></canvas></figure>' for layer, title in panels)
    kinds = "".join(
        f'<label class="kind" title="{escape(meaning)}"><input type="checkbox" checked data-kind="{number}">'
        f'<i class="swatch" data-swatch="{number}"></i>{escape(name)} <span class="count" data-count="{number}"></span>'
        "</label>" for number, (name, meaning, _) in enumerate(KINDS.values()))
    return _filled(_asset("viewer.html"), {
        "panels": figures, "kinds": kinds, "threshold": shown(viewer.threshold), "last": str(len(viewer.slices) - 1),
        "slices": _kept(viewer)})


def _kept(viewer: Viewer) -> str:
    """Say which slices and errors were left out to keep the file small."""
    said = []
    if len(viewer.slices) < viewer.depth:
        said.append(f"Of {viewer.depth} slices the {len(viewer.slices)} with the most mismatches are shown.")
    if viewer.missing:
        said.append(f"The {viewer.missing} smallest errors are not listed.")
    return " ".join(said)
