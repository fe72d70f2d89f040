"""One small chart for each score over the thresholds (inline SVG, no script needed)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from tiler.metrics import THRESHOLDS, Isbi2012Result
from tiler.metrics.isbi2012_result import HEADLINES
from tiler.report.scores import SCORES, shown

WIDTH, HEIGHT = 260, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 24
REACH = 5  # a chart shows values up to this many median distances from the best


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels of the chart, with round ticks."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], best: float) -> Scale:
        """Choose a scale around the best value; the steep ends, where all is one colour, may lie outside."""
        finite = [value for value in values if math.isfinite(value)]
        away = median(abs(value - best) for value in finite) * REACH if finite else 0.0
        away = away or max((abs(value - best) for value in finite), default=0.0) or abs(best) * 0.1 or 0.1
        near = [value for value in finite if abs(value - best) <= away] + [best]
        margin = (max(near) - min(near)) * 0.1 or away
        return cls(max(0.0, min(near) - margin), max(near) + margin)

    def y(self, value: float) -> float:
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[float]:
        """Return three to six round numbers within the scale."""
        # 0.93 to 0.98: the power is 0.01, steps of 0.05 and 0.02 give one and two ticks, 0.01 gives 0.93, 0.94, ...
        power = 10.0 ** math.floor(math.log10(self.high - self.low))
        for step in (power * 5, power * 2, power, power / 2, power / 5):
            inside = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
            if len(inside) > 2:
                break
        return [k * step for k in inside]


def _x(threshold: float) -> float:
    return LEFT + threshold * (WIDTH - LEFT - RIGHT)


def curve_charts(result: Isbi2012Result) -> str:
    """Draw a figure for each headline score, with its curve and a ring at its best."""
    return "\n".join(_figures(result))


def _figures(result: Isbi2012Result) -> Iterator[str]:
    for name, headline in HEADLINES.items():
        curve = result.curves[headline.curve]
        values = [1 - value for value in curve] if headline.error else list(curve)
        best, reached = result.official[name], result.thresholds_reached[name]
        summary = f"{SCORES[name].title}: {best:.6f}" + ("" if reached is None else f" at threshold {shown(reached)}")
        yield (f'<figure class="curve"><figcaption><b>{escape(SCORES[name].title)}</b> '
               f'<span class="best">{best:.6f}</span></figcaption>{_chart(values, best, reached, summary)}</figure>')


def _chart(values: Sequence[float], best: float, reached: float | None, summary: str) -> str:
    scale = Scale.of(values, best)
    points = [(_x(t), scale.y(v), t, v) for t, v in zip(THRESHOLDS, values, strict=False) if math.isfinite(v)]
    line = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"><title>threshold {shown(t)}: {v:.6f}</title></circle>'
                   for x, y, t, v in points)
    mark = "" if reached is None else (
        f'<line class="at" x1="{_x(reached):.1f}" x2="{_x(reached):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<circle class="best" cx="{_x(reached):.1f}" cy="{scale.y(best):.1f}" r="5"/>')
    x, y, width, height = LEFT - 6, TOP - 6, WIDTH - LEFT - RIGHT + 12, HEIGHT - TOP - BOTTOM + 12
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">{_axes(scale)}'
            f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}">'
            f'{mark}<path d="{line}"/>{dots}</svg></svg>')


def _axes(scale: Scale) -> str:
    rows = "".join(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{scale.y(v):.1f}" y2="{scale.y(v):.1f}"/>'
                   f'<text class="y" x="{LEFT - 6}" y="{scale.y(v) + 3.5:.1f}">{v:.3g}</text>' for v in scale.ticks())
    columns = "".join(f'<text class="x" x="{_x(t):.1f}" y="{HEIGHT - 8}">{t:g}</text>' for t in (0, 0.5, 1))
    return rows + columns
