"""Detect synapses between neurites and build the connectivity graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from connectome import graph, synapses, triage
from connectome.cli.reporter import Reporter
from connectome.core.params import GraphParams, SynapseParams
from connectome.core.volume import Volume
from connectome.graph import formats
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.synapses import verdicts
from connectome.synapses.scoring import SynapseClassifier


@dataclass(frozen=True, eq=False)
class Connectivity:
    """Synapse candidates and the graph they add up to.

    Parameters
    ----------
    synapses : DataFrame
        One row per synapse candidate.
    graph : networkx.Graph
        Neurites and connections.
    nodes, edges : DataFrame
        The same as tables.
    contacts : DataFrame
        Pairs of neurites in contact, with the area of contact.
    """

    synapses: pd.DataFrame
    graph: nx.Graph
    nodes: pd.DataFrame
    edges: pd.DataFrame
    contacts: pd.DataFrame

    @property
    def directed(self) -> bool:
        """Whether connections have a direction."""
        return self.graph.is_directed()

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by the names of their files."""
        return {
            paths.SYNAPSES: self.synapses,
            paths.NODES: self.nodes,
            paths.EDGES: self.edges,
            paths.CONTACTS: self.contacts,
        }

    def export(self, folder: Path, source: str) -> None:
        """Write the graph as a matrix and in the formats of other programs.

        Parameters
        ----------
        folder : Path
            Output folder.
        source : str
            URI or path of the EM.
        """
        formats.write_graph(folder, graph.annotate_graph(self.graph, self.nodes), source)


def detect_and_connect(
    aligned: Volume,
    labels: np.ndarray,
    *,
    damaged_sections: Sequence[int],
    reporter: Reporter,
    segments: pd.DataFrame | None = None,
    synapse_params: SynapseParams | None = None,
    graph_params: GraphParams | None = None,
    classifier: SynapseClassifier | None = None,
    review: Callable[[pd.DataFrame], pd.DataFrame] = lambda candidates: candidates,
    threads: int = 1,
) -> Connectivity:
    """Detect synapse candidates and sum them into the connectivity graph.

    Parameters
    ----------
    aligned : Volume of float
        Preprocessed and aligned EM.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    damaged_sections : sequence of int
        Sections in which no density is detected.
    reporter : Reporter
        Receives the stages "synapses" and "graph".
    segments : DataFrame, optional
        Table of the neurites, as `connectome.triage.segment_table` returns it;
        measured here if it is not given.
    synapse_params : SynapseParams, optional
        Parameters of detection.
    graph_params : GraphParams, optional
        Parameters of the graph.
    classifier : SynapseClassifier, optional
        Scores the candidates; the one that ships with the package by default.
    review : callable
        Takes the table of candidates and returns it with a person's verdicts applied.
    threads : int
        Number of sections processed in parallel.

    Returns
    -------
    Connectivity
    """
    synapse_params = synapse_params or SynapseParams()
    graph_params = graph_params or GraphParams()
    # Labels may leave membranes out, and neurites are in contact across a membrane.
    closed = graph.close_gaps(labels, aligned.data > 0, aligned.voxel_size, graph_params)
    with reporter.stage("synapses", len(labels)) as stage:
        candidates = synapses.detect_synapses(
            aligned.data,
            closed,
            aligned.voxel_size,
            damaged_sections=damaged_sections,
            params=synapse_params,
            threads=threads,
            progress=stage.progress,
            classifier=classifier,
        )
        candidates = review(candidates)
        stage.counts["candidates"] = len(candidates)
    direction = "direction is a heuristic" if graph_params.directed else "without direction"
    reporter.message(f"synapses    {len(candidates):,} candidates ({direction})")
    with reporter.stage("graph") as stage:
        contacts = graph.contact_table(closed, aligned.voxel_size)
        connections = graph.build_graph(candidates, graph_params, contacts)
        if segments is None:
            segments = triage.measure_segments(labels, aligned.voxel_size)
        nodes = graph.node_table(connections, segments, contacts)
        edges = graph.edge_table(candidates, graph_params, contacts)
        stage.counts.update(nodes=len(nodes), edges=len(edges), contacts=len(contacts))
    reporter.message(
        f"graph       {len(nodes):,} neurites, {len(edges):,} connections;"
        f" {len(contacts):,} pairs of neurites in contact"
    )
    return Connectivity(candidates, connections, nodes, edges, contacts)


def reviewed_synapses(draft: RunFolder, labels: np.ndarray) -> pd.DataFrame | None:
    """Read the synapses that a person has reviewed, with the ids of other labels.

    Parameters
    ----------
    draft : RunFolder
        Results of a run.
    labels : ndarray of int32, shape (Z, Y, X)
        Labels whose ids the partners get.

    Returns
    -------
    DataFrame or None
        As `RunFolder.reviewed_synapses`.
    """
    reviewed = draft.reviewed_synapses
    if reviewed is None:
        return None
    return verdicts.relabel_partners(
        reviewed, draft.reviewed_labels, labels, draft.aligned.voxel_size
    )
