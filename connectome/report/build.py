"""The report: a run on one page that opens from disk, without a network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Protocol

import numpy as np
import pandas as pd

from connectome import runlog
from connectome.core.synapse_table import decode_ids
from connectome.graph.colouring import colour_graph
from connectome.graph.node_layout import layout_graph
from connectome.io import paths
from connectome.io.files import atomic_path
from connectome.io.run_folder import RunFolder
from connectome.report import tiles
from connectome.runlog import PastRun

ASSETS = files("connectome.report") / "assets"
TABLES = {
    paths.SYNAPSES: ("Synapse candidates", "one row per candidate"),
    paths.NODES: ("Neurites of the graph", "those with at least one connection"),
    paths.EDGES: ("Connections", "from the presynaptic to the postsynaptic neurite"),
    paths.SEGMENTS: ("All neurites", "the most doubtful first"),
    paths.CONTACTS: ("Contacts", "who touches whom"),
}
UNDIRECTED_TABLES = {
    paths.SYNAPSES: (
        "Synapse candidates",
        "one row per candidate; which partner is called pre_id says nothing",
    ),
    paths.EDGES: ("Connections", "without direction: one row per pair, the lower id is pre_id"),
}
MAX_TABLE_BYTES = 1_500_000
MAX_NODES, MAX_EDGES = 1500, 4000  # that can be dragged about smoothly
UNIT_PX = 60  # between neighbours of the graph
MAX_UNCERTAIN = 8
COLOURS = 7


class CaptionedFigure(Protocol):
    """A figure of the report, such as `connectome.figures.FigureSpec`."""

    @property
    def name(self) -> str:
        """Name, as an anchor."""

    @property
    def title(self) -> str:
        """Name in text."""

    @property
    def stem(self) -> str:
        """File in the output folder, without its suffix."""

    def caption_for(self, directed: bool) -> str:
        """Return the caption for a directed or an undirected graph."""


def write_report(
    target: Path, results: RunFolder, *, log_folder: Path, figures: Sequence[CaptionedFigure]
) -> None:
    """Write all that a run found, and how far it can be trusted, as one page.

    Parameters
    ----------
    target : Path
        The page, written whole or not at all.
    results : RunFolder
        What to show. What was not saved, or not made, is left out and said to be missing.
    log_folder : Path
        Output folder with the run log.
    figures : sequence of FigureSpec
        Figures to show.

    Raises
    ------
    UsageError, DataError
        If there is no stack, or a table cannot be read or has gaps.
    """
    run = _last_run(log_folder)
    source = results.aligned.source
    content = {
        "title": escape(f"Draft wiring of {source}"),
        "source": escape(source),
        "synthetic": _synthetic(source),
        "numbers": _numbers(results),
        "run": _run_table(results, run, log_folder),
        "scores": _scores(results.evaluation, results.directed),
        "doubts": "".join(f"<li>{doubt}</li>" for doubt in _doubts(results)),
        "worst": _worst(results),
        "figures": "".join(_figures(results, figures)),
        "tables": "".join(_tables(results)),
        "data": _embedded(_viewer(results)),
        "style": (ASSETS / "report.css").read_text("utf-8"),
        "library": (ASSETS / "cytoscape.min.js").read_text("utf-8"),
        "program": (ASSETS / "report.js").read_text("utf-8"),
    }
    page = Template((ASSETS / "report.html").read_text("utf-8")).substitute(content)
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _last_run(outdir: Path) -> PastRun | None:
    """Return the last run that made a graph, which may be the one in progress."""
    if not (outdir / paths.RUN_LOG).exists():
        return None
    past = [run for run in runlog.read_history(outdir) if run.status != "failed"]
    graphs = [run for run in past if any(stage.name == "graph" for stage in run.stages)]
    return graphs[-1] if graphs else None


# What it is ---------------------------------------------------------------------------------


def _synthetic(source: str) -> str:
    if not source.startswith("phantom:"):
        return ""
    return (
        '<p class="notice"><strong>Synthetic tissue.</strong> Nothing on this page shows a real '
        "worm: the stack was computed, so that results can be compared with a known truth.</p>"
    )


def _numbers(results: RunFolder) -> str:
    """Return the few numbers that everyone asks for."""
    z, y, x = results.aligned.field_of_view_um
    neurites = len(np.setdiff1d(pd.unique(results.graph_labels.ravel()), [0]))
    shown = {
        f"field of view, {_sides('xyz')}": f"{_sides(f'{um:.3g}' for um in (x, y, z))} µm",
        "neurites": f"{neurites:,}",
        "synapse candidates": f"{len(results.synapses):,}",
        "neurites with connections": f"{len(results.nodes):,}",
        "connections": f"{len(results.edges):,}",
    }
    return "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in shown.items())


def _run_table(results: RunFolder, run: PastRun | None, outdir: Path) -> str:
    """Say what was run, on what."""
    aligned = results.aligned
    rows = {
        "Source": aligned.source,
        "Cutout": f"{_sides(aligned.shape[::-1])} voxels (x, y, z), "
        f"from {', '.join(map(str, aligned.origin[::-1]))}",
        "Voxel size": f"{_sides(f'{nm:g}' for nm in aligned.voxel_size[::-1])} nm (x, y, z)",
        "Labels": results.graph_labels_path.name,
    }
    if run is not None:
        rows |= {
            "Run": f"{run.run_id}, begun {run.created_at[:19].replace('T', ' ')} UTC",
            "Stages": ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in run.stages),
        }
        rows |= _told_by_the_log(outdir, run) | _settings(run.config)
    return "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())


def _told_by_the_log(outdir: Path, run: PastRun) -> dict[str, str]:
    """Return the command and the versions of a run, as far as they are known."""
    log = RunFolder(outdir)
    name = f"runs/{run.run_id}_config.json"
    told = log.json(name) if log.has(name) else {}
    software = told.get("software", {})
    versions = {key: software[key] for key in ("connectome", "python") if key in software}
    rows = {
        "Command": shlex.join(told.get("command", [])),
        "Software": ", ".join(
            f"{name} {version}"
            for name, version in (versions | software.get("packages", {})).items()
            if version
        ),
    }
    return {key: text for key, text in rows.items() if text}


def _sides(sides: Iterable) -> str:
    return " × ".join(map(str, sides))  # noqa: RUF001


def _settings(config: dict) -> dict[str, str]:
    """Return the parameters of every stage as text."""
    told = {}
    for name, value in config.items():
        if name.endswith("_params") and isinstance(value, dict):
            text = ", ".join(f"{key} {each}" for key, each in value.items())
            told[name.removesuffix("_params").capitalize() + " parameters"] = text
    return told


# How far it can be trusted ------------------------------------------------------------------


def _scores(evaluation: dict, directed: bool) -> str:
    """Return a table of scores and what they mean, or say that there is no truth."""
    rows = list(_score_rows(evaluation, directed))
    if not rows:
        return (
            '<p class="notice"><strong>Not scored.</strong> No truth is known for this tissue. '
            "Judge the draft by its figures and by the doubts below.</p>"
        )
    cells = "".join(
        f"<tr><th>{name}</th><td class=number>{value}</td><td>{meaning}</td></tr>"
        for name, value, meaning in rows
    )
    head = "<tr><th>Score</th><th>Value</th><th>What it says</th></tr>"
    return f"<table class=plain><thead>{head}</thead><tbody>{cells}</tbody></table>"


def _score_rows(evaluation: dict, directed: bool) -> Iterator[tuple[str, str, str]]:
    if found := evaluation.get("segmentation"):
        yield "ARE", f"{found['are']:.3f}", "adapted Rand error of the neurites; 0 is perfect"
        yield (
            "VOI",
            f"{found['voi']:.2f} bits",
            f"variation of information: {found['voi_split']:.2f} from neurites that were split, "
            f"{found['voi_merge']:.2f} from neurites that were merged; 0 is perfect",
        )
    for limit, found in evaluation.get("synapses", {}).items():
        if isinstance(found, dict):
            yield (
                f"Synapses within {escape(limit)} nm",
                f"F1 {found['f1']:.2f}",
                f"{found['precision']:.0%} of the candidates are synapses, and "
                f"{found['recall']:.0%} of the synapses were found{_partners(found, directed)}",
            )
    if found := evaluation.get("alignment"):
        meaning = f"root mean square distance of sections from {escape(found['reference'])}"
        yield "Alignment", f"{found['rms_px']:.2f} px", meaning


def _partners(found: dict, directed: bool) -> str:
    """Say in how many of the synapses found the partners are right."""
    if "partners" not in found:
        return ""
    said = f"; of these {found['partners']:.0%} have the right partners"
    return said + f", {found['direction']:.0%} the right direction" * directed


def _doubts(results: RunFolder) -> Iterator[str]:
    """Say in sentences what speaks against believing everything here."""
    if results.directed:
        yield (
            "The direction of a synapse is a heuristic: the neurite that holds most of the dark "
            "density is called presynaptic."
        )
    else:
        yield (
            "Connections are without direction, as was asked for: nothing here says which of two "
            "partners is the presynaptic one."
        )
    if results.has(paths.ALIGNMENT):
        if damaged := results.alignment.get("damaged_sections"):
            listed = ", ".join(map(str, damaged))
            yield f"Damaged or blank, and bridged rather than followed: section {listed}."
        weak = np.flatnonzero(np.array(results.alignment.get("confidence", [])) < 0.5)
        if len(weak):
            yield f"The alignment is unsure of itself at section {', '.join(map(str, weak))}."
    if "touches_border" in results.nodes and len(results.nodes):
        leaving = int((results.nodes["touches_border"].astype(str) == "True").sum())
        yield (
            f"{leaving:,} of the {len(results.nodes):,} neurites in the graph leave the field of "
            "view: partners beyond it are unknown."
        )
    scores = results.synapses["score"]
    if len(scores):
        yield (
            f"Half of the candidates score below {scores.median():.2f}; the lowest are shown in "
            "Figure 7."
        )
    else:
        yield "No synapse candidate was found, so that the graph is empty."
    if results.graph_labels_changed:
        yield (
            f"<strong>{escape(results.graph_labels_path.name)} has changed since the graph was"
            " made from it</strong>: run rebuild_graph_and_figures.py."
        )


def _worst(results: RunFolder) -> str:
    """List the most doubtful neurites, each a button that leads there."""
    if not results.has(paths.SEGMENTS):
        return ""
    table = results.table(paths.SEGMENTS)
    # Doubts are about the main job's neurites; other labels have other ids.
    theirs = results.graph_labels_path == results.path(paths.LABELS)
    if not theirs or not {"id", "doubt", "reason"} <= set(table):
        return ""
    table = table.dropna(subset=["id", "doubt"])
    table = table[table["doubt"] > 0].sort_values("doubt", ascending=False, kind="stable")
    items = "".join(
        f'<li><button type=button class=id data-id="{int(row.id)}"{_section(row)}>{int(row.id)}'
        f"</button> {escape(str(row.reason))} ({row.doubt:.2f})</li>"
        for row in table[:MAX_UNCERTAIN].itertuples()
    )
    return f"<h3>Most doubtful neurites</h3><ol class=worst>{items}</ol>" if items else ""


def _section(row: Any) -> str:
    """Say in which section the doubt lies, where it is known."""
    z = getattr(row, "doubt_z", float("nan"))
    return f' data-z="{z:.0f}"' if np.isfinite(z) else ""


# Figures and tables -------------------------------------------------------------------------


def _figures(results: RunFolder, figures: Sequence[CaptionedFigure]) -> Iterator[str]:
    missing = []
    for figure in figures:
        name = f"{figure.stem}.png"
        if not results.has(name):
            missing.append(figure.title)
            continue
        image = tiles.encode_base64(results.path(name).read_bytes())
        caption = escape(figure.caption_for(results.directed))
        yield (
            f'<figure id="{figure.name}"><img loading=lazy decoding=async alt="{caption}" '
            f'src="data:image/png;base64,{image}"><figcaption><strong>{figure.title}.</strong> '
            f"{caption} <span class=file>{figure.stem}.pdf</span></figcaption></figure>"
        )
    if missing:
        yield f"<p class=hint>Missing: {', '.join(missing)}.</p>"


def _tables(results: RunFolder) -> Iterator[str]:
    """Yield every table's text, as it is in its file: the page sorts and shows it."""
    missing = []
    tables = TABLES if results.directed else TABLES | UNDIRECTED_TABLES
    for name, (title, about) in tables.items():
        if not results.has(name):
            missing.append(name)
            continue
        text, left_out = _beginning(results.text(name))
        if left_out:
            about += f"; {left_out:,} more rows are in {name}"
        yield (
            f'<section class=table data-file="{Path(name).name}"><h3>{title}</h3><p>{about}</p>'
            f"<script type=application/json>{_embedded(text)}</script></section>"
        )
    if missing:
        yield f"<p class=hint>Missing: {', '.join(missing)}.</p>"


