"""Graphs in files: written for Cytoscape, Gephi, spreadsheets and the web; read to be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import ParseError

import networkx as nx
import pandas as pd

from connectome.core.errors import DataError, UsageError
from connectome.io import paths

# Columns that name the two sides of a connection: names as published worm connectomes have them
# go before the numbers these have besides.
END_COLUMNS = (("pre", "post"), ("pre_id", "post_id"), ("pre_id", "post_ids"))
COUNT_COLUMNS = ("n_synapses", "weight")
FORMATS = "a run's folder, .csv, .graphml, .gexf or .json"


def write_graph(folder: Path, graph: nx.Graph, source: str) -> None:
    """Write a graph in every form other programs read.

    Parameters
    ----------
    folder : Path
        Output folder.
    graph : networkx.Graph
        With plain numbers as attributes, as `connectome.graph.annotate_graph` returns.
    source : str
        Where the EM came from.
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
        with paths.atomic_path(folder / name) as path:
            write(path, graph)


def write_matrix(path: Path, graph: nx.Graph, most: int = 5000) -> None:
    """Write how many synapses every neurite makes onto every other, as CSV.

    Parameters
    ----------
    path : Path
        Target.
    graph : networkx.Graph
        Edges have ``n_synapses``.
    most : int
        Neurites shown; of a larger graph the ones with most synapses. The file grows with the
        square of their number: 50 MB for 5,000.

    Notes
    -----
    Presynaptic ids in rows, postsynaptic ones in columns, both rising; symmetric where connections
    have no direction.
    """
    busy = dict(graph.degree(weight="n_synapses"))
    shown = sorted(sorted(graph, key=lambda node: (-busy[node], node))[:most])
    column = {node: i for i, node in enumerate(shown)}
    # Nearly all cells are 0: row by row this is ten times faster than a table of them all.
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
    # Not the variant on lxml: bytes should not depend on what else is installed.
    nx.write_graphml_xml(graph, path)


def write_gexf(path: Path, graph: nx.Graph) -> None:
    """Write GEXF 1.2, the format of Gephi."""
    text = "\n".join(nx.generate_gexf(graph))
    # The same graph gives the same bytes, on whatever day.
    path.write_text(re.sub(r' lastmodifieddate="[^"]*"', "", text, count=1), encoding="utf-8")


def write_node_links(path: Path, graph: nx.Graph) -> None:
    """Write the lists of nodes and links that d3 and its like draw."""
    content = {
        "directed": graph.is_directed(),
        "multigraph": False,
        "graph": graph.graph,
        "nodes": [{"id": node, **known} for node, known in graph.nodes(data=True)],
        "links": [{"source": a, "target": b, **edge} for a, b, edge in graph.edges(data=True)],
    }
    path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read_graph(path: Path) -> nx.Graph:
    """Read a graph to compare, from whatever it is in.

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
        Nodes are texts, so that ids of any size and names are alike; every edge has
        ``n_synapses``. A Graph where connections have no direction.

    Raises
    ------
    UsageError
        If there is no such file, or it is of no form that can be read.
    DataError
        If it cannot be read, has gaps, or holds no connection.
    """
    file = path / paths.EDGES if path.is_dir() else path
    readers = {
        ".csv": _from_csv,
        ".graphml": _from_xml(nx.read_graphml),
        ".gexf": _from_xml(nx.read_gexf),
        ".json": _from_json,
    }
    if not file.exists():
        raise UsageError(f"there is no {file}", "there is no graph to compare", FORMATS)
    if file.suffix.lower() not in readers:
        raise UsageError(f"{file} is in no form of a graph that can be read", "", FORMATS)
    graph = readers[file.suffix.lower()](file)
    if graph.number_of_edges() == 0:
        raise DataError(f"{file} holds no connection", "there is nothing to compare")
    return graph


def _from_csv(path: Path) -> nx.Graph:
    try:
        # Everything as text: ids of any size survive, and so do names such as "NaN" or "1e3".
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is no table that can be read: {error}") from error
    table.columns = table.columns.str.strip()
    pre, post = _ends(table, path)
    if "post_ids" in table and pre == "pre_id":
        post = "post_ids"
        table = table.assign(post_ids=table[post].str.split(";")).explode(post)
    count = next((name for name in COUNT_COLUMNS if name in table), None)
    columns = [table[name].str.strip() for name in (pre, post, *([count] if count else []))]
    for name, column in zip((pre, post, count), columns, strict=False):
        if (column == "").any() or column.str.lower().eq("nan").any():
            row = column.index[(column.eq("") | column.str.lower().eq("nan")).argmax()]
            needed = "its number of synapses" if name == count else "two ends"
            raise DataError(f"{path}, row {row + 1}: {name} is empty", f"a connection has {needed}")
    counted = columns[2] if count else [1] * len(table)
    return _summed(zip(*columns[:2], counted, strict=True), path, directed=_table_directed(path))


def _table_directed(path: Path) -> bool:
    """Tell whether a table's connections have a direction, which those of a run may not have.

    The table has the same columns then; the graph that the run left beside it says so.
    """
    if path.name not in {Path(name).name for name in (paths.EDGES, paths.SYNAPSES)}:
        return True
    beside = path.with_name(Path(paths.GRAPH_JSON).name)
    return not beside.exists() or _directed(_json(beside))


def _ends(table: pd.DataFrame, path: Path) -> tuple[str, str]:
    for ends in END_COLUMNS:
        if set(ends) <= set(table.columns):
            return ends
    wanted = " or ".join(", ".join(ends) for ends in END_COLUMNS)
    there = [*table.columns[:8], *(["…"] if len(table.columns) > 8 else [])]
    raise DataError(
        f"{path} has columns {', '.join(there)}",
        f"it is unknown which neurites it connects: no {wanted}",
        "rename the columns",
    )


def _from_xml(read):
    def reader(path: Path) -> nx.Graph:
        try:
            graph = read(path)
        except (ParseError, nx.NetworkXException, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        edges = ((pre, post, _count(edge)) for pre, post, edge in graph.edges(data=True))
        return _summed(edges, path, graph, graph.is_directed())

    return reader


def _from_json(path: Path) -> nx.Graph:
    content = _json(path)
    try:
        nodes = [node["id"] for node in content["nodes"]]
        links = content["links"] if "links" in content else content["edges"]
        edges = [(link["source"], link["target"], _count(link)) for link in links]
    except (KeyError, TypeError) as error:
        raise _no_graph(path, error) from error
    return _summed(edges, path, nodes, _directed(content))


def _json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_graph(path, error) from error


def _no_graph(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is no list of nodes and links: {error!r}")


def _directed(content) -> bool:
    """Tell whether node-link JSON is of a directed graph, as it is unless it says otherwise."""
    return not isinstance(content, dict) or content.get("directed") is not False


def _count(edge: dict):
    return next((edge[name] for name in COUNT_COLUMNS if name in edge), 1)


def _summed(
    edges: Iterable[tuple], path: Path, nodes: Iterable = (), directed: bool = True
) -> nx.Graph:
    """Add up parallel connections; names become texts and counts numbers."""
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(map(str, nodes))
    for pre, post, count in edges:
        try:
            number = float(count)
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 < number < float("inf"):
            raise DataError(
                f"{path}: the connection from {pre} to {post} counts {count!r}",
                "that is no number of synapses",
            )
        before = graph.get_edge_data(str(pre), str(post), {"n_synapses": 0})["n_synapses"]
        graph.add_edge(str(pre), str(post), n_synapses=before + number)
    return graph
