"""Two wiring diagrams side by side: ``python -m connectome.graph compare A B``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from connectome.cli.reporter import Reporter
from connectome.core.errors import UsageError
from connectome.graph.formats import read_graph
from connectome.graph.topology import Topology, measure_topology
from connectome.io.paths import atomic_path


def compare(
    paths: tuple[Path, Path], stem: Path, reporter: Reporter, n_random: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Measure two graphs, and write and print them side by side.

    Parameters
    ----------
    paths : tuple of Path
        As `connectome.graph.formats.read_graph` takes.
    stem : Path
        Where to write ``.csv``, ``.pdf`` and ``.png``.
    reporter : Reporter
        Whom to tell.
    n_random : int
        Random graphs each is compared with.
    seed : int
        Of their choice.

    Returns
    -------
    DataFrame
        ``group, measure``; ``a, a_random, a_z`` and the same of b, as
        `connectome.graph.topology.measure_topology` has them; ``difference``, b less a.
    """
    if stem.is_dir():
        raise UsageError(
            f"{stem} is a folder", "nothing was compared", f"--out {stem}/graph_comparison"
        )
    target = stem.with_name(f"{stem.name}.csv")
    if clash := [path for path in paths if path.resolve() == target.resolve()]:
        raise UsageError(
            f"--out {stem} would overwrite {clash[0]}", "nothing was compared", "another --out"
        )
    names = _names(paths)
    graphs = [read_graph(path) for path in paths]
    measured = {}
    for name, graph in zip(names, graphs, strict=True):
        with reporter.progress_bar("random", n_random, "graphs") as tell:
            measured[name] = measure_topology(graph, n_random, seed, tell)
    table = _beside(*measured.values())
    from connectome.figures.comparison import draw_comparison
    from connectome.figures.overview import write_figure

    write_figure(draw_comparison(measured), stem)
    with atomic_path(target) as path:
        table.assign(a_source=str(paths[0]), b_source=str(paths[1])).to_csv(path, index=False)
    reporter.message(format_table(table, names))
    for name, found in measured.items():
        if not found.directed:
            reporter.message(
                f"{name} is without direction: its reciprocity, strong component and triads are "
                "not applicable, and in and out both count all partners"
            )
    for name, found in measured.items():
        if found.rich_club_members:
            shown = ", ".join(found.rich_club_members[:30]) + (
                ", …" if len(found.rich_club_members) > 30 else ""
            )
            reporter.message(f"rich club of {name}: {shown}")
    reporter.message(f"written to {target}, .pdf and .png")
    return table


def _names(paths: tuple[Path, Path]) -> list[str]:
    """Call graphs by their files, or by the whole path where that would not tell them apart."""
    names = [path.resolve().name if path.is_dir() else path.stem for path in paths]
    if names[0] == names[1]:
        names = [str(path) for path in paths]
    # A graph may be compared with itself.
    return names if names[0] != names[1] else [f"{names[0]} ({letter})" for letter in "AB"]


def _beside(a: Topology, b: Topology) -> pd.DataFrame:
    table = a.table[["group", "measure"]].copy()
    for letter, found in (("a", a), ("b", b)):
        table[letter] = found.table["value"]
        table[f"{letter}_random"] = found.table["random"]
        table[f"{letter}_z"] = found.table["z"]
    return table.assign(difference=table["b"] - table["a"]).round(6)


def format_table(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Lay the table out for reading, random graphs and z-scores beside the numbers."""
    titles = ["", "", *(title for name in names for title in (name[-18:], "random", "z"))]
    rows, group = [titles], ""
    for row in table.itertuples(index=False):
        numbers = [row.a, row.a_random, row.a_z, row.b, row.b_random, row.b_z]
        shown = row.group.replace("_", " ") if row.group != group else ""
        group = row.group
        rows.append([shown, row.measure, *map(_short, numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ("<", "<", *">>>>>>")
    cells = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def _short(number: float) -> str:
    if not np.isfinite(number):
        return ""
    whole = float(number).is_integer() or abs(number) >= 1e5
    return f"{number:,.0f}" if whole else f"{number:,.4g}"
