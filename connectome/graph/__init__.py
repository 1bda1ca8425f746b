"""Build, describe, export and compare the connectivity graph."""

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

__all__ = [
    "CONTACT_COLUMNS",
    "EDGE_COLUMNS",
    "NODE_COLUMNS",
    "annotate_graph",
    "build_graph",
    "close_gaps",
    "contact_table",
    "edge_table",
    "node_table",
]
