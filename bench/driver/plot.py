# SPDX-License-Identifier: MIT
#
# The table as a picture: for each row with several contenders, where each of them stands beside the reference, on a
# logarithmic scale, from its best round to its worst; a bar where the goal is. SVG, with nothing but text and lines.

import math
from html import escape

from .model import OURS

LINE, LEFT, WIDTH, RIGHT, TOP = 26, 400, 620, 190, 70
LEAST, MOST = 0.05, 20.0
COLOURS = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#ff7f0e", "#17becf")


def _x(ratio):
    inside = min(max(ratio, LEAST), MOST)
    return LEFT + WIDTH * (math.log(inside) - math.log(LEAST)) / (math.log(MOST) - math.log(LEAST))


def _colours(all_shown):
    """The same contender has the same colour in all rows. Ours are black, and of those the first is filled."""
    names = dict.fromkeys(name for shown in all_shown for name in shown.values)
    others = [name for name in names if not name.startswith(OURS)]
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)}
    return colours | {name: "#000000" for name in names if name.startswith(OURS)}


def _text(x, y, words, anchor="start", colour="#000000"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _line(x1, y1, x2, y2, colour, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _dot(x, y, name, colour, title):
    filled = "#ffffff" if name.startswith(OURS) and name != OURS else colour
    return (f'<circle cx="{x:.1f}" cy="{y}" r="4.5" fill="{filled}" stroke="{colour}">'
            f"<title>{escape(title)}</title></circle>")


def _row(shown, y, colours):
    yield _text(LEFT - 12, y + 4, shown.row.title, "end")
    base = shown.figure[shown.reference]
    for name, values in shown.values.items():
        colour = colours[name]
        yield _line(_x(min(values) / base), y, _x(max(values) / base), y, colour, 1.5)
        yield _dot(_x(shown.ratio(name)), y, name, colour, f"{name}: {shown.ratio(name):.2f}")
    for verdict in shown.verdicts:
        if verdict.goal.ours == OURS:
            at = _x(verdict.limit / base)
            yield _line(at, y - 10, at, y + 10, "#008000" if verdict.met else "#e00000", 3)


def _scale(height):
    for ratio in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20):
        yield _line(_x(ratio), TOP - 18, _x(ratio), height - 16, "#000000" if ratio == 1 else "#dddddd")
        yield _text(_x(ratio), TOP - 24, f"{ratio:g}", "middle")


def _legend(colours):
    for number, (name, colour) in enumerate(colours.items()):
        y = TOP + number * 20
        yield _dot(LEFT + WIDTH + 30, y, name, colour, name)
        yield _text(LEFT + WIDTH + 42, y + 4, name)


def svg(all_shown):
    rows = [shown for shown in all_shown if len(shown.values) > 1]
    colours = _colours(rows)
    height = TOP + max(len(rows), len(colours)) * LINE + 20
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             _text(LEFT, 20, "times the reference; a bar is the goal of ours, green where it is met")]
    lines += _scale(height)
    for number, shown in enumerate(rows):
        lines += _row(shown, TOP + number * LINE, colours)
    lines += _legend(colours)
    return "\n".join(lines + ["</svg>", ""])
