"""Compare two graphs side by side, each against random graphs of the same degrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from connectome.cli.reporter import Reporter
from connectome.core.errors import UsageError
from connectome.graph.formats import read_graph
from connectome.graph.topology import Topology, measure_topology
from connectome.io.files import atomic_path

MAX_MEMBERS_LISTED = 30


def compare(
    a: Path, b: Path, stem: Path, reporter: Reporter, *, n_random: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Measure two graphs, print the measures side by side, and write them with a figure.

    Parameters
    ----------
    a, b : Path
        The graphs, as `connectome.graph.formats.read_graph` takes them.
    stem : Path
        Path of the output without its suffix: ``.csv``, ``.pdf`` and ``.png`` are written.
    reporter : Reporter
        Receives progress and messages.
    n_random : int
        Number of random graphs that each is compared with.
    seed : int
        Seed of the random graphs.

    Returns
    -------
    DataFrame
        ``group, measure``; ``a, a_random, a_z`` and the same of b, as
        `connectome.graph.topology.measure_topology` has them; ``difference``, b minus a.

    Raises
    ------
    UsageError
        If the output would be a folder, or would overwrite one of the graphs.
    DataError
        If a graph cannot be read.
    """
    target = stem.with_name(f"{stem.name}.csv")
    _check_target(stem, target, (a, b))
    names = _names(a, b)
    measured = {}
    for name, graph in zip(names, map(read_graph, (a, b)), strict=True):
        with reporter.progress_bar("random", n_random, "graphs") as progress:
            measured[name] = measure_topology(graph, n_random, seed, progress)
    table = _join_tables(*measured.values())
    _draw(measured, stem)
    with atomic_path(target) as path:
        table.assign(a_source=str(a), b_source=str(b)).to_csv(path, index=False)
    _report(measured, table, reporter)
    reporter.message(f"written to {target}, .pdf and .png")
    return table


def _check_target(stem: Path, target: Path, graphs: tuple[Path, Path]) -> None:
    if stem.is_dir():
        raise UsageError(
            f"{stem} is a folder", "nothing was compared", f"--out {stem}/graph_comparison"
        )
    for graph in graphs:
        if graph.resolve() == target.resolve():
            raise UsageError(
                f"--out {stem} would overwrite {graph}", "nothing was compared", "another --out"
            )


def _draw(measured: dict[str, Topology], stem: Path) -> None:
    from connectome.figures.distributions import draw_comparison
    from connectome.figures.layout.output import write_figure

    write_figure(draw_comparison(measured), stem)


def _report(measured: dict[str, Topology], table: pd.DataFrame, reporter: Reporter) -> None:
    """Print the table, and what it leaves out."""
    reporter.message(format_table(table, list(measured)))
    for name, found in measured.items():
        if not found.directed:
            reporter.message(
                f"{name} is undirected: reciprocity, strong components and triads do not apply,"
                " and in- and out-degree both count all partners"
            )
    for name, found in measured.items():
        if found.rich_club_members:
            members = ", ".join(found.rich_club_members[:MAX_MEMBERS_LISTED])
            more = ", …" if len(found.rich_club_members) > MAX_MEMBERS_LISTED else ""
            reporter.message(f"rich club of {name}: {members}{more}")


def _names(a: Path, b: Path) -> list[str]:
    """Name graphs by their files, or by the whole path where the files are named alike."""
    names = [path.resolve().name if path.is_dir() else path.stem for path in (a, b)]
    if names[0] == names[1]:
        names = [str(a), str(b)]
    # A graph may be compared with itself.
    return names if names[0] != names[1] else [f"{names[0]} ({letter})" for letter in "AB"]


def _join_tables(a: Topology, b: Topology) -> pd.DataFrame:
    """Put the measures of two graphs beside each other."""
    table = a.table[["group", "measure"]].copy()
    for letter, found in (("a", a), ("b", b)):
        table[letter] = found.table["value"]
        table[f"{letter}_random"] = found.table["random"]
        table[f"{letter}_z"] = found.table["z"]
    return table.assign(difference=table["b"] - table["a"]).round(6)


def format_table(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Return the table as aligned text.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.
    names : sequence of str
        Names of the two graphs.
    """
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