def _beginning(text: str) -> tuple[str, int]:
    """Cut a long table after a row; return how many rows are left out."""
    if len(text) <= MAX_TABLE_BYTES:
        return text, 0
    end = text.rfind("\n", 0, MAX_TABLE_BYTES) + 1
    return text[:end], text.count("\n", end)


# What the viewer and the graph show ---------------------------------------------------------


def _viewer(results: RunFolder) -> dict:
    """Return the stack, its neurites, synapses and graph for the page's program."""
    aligned = results.aligned
    step = tiles.choose_step(aligned.shape)
    ids, index = tiles.renumber_ids(results.graph_labels, step)
    spots = tiles.locate_neurites(index, len(ids))
    return {
        "shape": list(index.shape),
        "voxel": list(aligned.voxel_size),
        "step": step,
        "sections": tiles.encode_sections(aligned.data, step),
        "labels": tiles.encode_ids(index),
        "bytes": index.itemsize,
        "ids": ids.tolist(),
        "places": spots.tolist(),
        "colours": _colours(results, ids).tolist(),
        "synapses": _synapses(results.synapses),
        "graph": _graph(results),
    }


def _colours(results: RunFolder, ids: np.ndarray) -> np.ndarray:
    """Give neurites that touch different colours, as far as there are enough."""
    pairs = np.empty((0, 2), int)
    if results.has(paths.CONTACTS):
        contacts = results.table(paths.CONTACTS, ("id_a", "id_b"))
        pairs = np.searchsorted(ids, contacts[["id_a", "id_b"]].to_numpy("int64"))
        known = (pairs < len(ids)).all(axis=1)
        pairs = pairs[known]
    return colour_graph(ids, pairs, COLOURS)


