"""Write graphs for Cytoscape, Gephi, spreadsheets and the web; read graphs to compare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import networkx as nx
import pandas as pd

from connectome.core.errors import DataError, UsageError
from connectome.core.synapse_table import ID_SEPARATOR
from connectome.io import paths
from connectome.io.files import atomic_path

# Columns that name the two ends of a connection. Published worm connectomes have neuron names in
# ``pre`` and ``post`` and numbers beside them: the names come first.
END_COLUMNS = (("pre", "post"), ("pre_id", "post_id"), ("pre_id", "post_ids"))
COUNT_COLUMNS = ("n_synapses", "weight")
FORMATS = "a run's folder, .csv, .graphml, .gexf or .json"


def write_graph(folder: Path, graph: nx.Graph, source: str) -> None:
    """Write a graph as CSV matrix, GraphML, GEXF and node-link JSON.

    Parameters
    ----------
    folder : Path
        Output folder.
    graph : networkx.Graph
        With plain numbers as attributes, as `connectome.graph.annotate_graph` returns.
    source : str
        Source of the EM.
    """
    graph = graph.copy()
    graph.graph["source"] = source
    writers = {
        paths.MATRIX: write_matrix,
        paths.GRAPHML: write_graphml,
        paths.GEXF: write_gexf,
        paths.GRAPH_JSON: write_node_links,
    }
    for name, write in writers.items():
        with atomic_path(folder / name) as path:
            write(path, graph)


def write_matrix(path: Path, graph: nx.Graph, max_neurites: int = 5000) -> None:
    """Write the connectivity matrix, numbers of synapses, as CSV.

    Parameters
    ----------
    path : Path
        Target.
    graph : networkx.Graph
        Edges have ``n_synapses``.
    max_neurites : int
        Neurites in the matrix; in a larger graph, those with most synapses. The file grows with
        the square of their number: 50 MB for 5,000.

    Notes
    -----
    Rows are presynaptic ids and columns postsynaptic ones, both rising; the matrix of an
    undirected graph is symmetric.
    """
    n_synapses = dict(graph.degree(weight="n_synapses"))
    shown = sorted(sorted(graph, key=lambda node: (-n_synapses[node], node))[:max_neurites])
    column = {node: i for i, node in enumerate(shown)}
    # Nearly all cells are 0: writing row by row is ten times faster than from a full table.
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["pre_id", *map(str, shown)]) + "\n")
        for pre in shown:
            cells = ["0"] * len(shown)
            for post, edge in graph.adj[pre].items():
                if post in column:
                    cells[column[post]] = str(edge["n_synapses"])
            file.write(",".join([str(pre), *cells]) + "\n")


def write_graphml(path: Path, graph: nx.Graph) -> None:
    """Write GraphML, which Cytoscape, Gephi, yEd, igraph and networkx read."""
    # Not the lxml writer: the bytes must not depend on which packages are installed.
    nx.write_graphml_xml(graph, path)


def write_gexf(path: Path, graph: nx.Graph) -> None:
    """Write GEXF 1.2, the format of Gephi."""
    text = "\n".join(nx.generate_gexf(graph))
    # Without the date, the same graph always gives the same bytes.
    path.write_text(re.sub(r' lastmodifieddate="[^"]*"', "", text, count=1), encoding="utf-8")


def write_node_links(path: Path, graph: nx.Graph) -> None:
    """Write node-link JSON, as d3 and similar libraries read it."""
    content = {
        "directed": graph.is_directed(),
        "multigraph": False,
        "graph": graph.graph,
        "nodes": [{"id": node, **attributes} for node, attributes in graph.nodes(data=True)],
        "links": [{"source": a, "target": b, **edge} for a, b, edge in graph.edges(data=True)],
    }
    path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read_graph(path: Path) -> nx.Graph:
    """Read a graph in any of the supported formats.

    Parameters
    ----------
    path : Path
        The output folder of a run; GraphML, GEXF or node-link JSON; or a CSV with a row per
        connection (``pre_id, post_id`` and ``n_synapses`` or ``weight``), or per synapse and
        postsynaptic partner (``pre, post``, as published worm connectomes come), or per synapse
        (``pre_id, post_ids``).

    Returns
    -------
    networkx.DiGraph or networkx.Graph
        Node names are strings, so that ids of any size and names are treated alike; every edge
        has ``n_synapses``. A Graph if connections are undirected.

    Raises
    ------
    UsageError
        If the file does not exist, or its format is not supported.
    DataError
        If it cannot be read, has missing values, or contains no connections.
    """
    file = path / paths.EDGES if path.is_dir() else path
    readers = {
        ".csv": _read_csv,
        ".graphml": _read_graphml,
        ".gexf": _read_gexf,
        ".json": _read_json,
    }
    if not file.exists():
        raise UsageError(f"{file} does not exist", "there is no graph to compare", FORMATS)
    if file.suffix.lower() not in readers:
        raise UsageError(f"{file} is not in a supported graph format", "", FORMATS)
    graph = readers[file.suffix.lower()](file)
    if graph.number_of_edges() == 0:
        raise DataError(f"{file} contains no connections", "there is nothing to compare")
    return graph


def _read_csv(path: Path) -> nx.Graph:
    try:
        # As text: ids of any size stay exact, and so do names such as "NaN" or "1e3".
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    table.columns = table.columns.str.strip()
    pre, post = _find_end_columns(table, path)
    if "post_ids" in table and pre == "pre_id":
        post = "post_ids"
        table = table.assign(post_ids=table[post].str.split(ID_SEPARATOR)).explode(post)
    count = next((name for name in COUNT_COLUMNS if name in table), None)
    columns = [table[name].str.strip() for name in (pre, post, *([count] if count else []))]
    for name, column in zip((pre, post, count), columns, strict=False):
        if (column == "").any() or column.str.lower().eq("nan").any():
            row = column.index[(column.eq("") | column.str.lower().eq("nan")).argmax()]
            needed = "a number of synapses" if name == count else "two ends"
            raise DataError(
                f"{path}, row {row + 1}: {name} is empty", f"a connection needs {needed}"
            )
    counts = columns[2] if count else [1] * len(table)
    edges = zip(columns[0], columns[1], counts, strict=True)
    return _sum_edges(edges, path, directed=_is_table_directed(path))


def _is_table_directed(path: Path) -> bool:
    """Return whether the connections of a table are directed.

    The tables of a run have the same columns either way; ``graph.json`` beside them records it.
    """
    if path.name not in {Path(name).name for name in (paths.EDGES, paths.SYNAPSES)}:
        return True
    graph_json = path.with_name(Path(paths.GRAPH_JSON).name)
    return not graph_json.exists() or _is_json_directed(_parse_json(graph_json))


def _find_end_columns(table: pd.DataFrame, path: Path) -> tuple[str, str]:
    for ends in END_COLUMNS:
        if set(ends) <= set(table.columns):
            return ends
    expected = " or ".join(", ".join(ends) for ends in END_COLUMNS)
    found = [*table.columns[:8], *(["…"] if len(table.columns) > 8 else [])]
    raise DataError(
        f"{path} has columns {', '.join(found)}",
        f"no two of them name the connected neurites: expected {expected}",
        "rename the columns",
    )


def _read_graphml(path: Path) -> nx.Graph:
    return _read_xml(path, nx.read_graphml)


def _read_gexf(path: Path) -> nx.Graph:
    return _read_xml(path, nx.read_gexf)


def _read_xml(path: Path, read: Callable[[Path], nx.Graph]) -> nx.Graph:
    try:
        graph = read(path)
    except (ParseError, nx.NetworkXException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    edges = ((pre, post, _get_count(edge)) for pre, post, edge in graph.edges(data=True))
    return _sum_edges(edges, path, nodes=graph, directed=graph.is_directed())


def _read_json(path: Path) -> nx.Graph:
    content = _parse_json(path)
    try:
        nodes = [node["id"] for node in content["nodes"]]
        links = content["links"] if "links" in content else content["edges"]
        edges = [(link["source"], link["target"], _get_count(link)) for link in links]
    except (KeyError, TypeError) as error:
        raise _not_node_link(path, error) from error
    return _sum_edges(edges, path, nodes=nodes, directed=_is_json_directed(content))


def _parse_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_node_link(path, error) from error


def _not_node_link(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not node-link JSON: {error!r}")


def _is_json_directed(content: object) -> bool:
    """Return whether node-link JSON describes a directed graph; the default is True."""
    return not isinstance(content, dict) or content.get("directed") is not False


def _get_count(edge: dict) -> float:
    return next((edge[name] for name in COUNT_COLUMNS if name in edge), 1)


def _sum_edges(
    edges: Iterable[tuple], path: Path, nodes: Iterable = (), directed: bool = True
) -> nx.Graph:
    """Build a graph with string names, adding up parallel connections."""
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(map(str, nodes))
    for pre, post, count in edges:
        try:
            number = float(count)
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 < number < float("inf"):
            raise DataError(
                f"{path}: the connection from {pre} to {post} has {count!r} synapses",
                "a positive number is needed",
            )
        previous = graph.get_edge_data(str(pre), str(post), {"n_synapses": 0})["n_synapses"]
        graph.add_edge(str(pre), str(post), n_synapses=previous + number)
    return graph
