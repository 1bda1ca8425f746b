"""Content of the report's sections: key numbers, reliability, figures, tables, run details."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from connectome import runlog
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.report.encoding import encode_base64

TABLES = {
    paths.SYNAPSES: ("Synapse candidates", "one row per candidate"),
    paths.NODES: ("Neurites of the graph", "neurites with at least one connection"),
    paths.EDGES: ("Connections", "one row per connection, from pre_id to post_id"),
    paths.SEGMENTS: ("All neurites", "the most uncertain first"),
    paths.CONTACTS: ("Contacts", "pairs of neurites that touch each other"),
}
UNDIRECTED_TABLES = {
    paths.SYNAPSES: (
        "Synapse candidates",
        "one row per candidate; the order of pre_id and post_id has no meaning",
    ),
    paths.EDGES: ("Connections", "one row per pair of neurites; pre_id is the lower id"),
}
MAX_TABLE_BYTES = 1_500_000
MAX_UNCERTAIN = 8
LOW_CONFIDENCE = 0.5  # of the alignment of a section


# Summary ------------------------------------------------------------------------------------


def key_numbers(run: RunFolder) -> dict[str, str]:
    """Return the main results by name."""
    z, y, x = run.aligned.field_of_view_um
    neurites = len(np.setdiff1d(pd.unique(run.graph_labels.ravel()), [0]))
    return {
        f"field of view, {_join('xyz')}": f"{_join(f'{um:.3g}' for um in (x, y, z))} µm",
        "neurites": f"{neurites:,}",
        "synapse candidates": f"{len(run.synapses):,}",
        "neurites with connections": f"{len(run.nodes):,}",
        "connections": f"{len(run.edges):,}",
    }


def _join(sides: Iterable[Any]) -> str:
    return " × ".join(map(str, sides))  # noqa: RUF001


# Reliability --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """A score with its value and its meaning."""

    name: str
    value: str
    meaning: str


def list_scores(evaluation: Mapping[str, Any], directed: bool) -> Iterator[Score]:
    """Yield the scores against ground truth; none if there is no ground truth."""
    if segmentation := evaluation.get("segmentation"):
        meaning = "adapted Rand error of the neurites; 0 is perfect"
        yield Score("ARE", f"{segmentation['are']:.3f}", meaning)
        split, merge = segmentation["voi_split"], segmentation["voi_merge"]
        meaning = f"variation of information: {split:.2f} bits from splits, {merge:.2f} from merges"
        yield Score("VOI", f"{segmentation['voi']:.2f} bits", f"{meaning}; 0 is perfect")
    for limit, scores in evaluation.get("synapses", {}).items():
        if isinstance(scores, dict):
            meaning = f"precision {scores['precision']:.0%}, recall {scores['recall']:.0%}"
            if "partners" in scores:
                partners = f"{scores['partners']:.0%} of the detected synapses"
                meaning += f"; {partners} have the correct partners"
            if "partners" in scores and directed:
                meaning += f", {scores['direction']:.0%} the correct direction"
            yield Score(f"Synapses within {limit} nm", f"F1 {scores['f1']:.2f}", meaning)
    if alignment := evaluation.get("alignment"):
        meaning = f"root mean square distance of the sections from {alignment['reference']}"
        yield Score("Alignment", f"{alignment['rms_px']:.2f} px", meaning)


def list_limitations(run: RunFolder) -> Iterator[str]:
    """Yield, in sentences, what limits the reliability of the results."""
    if run.directed:
        yield (
            "The direction of synapses is heuristic: the neurite that contains most of the dark"
            " density is taken to be presynaptic."
        )
    else:
        yield (
            "Connections are undirected, as requested: presynaptic and postsynaptic partners are"
            " not distinguished."
        )
    if run.has(paths.ALIGNMENT):
        yield from _list_alignment_limitations(run.alignment)
    if "touches_border" in run.nodes and len(run.nodes):
        leaving = int((run.nodes["touches_border"].astype(str) == "True").sum())
        yield (
            f"{leaving:,} of the {len(run.nodes):,} neurites in the graph leave the field of view:"
            " their partners outside it are unknown."
        )
    scores = run.synapses["score"]
    if len(scores):
        yield (
            f"Half of the candidates score below {scores.median():.2f}; the synapse gallery shows"
            " those with the lowest scores."
        )
    else:
        yield "No synapse candidates were detected, and the graph is empty."


def _list_alignment_limitations(alignment: Mapping[str, Any]) -> Iterator[str]:
    damaged_sections = list(alignment.get("damaged_sections", ()))
    if damaged_sections:
        verb = "was" if len(damaged_sections) == 1 else "were"
        yield (
            f"{_format_sections(damaged_sections)} {verb} blank or damaged, excluded from"
            " alignment, and filled from neighbouring sections."
        )
    low = np.flatnonzero(np.array(alignment.get("confidence", [])) < LOW_CONFIDENCE)
    uncertain = [int(z) for z in low if z not in damaged_sections]
    if uncertain:
        yield f"The alignment of {_format_sections(uncertain).lower()} has a low confidence."


def _format_sections(sections: Sequence[int]) -> str:
    plural = "s" if len(sections) > 1 else ""
    return f"Section{plural} {', '.join(map(str, sections))}"


@dataclass(frozen=True)
class UncertainNeurite:
    """A neurite that may be wrong; ``z`` is the section to look at, if known."""

    id: int
    reason: str
    doubt: float
    z: str


def list_uncertain_neurites(run: RunFolder) -> list[UncertainNeurite]:
    """Return the most uncertain neurites, if the graph was made from the labels of the main job.

    The table of segments describes those labels only.
    """
    if run.graph_labels_path != run.path(paths.LABELS) or not run.has(paths.SEGMENTS):
        return []
    table = run.table(paths.SEGMENTS)
    if not {"id", "doubt", "reason"} <= set(table):
        return []
    table = table.dropna(subset=["id", "doubt"])
    table = table[table["doubt"] > 0].sort_values("doubt", ascending=False, kind="stable")
    return [
        UncertainNeurite(int(row.id), str(row.reason), float(row.doubt), _format_z(row))
        for row in table[:MAX_UNCERTAIN].itertuples()
    ]


def _format_z(row: Any) -> str:
    z = getattr(row, "doubt_z", np.nan)
    return f"{z:.0f}" if np.isfinite(z) else ""


# Figures and tables -------------------------------------------------------------------------


class CaptionedFigure(Protocol):
    """A figure of the report, such as `connectome.figures.FigureSpec`."""

    @property
    def name(self) -> str:
        """Name, used as an anchor."""

    @property
    def title(self) -> str:
        """Name in text."""

    @property
    def stem(self) -> str:
        """File in the output folder, without its suffix."""

    def caption_for(self, directed: bool) -> str:
        """Return the caption for a directed or an undirected graph."""


@dataclass(frozen=True)
class Figure:
    """A figure as it is embedded: its PNG in base64, and the name of its PDF."""

    name: str
    title: str
    caption: str
    image: str
    pdf: str


def load_figures(run: RunFolder, figures: Sequence[CaptionedFigure]) -> list[Figure]:
    """Return the figures that have been drawn."""
    return [
        Figure(
            name=figure.name,
            title=figure.title,
            caption=figure.caption_for(run.directed),
            image=encode_base64(run.path(f"{figure.stem}.png").read_bytes()),
            pdf=f"{figure.stem}.pdf",
        )
        for figure in figures
        if run.has(f"{figure.stem}.png")
    ]


@dataclass(frozen=True)
class Table:
    """A table as it is embedded: the text of its CSV file."""

    file: str
    title: str
    note: str
    text: str


def load_tables(run: RunFolder) -> list[Table]:
    """Return the tables that exist, long ones cut after a row."""
    loaded = []
    for name, (title, note) in (TABLES if run.directed else TABLES | UNDIRECTED_TABLES).items():
        if run.has(name):
            text, n_cut = _cut_table(run.text(name))
            if n_cut:
                note += f"; {n_cut:,} more rows are in {name}"
            loaded.append(Table(Path(name).name, title, note, text))
    return loaded


def _cut_table(text: str) -> tuple[str, int]:
    """Cut a long table after a row; return it and the number of rows left out."""
    if len(text) <= MAX_TABLE_BYTES:
        return text, 0
    end = text.rfind("\n", 0, MAX_TABLE_BYTES) + 1
    return text[:end], text.count("\n", end)


# Run details --------------------------------------------------------------------------------


def run_details(run: RunFolder, log_folder: Path) -> dict[str, str]:
    """Return the source, parameters, command and software of a run by name."""
    aligned = run.aligned
    origin = ", ".join(map(str, aligned.origin[::-1]))
    details = {
        "Source": aligned.source,
        "Cutout": f"{_join(aligned.shape[::-1])} voxels (x, y, z), from {origin}",
        "Voxel size": f"{_join(f'{nm:g}' for nm in aligned.voxel_size[::-1])} nm (x, y, z)",
        "Labels": run.graph_labels_path.name,
    }
    past = _find_last_run(log_folder)
    if past is None:
        return details
    started = past.created_at[:19].replace("T", " ")
    details |= {
        "Run": f"{past.run_id}, started {started} UTC",
        "Stages": ", ".join(
            f"{stage.name} {stage.seconds:.1f}\N{NO-BREAK SPACE}s" for stage in past.stages
        ),
    }
    return details | _software_details(log_folder, past) | _parameter_details(past.config)


def _find_last_run(log_folder: Path) -> runlog.PastRun | None:
    """Return the last run that made a graph, which may be the one in progress."""
    if not (log_folder / paths.RUN_LOG).exists():
        return None
    history = [past for past in runlog.read_history(log_folder) if past.status != "failed"]
    with_graph = [past for past in history if any(stage.name == "graph" for stage in past.stages)]
    return with_graph[-1] if with_graph else None


def _software_details(log_folder: Path, past: runlog.PastRun) -> dict[str, str]:
    """Return the command and the software versions of a run, as far as they were recorded."""
    folder, name = RunFolder(log_folder), f"runs/{past.run_id}_config.json"
    record = folder.json(name) if folder.has(name) else {}
    software = record.get("software", {})
    versions = {key: software[key] for key in ("connectome", "python") if key in software}
    versions |= software.get("packages", {})
    details = {
        "Command": shlex.join(record.get("command", [])),
        "Software": ", ".join(f"{key} {version}" for key, version in versions.items() if version),
    }
    return {key: text for key, text in details.items() if text}


def _parameter_details(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of each stage as text."""
    return {
        f"{name.removesuffix('_params').capitalize()} parameters": ", ".join(
            f"{key} {parameter}" for key, parameter in value.items()
        )
        for name, value in config.items()
        if name.endswith("_params") and isinstance(value, dict)
    }
