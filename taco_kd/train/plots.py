"""Curves in characters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a Braille character: [column][row]


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Means of ``width`` parts of the values, from the lowest to the highest.

    >>> sparkline([1, 2, 3, 4, 5, 6, 7, 8])
    '▁▂▃▄▅▆▇█'
    >>> sparkline([2, 2]), sparkline([])
    ('▄▄', '')
    """
    means = _means(values, width)
    if not means:
        return ""
    low, high = min(means), max(means)
    if high == low:
        return BLOCKS[3] * len(means)
    return "".join(BLOCKS[min(7, int(8 * (value - low) / (high - low)))] for value in means)


def plot(
    steps: Sequence[int], values: Sequence[float], *, width: int = 60, height: int = 8, form: str = "{:.3g}"
) -> list[str]:
    """Lines of a plot of dots, ``width`` by ``height`` characters beside an axis; empty without values.

    >>> for line in plot([0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0], width=4, height=2): print(line)
    3 ┤  ⡠⠊
    0 ┤⡠⠊
      └────
       0  3
    """
    points = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
    if not points:
        return []
    low, high = min(v for _, v in points), max(v for _, v in points)
    first, last = points[0][0], points[-1][0]
    cells = [[0] * width for _ in range(height)]
    before: tuple[int, int] | None = None
    for x, y in _columns(points, 2 * width, first, last, low, high, 4 * height):
        for at_x, at_y in _between(before, (x, y)):
            cells[at_y // 4][at_x // 2] |= _DOTS[at_x % 2][at_y % 4]
        before = (x, y)
    ends = {0: form.format(high), height - 1: form.format(low)}
    margin = max(map(len, ends.values()))
    lines = []
    for place, row in enumerate(cells):
        dots = "".join(chr(0x2800 + cell) if cell else " " for cell in row)
        lines.append(f"{ends.get(place, ''):>{margin}} {'┤' if place in ends else '│'}{dots}".rstrip())
    left, right = f"{first:,}", f"{last:,}"
    axis = f"{left}{right:>{max(0, width - len(left))}}" if last > first else left
    return [*lines, f"{'':{margin}} └{'─' * width}", f"{'':{margin}}  {axis}"]


def _columns(
    points: Sequence[tuple[int, float]],
    columns: int,
    first: int,
    last: int,
    low: float,
    high: float,
    rows: int,
) -> list[tuple[int, int]]:
    """Places of the means of all points that fall into the same column of dots."""
    found: dict[int, list[float]] = {}
    for step, value in points:
        x = round((columns - 1) * (step - first) / (last - first)) if last > first else 0
        found.setdefault(x, []).append(value)
    spread = high - low
    places = []
    for x, group in sorted(found.items()):
        mean = sum(group) / len(group)
        share = (mean - low) / spread if spread > 0 else 0.5
        places.append((x, round((rows - 1) * (1 - share))))
    return places


def _between(start: tuple[int, int] | None, end: tuple[int, int]) -> list[tuple[int, int]]:
    """Dots of a straight line that ends at ``end``."""
    if start is None:
        return [end]
    (x0, y0), (x1, y1) = start, end
    count = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [
        (round(x0 + (x1 - x0) * i / count), round(y0 + (y1 - y0) * i / count)) for i in range(1, count + 1)
    ]


def _means(values: Sequence[float], width: int) -> list[float]:
    finite = [v for v in values if math.isfinite(v)]
    if len(finite) <= width:
        return finite
    edges = [round(i * len(finite) / width) for i in range(width + 1)]
    return [sum(finite[a:b]) / (b - a) for a, b in pairwise(edges) if b > a]
