"""Build, measure, export and compare connectivity graphs."""

from connectome.graph.build import (
    CONTACT_COLUMNS,
    EDGE_COLUMNS,
    NODE_COLUMNS,
    annotate_graph,
    build_graph,
    close_gaps,
    contact_table,
    edge_table,
    node_table,
)
from connectome.graph.diff import GraphSnapshot, diff_graphs
from connectome.graph.formats import read_graph, write_graph
from connectome.graph.topology import Topology, measure_topology

__all__ = [
    "CONTACT_COLUMNS",
    "EDGE_COLUMNS",
    "NODE_COLUMNS",
    "GraphSnapshot",
    "Topology",
    "annotate_graph",
    "build_graph",
    "close_gaps",
    "contact_table",
    "diff_graphs",
    "edge_table",
    "measure_topology",
    "node_table",
    "read_graph",
    "write_graph",
]
