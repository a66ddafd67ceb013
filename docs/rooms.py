"""Draw the rooms of the package and which import which: python docs/rooms.py docs/images/rooms.svg.

Every room imports from floors below its own only, as tests/test_layout.py makes sure. Of the arrows, those are left out
that others imply: where a room imports from another by way of a third.
"""

from __future__ import annotations

import ast
import html
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.test_layout import FLOORS, MODULES, PACKAGE, imports, room  # noqa: E402

WIDTH, ROW, HIGH, GAP = 1240, 108, 62, 14
WAY = ("photos", "detectors", "faces", "methods", "engine", "pipeline", "evaluation", "verdicts", "report")
"""Where a photo comes through on its way to the report."""
LEFT_OUT = ("__init__", "__main__", "metrics")


def summary(name: str) -> str:
    """Return what a room is for: the first sentence of its docstring."""
    path = PACKAGE / name / "__init__.py" if (PACKAGE / name).is_dir() else PACKAGE / f"{name}.py"
    said = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(said.replace("`", "").split()).split(". ")[0].rstrip(".")


def arrows(rooms: set[str]) -> list[tuple[str, str]]:
    """Return who imports whom, without what follows from the others."""
    needs: dict[str, set[str]] = {name: set() for name in rooms}
    for each in imports():
        source, target = room(each.source), room(each.target)
        if each.kind != "types" and each.target in MODULES and source != target and {source, target} <= rooms:
            needs[source].add(target)

    def reach(name: str) -> set[str]:
        return needs[name].union(*map(reach, needs[name])) if needs[name] else set()

    return [
        (source, target)
        for source, targets in needs.items()
        for target in targets
        if not any(target in reach(other) for other in targets - {target})
    ]


def draw() -> str:
    """Return the picture as SVG."""
    floors = [[name for name in line.split() if name not in LEFT_OUT] for line in FLOORS]
    floors = [line for line in floors if line][::-1]
    height = ROW * len(floors) + 20
    boxes: dict[str, tuple[float, float, float]] = {}
    for number, line in enumerate(floors):
        wide = min(230.0, (WIDTH - GAP * (len(line) + 1)) / len(line))
        left = (WIDTH - len(line) * (wide + GAP) + GAP) / 2
        for place, name in enumerate(line):
            boxes[name] = (left + place * (wide + GAP), 10 + number * ROW, wide)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for source, target in sorted(arrows(set(boxes))):
        (x0, y0, w0), (x1, y1, w1) = boxes[source], boxes[target]
        begin, end = (x0 + w0 / 2, y0 + HIGH), (x1 + w1 / 2, y1)
        bend = (end[1] - begin[1]) / 2
        parts.append(
            f'<path d="M{begin[0]:.0f},{begin[1]:.0f} C{begin[0]:.0f},{begin[1] + bend:.0f} '
            f'{end[0]:.0f},{end[1] - bend:.0f} {end[0]:.0f},{end[1]:.0f}" fill="none" stroke="#9aa5b1"/>'
        )
    for name, (x, y, wide) in boxes.items():
        fill, edge = ("#d9f0ec", "#00796b") if name in WAY else ("#f4f6f8", "#9aa5b1")
        parts.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{HIGH}" rx="6" fill="{fill}" stroke="{edge}"/>'
        )
        parts.append(f'<text x="{x + 8:.0f}" y="{y + 17:.0f}" font-size="14" font-weight="bold">{name}</text>')
        lines = textwrap.wrap(summary(name), int(wide / 5.8), max_lines=3, placeholder=" ...")
        parts += [
            f'<text x="{x + 8:.0f}" y="{y + 31 + 12 * number:.0f}" font-size="10">{html.escape(line)}</text>'
            for number, line in enumerate(lines)
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), encoding="utf-8")