def _synapses(table: pd.DataFrame) -> list[list]:
    """Return ``[z, y, x, pre, posts, score]`` of every candidate."""
    post_ids = table["post_ids"] if "post_ids" in table else table["post_id"]
    columns = (table[name].tolist() for name in ("z", "y", "x", "pre_id"))
    posts = [decode_ids(cell) for cell in post_ids]
    return [list(row) for row in zip(*columns, posts, table["score"].tolist(), strict=True)]


def _graph(results: RunFolder) -> dict:
    """Return the strongest neurites and connections with their places."""
    edges = results.edges.sort_values("weight", ascending=False, kind="stable")
    ends = pd.concat([edges["pre_id"], edges["post_id"]])
    strength = pd.concat([edges["weight"], edges["weight"]]).groupby(ends.to_numpy()).sum()
    kept = strength.sort_values(ascending=False, kind="stable")[:MAX_NODES].sort_index()
    nodes = kept.index.to_numpy("int64")
    edges = edges[edges["pre_id"].isin(nodes) & edges["post_id"].isin(nodes)][:MAX_EDGES]
    pre, post = (np.searchsorted(nodes, edges[end]) for end in ("pre_id", "post_id"))
    others = pre != post
    places: Sequence | np.ndarray = (
        UNIT_PX * layout_graph(pre[others], post[others], len(nodes)) if len(nodes) else []
    )
    return {
        "nodes": [
            [int(i), round(float(x), 1), round(float(y), 1), round(float(s), 4)]
            for i, (x, y), s in zip(nodes, places, kept, strict=True)
        ],
        "edges": edges[["pre_id", "post_id", "n_synapses", "weight"]].to_numpy(object).tolist(),
        "whole": len(strength),
        "directed": results.directed,
    }


def _embedded(content: dict | str) -> str:
    """Return JSON that can stand inside a page: no end of a script hides in it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
