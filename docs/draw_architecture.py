"""Draw ``docs/architecture.svg``: the packages by floor, and the way of a volume through them.

python docs/draw_architecture.py
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parent / "architecture.svg"
WIDTH, HEIGHT = 1310, 650
LEFT, COLUMN, GAP = 200, 116, 10  # rooms: left edge of the first, width of one, space between
FLOOR, ROOM = 96, 70  # heights
TOP = 66
INK, GREY, BAND, LINE = "#1a1a1a", "#666666", "#f2f3f5", "#b9bec6"
DATA, CORRECTION = "#c8501e", "#1f6fb2"

# From the top: number, what the floor is for, and its rooms as column, width, name, what it does,
# and the number of the step. A room of a step is on the way of the data.
FLOORS = [
    (
        "6",
        ("command line", "and windows"),
        [
            (0, 3, "cli.commands", "top-level scripts, connectome command", ""),
            (3, 2, "proofread.session", "edits, undo, recovery", ""),
            (5, 2, "proofread.viewer", "napari window", ""),
        ],
    ),
    (
        "5",
        ("order of stages,", "files, run log"),
        [(0, 8, "workflows", "pipeline · neurites · connectivity · refine · rebuild · redraw", "")],
    ),
    (
        "4",
        ("sources,", "people, print"),
        [
            (0, 1, "fetch", "EM, uint8", "1"),
            (1, 1, "cli", "flags, reporter", ""),
            (2, 2, "proofread", "merge, split, paint", ""),
            (5, 1, "figures", "PDF, PNG", "9"),
            (6, 2, "report", "one HTML page", "10"),
        ],
    ),
    (
        "3",
        ("results", "and learning"),
        [
            (2, 2, "refine", "forest, U-Net", ""),
            (4, 1, "triage", "doubt", ""),
            (5, 1, "graph", "connections", "8"),
            (6, 1, "evaluate", "scores", ""),
            (7, 1, "runlog", "SQLite", ""),
        ],
    ),
    (
        "2",
        ("stages", "and files"),
        [
            (0, 1, "preprocess", "EM in [0, 1]", "2"),
            (1, 1, "align", "aligned EM", "3"),
            (2, 1, "membranes", "probability", "4"),
            (3, 1, "segment", "supervoxels", "5"),
            (4, 1, "stitch", "neurite ids", "6"),
            (5, 1, "synapses", "candidates", "7"),
            (6, 1, "phantom", "synthetic EM", ""),
            (7, 1, "io", "arrays, tables", ""),
        ],
    ),
    (
        "1",
        ("what everything", "is built on"),
        [
            (0, 6, "core", "volume · parameters · errors · progress · region adjacency", ""),
            (6, 2, "weights", "trained on synthetic EM", ""),
        ],
    ),
]


def text(x: float, y: float, words: str, size: int = 13, **style: str) -> str:
    """Return a line of text."""
    style = {"text_anchor": "middle", "fill": INK, **style}
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{attributes}>{escape(words)}</text>'


def left_of(column: float) -> float:
    """Return the left edge of a column."""
    return LEFT + column * (COLUMN + GAP)


def centre_of(column: float, width: int = 1) -> float:
    """Return the middle of a room."""
    return left_of(column) + (width * (COLUMN + GAP) - GAP) / 2


def top_of(floor: str) -> float:
    """Return the upper edge of the rooms of a floor."""
    return TOP + (6 - int(floor)) * FLOOR + (FLOOR - ROOM) / 2 - 3


def room(floor: str, column: int, width: int, name: str, does: str, step: str) -> list[str]:
    """Return a room: its walls, its name, and what it does or returns."""
    x, y, middle = left_of(column), top_of(floor), centre_of(column, width)
    wide = width * (COLUMN + GAP) - GAP
    walls = DATA if step else LINE
    parts = [
        f'<rect x="{x}" y="{y}" width="{wide}" height="{ROOM}" rx="5" fill="white" '
        f'stroke="{walls}" stroke-width="{1.8 if step else 1.2}"/>',
        text(middle, y + 31, name, 14, font_family="ui-monospace, Menlo, Consolas, monospace"),
        text(middle, y + 52, does, 12, fill=GREY),
    ]
    if step:
        parts += [
            f'<circle cx="{x + 3}" cy="{y + 3}" r="11" fill="{DATA}"/>',
            text(x + 3, y + 7, step, 11, fill="white", font_weight="bold"),
        ]
    return parts


def path(points: list[tuple[float, float]], colour: str, dashed: bool = False) -> str:
    """Return a line with an arrowhead."""
    corners = " ".join(f"{x:g},{y:g}" for x, y in points)
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2.2"{dashes} '
        f'marker-end="url(#{"blue" if dashed else "red"})"/>'
    )


def ways() -> list[str]:
    """Return the way of a volume, and that of corrections."""
    half = ROOM / 2
    note = {"fill": CORRECTION, "text_anchor": "start"}
    stages, door = top_of("2") + half, top_of("4") + 56
    parts = [
        text(54, door + 4, "BossDB, files", 12, fill=DATA, text_anchor="start"),
        path([(134, door), (left_of(0) - 1, door)], DATA),
        path([(left_of(8) - GAP, top_of("4") + half), (left_of(8) + 22, top_of("4") + half)], DATA),
        text(
            left_of(8) + 28, top_of("4") + half + 4, "outputs/", 13, fill=DATA, text_anchor="start"
        ),
        path([(centre_of(0), top_of("4") + ROOM), (centre_of(0), top_of("2") - 3)], DATA),
        path([(centre_of(5), top_of("2")), (centre_of(5), top_of("3") + ROOM + 3)], DATA),
        path([(centre_of(5), top_of("3")), (centre_of(5), top_of("4") + ROOM + 3)], DATA),
    ]
    parts += [
        path([(left_of(c + 1) - GAP, stages), (left_of(c + 1) - 1, stages)], DATA) for c in range(5)
    ]
    parts += [
        path([(left_of(6) - GAP, top_of("4") + half), (left_of(6) - 1, top_of("4") + half)], DATA),
        path([(centre_of(2, 2), top_of("4") + ROOM), (centre_of(2, 2), top_of("3") - 3)], *BLUE),
        path([(centre_of(2), top_of("3") + ROOM), (centre_of(2), top_of("2") - 3)], *BLUE),
        text(centre_of(2, 2) + 8, top_of("3") - 9, "corrected sections", 11, **note),
        text(centre_of(2) + 8, top_of("2") - 9, "refined probability", 11, **note),
    ]
    return parts


BLUE = (CORRECTION, True)


def main() -> None:
    """Write the drawing."""
    heads = "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for name, colour in (("red", DATA), ("blue", CORRECTION))
    )
    right = left_of(8) + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif">',
        "<title>The packages of connectome by floor, and the way of a volume through them</title>",
        f"<defs>{heads}</defs>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 30, "connectome/: packages import only from the floors below", 16,
             font_weight="bold", text_anchor="start"),
        text(LEFT, 50, "orange: the way of a volume, steps 1 to 10; blue: corrections", 13,
             fill=GREY, text_anchor="start"),
    ]  # fmt: skip
    for number, purpose, rooms in FLOORS:
        y = top_of(number) - 10
        parts += [
            f'<rect x="20" y="{y}" width="{right - 14}" height="90" rx="6" fill="{BAND}"/>',
            text(36, y + 36, number, 22, fill=GREY, font_weight="bold"),
            *(
                text(54, y + 30 + 16 * line, words, 12, fill=GREY, text_anchor="start")
                for line, words in enumerate(purpose)
            ),
        ]
        for column, width, name, does, step in rooms:
            parts += room(number, column, width, name, does, step)
    parts += [*ways(), "</svg>"]
    TARGET.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
