"""From neurites to a wiring diagram and its scores: the end of the road, whoever found them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from connectome import evaluate, graph, synapses
from connectome.cli.reporter import Reporter
from connectome.core.params import GraphParams, SynapseParams
from connectome.core.volume import GroundTruth, Volume
from connectome.graph import formats
from connectome.io import paths
from connectome.runlog.log import Run
from connectome.synapses.scoring import SynapseClassifier
from connectome.triage import uncertainty


@dataclass(frozen=True, eq=False)
class Connectivity:
    """Synapse candidates, and the graph they sum up to.

    Parameters
    ----------
    candidates : DataFrame
        One row per synapse candidate.
    diagram : networkx.Graph
        Neurites and connections.
    nodes, edges : DataFrame
        The same as tables.
    contacts : DataFrame
        Who touches whom.
    """

    candidates: pd.DataFrame
    diagram: nx.Graph
    nodes: pd.DataFrame
    edges: pd.DataFrame
    contacts: pd.DataFrame

    @property
    def directed(self) -> bool:
        """Whether connections run from one neurite to the other."""
        return self.diagram.is_directed()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by the names of their files."""
        return {
            paths.SYNAPSES: self.candidates,
            paths.NODES: self.nodes,
            paths.EDGES: self.edges,
            paths.CONTACTS: self.contacts,
        }

    def export(self, folder: Path, source: str) -> None:
        """Write the graph for other programs, and as a matrix, into an output folder."""
        formats.write_graph(folder, graph.annotate_graph(self.diagram, self.nodes), source)


def detect_and_connect(
    aligned: Volume,
    labels: np.ndarray,
    damaged: Sequence[int],
    reporter: Reporter,
    log: Run,
    threads: int = 1,
    params: tuple[SynapseParams, GraphParams] = (SynapseParams(), GraphParams()),
    amend: Callable[[pd.DataFrame], pd.DataFrame] = lambda candidates: candidates,
    judge: SynapseClassifier | None = None,
) -> Connectivity:
    """Find synapse candidates and sum them into the wiring graph.

    Parameters
    ----------
    aligned : Volume of float
        Preprocessed and aligned EM.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    damaged : sequence of int
        Sections whose darkness means nothing.
    reporter : Reporter
        Whom to tell.
    log : Run
        Told of the stages "synapses" and "graph".
    threads : int
        Sections worked on at a time.
    params : tuple of SynapseParams and GraphParams
        Of the two stages.
    amend : callable
        Takes the candidates and returns those that count: where a person has a say.
    judge : Judge, optional
        Who says how likely a candidate is a synapse, where a person has taught one.

    Returns
    -------
    Wiring
    """
    # Where labels leave membranes out, neurites meet across them.
    closed = graph.close_gaps(labels, aligned.data > 0, aligned.voxel_size, params[1])
    with log.stage("synapses") as counts, reporter.progress_bar("synapses", len(labels)) as tell:
        candidates = synapses.detect_synapses(
            aligned.data,
            closed,
            aligned.voxel_size,
            damaged_sections=damaged,
            params=params[0],
            threads=threads,
            progress=tell,
            classifier=judge,
        )
        candidates = amend(candidates)
        counts["candidates"] = len(candidates)
    direction = "direction is a heuristic" if params[1].directed else "without direction"
    reporter.message(f"synapses    {len(candidates)} candidates ({direction})")
    with log.stage("graph") as counts:
        contacts = graph.contact_table(closed, aligned.voxel_size)
        diagram = graph.build_graph(candidates, params[1], contacts)
        nodes = graph.node_table(diagram, _neurites(labels, aligned.voxel_size), contacts)
        edges = graph.edge_table(candidates, params[1], contacts)
        counts |= {"nodes": len(nodes), "edges": len(edges), "contacts": len(contacts)}
    reporter.message(
        f"graph       {len(nodes)} neurites, {len(edges)} connections; {len(contacts)} pairs touch"
    )
    return Connectivity(candidates, diagram, nodes, edges, contacts)


def _neurites(labels: np.ndarray, voxel_size: tuple[float, float, float]) -> pd.DataFrame:
    """Measure every neurite; labels from elsewhere may leave numbers out, or use huge ones."""
    ids = np.union1d(0, pd.unique(labels.ravel()))
    compact = labels if ids[-1] < len(ids) else np.searchsorted(ids, labels).astype(np.int32)
    table = uncertainty.segment_table(compact, voxel_size)
    return table.assign(id=ids[table["id"]])


def evaluate_results(
    labels: np.ndarray,
    candidates: pd.DataFrame,
    truth: GroundTruth,
    voxel_size: tuple[float, float, float],
) -> dict:
    """Score neurites and synapses, as far as the truth is known.

    Returns
    -------
    dict
        ``segmentation`` and ``synapses``, as in ``tables/evaluation.json``; empty without truth.
    """
    evaluation = {}
    if truth.labels is not None:
        evaluation["segmentation"] = evaluate.score_segmentation(labels, truth.labels)
    if truth.synapses is not None:
        evaluation["synapses"] = evaluate.score_synapses(
            candidates, truth.synapses, voxel_size, labels=labels, true_labels=truth.labels
        )
    return evaluation


def flatten_scores(evaluation: dict, prefix: str = ""):
    """Yield (path, number) for every score, such as ("synapses/200/f1", 0.5)."""
    for key, value in evaluation.items():
        if isinstance(value, dict):
            yield from flatten_scores(value, f"{prefix}{key}/")
        elif not isinstance(value, str):
            yield prefix + key, value
