"""A run without direction: every file, figure and page of it keeps the promise, and so do heirs."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
from helpers.locations import ROOT

from connectome import runlog
from connectome.cli.reporter import Reporter
from connectome.core.params import GraphParams, RunConfig, Source
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.workflows import pipeline, rebuild
from connectome.workflows.compare import compare
from connectome.workflows.drawing import redraw

QUIET = Reporter(quiet=True)
SOURCE = Source(uri="phantom://neuropil?seed=7", cutout_xyz=(160, 160, 24), seed=7)
ENDS = ["pre_id", "post_id"]


def run(folder, directed):
    config = RunConfig(source=SOURCE, graph_params=GraphParams(directed=directed))
    pipeline.run(replace(config, outdir=str(folder)), Reporter())


@pytest.fixture(scope="module")
def directed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directed")
    run(folder, True)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undirected")
    run(folder, False)
    return folder


@pytest.fixture
def outdir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def build(outdir, directed=None, reporter=QUIET):
    return rebuild.rebuild(rebuild.RebuildConfig(str(outdir), directed=directed), reporter)


def tables(outdir):
    names = (paths.EDGES, paths.NODES, paths.MATRIX, paths.GRAPHML, paths.GRAPH_JSON)
    return {name: (outdir / name).read_bytes() for name in names}


def is_directed(outdir):
    return nx.read_graphml(outdir / paths.GRAPHML).is_directed()


def test_candidates_are_what_they_are_and_connections_their_sums(finished, directed):
    assert (finished / paths.SYNAPSES).read_bytes() == (directed / paths.SYNAPSES).read_bytes()
    edges, ways = (pd.read_csv(folder / paths.EDGES) for folder in (finished, directed))
    assert (edges["pre_id"] < edges["post_id"]).all()
    assert edges["n_synapses"].sum() == ways["n_synapses"].sum() > 3
    assert list(edges.columns) == list(ways.columns)
    unordered = {frozenset(pair) for pair in ways[ENDS].to_numpy().tolist()}
    assert {frozenset(pair) for pair in edges[ENDS].to_numpy().tolist()} == unordered
    assert len(edges) == len(unordered)


def test_matrix_and_nodes_know_no_sides(finished):
    matrix = pd.read_csv(finished / paths.MATRIX, index_col="pre_id")
    assert (matrix.to_numpy() == matrix.to_numpy().T).all()
    nodes = pd.read_csv(finished / paths.NODES)
    for name in ("degree", "synapses"):
        assert nodes[f"in_{name}"].tolist() == nodes[f"out_{name}"].tolist()
    assert nodes["n_pre"].tolist() == nodes["n_post"].tolist()


def test_the_run_says_so(finished, tmp_path, capsys):
    config = json.loads(next((finished / "runs").glob("*_config.json")).read_text())
    assert "'directed': False" in str(config)
    build(shutil.copytree(finished, tmp_path / "o"), reporter=Reporter())
    output = capsys.readouterr().out
    assert "(without direction)" in output and "heuristic" not in output


def test_figures_drawn_again_are_the_same_byte_for_byte(outdir):
    def drawn():
        return {path.name: path.read_bytes() for path in (outdir / "figures").iterdir()}

    before = drawn()
    redraw.redraw(outdir, redraw.NAMES, QUIET)
    assert drawn() == before


@pytest.mark.parametrize("name", ["Figure2", "Figure3", "Figure7", "Figure8"])
def test_figures_differ_from_those_of_a_directed_run(finished, directed, name):
    _, png = FIGURES[name].files
    assert (finished / png).read_bytes() != (directed / png).read_bytes()


# --- rebuild --------------------------------------------------------------------------------------


def test_a_rebuild_keeps_what_the_run_chose(outdir):
    before = tables(outdir)
    build(outdir)
    assert tables(outdir) == before
    changed = pd.read_csv(outdir / paths.REBUILD_CHANGES)
    assert set(changed["kind"]) == {"count", "score"}
    assert "'directed': False" in str(runlog.read_history(outdir)[-1].config)


def test_a_rebuild_can_take_directions_away_and_give_them_back(directed, finished, tmp_path):
    outdir = shutil.copytree(directed, tmp_path / "o")
    build(outdir, False)
    assert tables(outdir) == tables(finished)
    changed = pd.read_csv(outdir / paths.REBUILD_CHANGES)
    assert not {"gained", "lost", "weight"} & set(changed["kind"])
    build(outdir, True)
    assert tables(outdir) == tables(directed)


def test_a_rebuild_that_cannot_read_the_choice_says_what_it_takes(outdir, capsys):
    (outdir / paths.GRAPH_JSON).write_text("{")
    build(outdir)
    assert "assuming that connections were directed" in " ".join(capsys.readouterr().err.split())
    assert is_directed(outdir)


def test_the_scripts_flag_chooses(directed, tmp_path):
    outdir = shutil.copytree(directed, tmp_path / "o")
    script = ROOT / "rebuild_graph_and_figures.py"
    command = [sys.executable, script, "--outdir", outdir, "--undirected"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not is_directed(outdir)


# --- the report -----------------------------------------------------------------------------------


def test_the_report_shows_no_arrows_and_states_that_connections_are_undirected(chromium, finished):
    neurite = pd.read_csv(finished / paths.NODES)["node"].iloc[0]
    chromium.open((finished / paths.REPORT).as_uri() + f"#pick={neurite}")
    text = chromium.ask("document.body.innerText")
    assert "Connections are undirected" in text
    for word in ("→", "Arrows", "arrows", "Outputs to", "Inputs from", "red-brown"):
        assert word not in text
    graph = "document.getElementById('graph')._cyreg.cy"
    heads = chromium.ask(f"{graph}.edges().map((edge) => edge.style('target-arrow-shape'))")
    assert set(heads) == {"none"}
    assert chromium.complaints() == []


def test_the_report_lists_every_partner_of_a_neurite_once(chromium, finished):
    graph = nx.read_graphml(finished / paths.GRAPHML)
    neurite = max(graph, key=graph.degree)
    chromium.open((finished / paths.REPORT).as_uri() + f"#pick={neurite}")
    partners = chromium.ask("document.querySelector('#selection p').innerText")
    assert partners.startswith("Partners: ")
    assert sorted(re.findall(r"(\d+)\s×", partners)) == sorted(graph[neurite])  # noqa: RUF001
    lines = "document.getElementById('graph')._cyreg.cy.$('edge.input').length"
    assert chromium.ask(lines) == graph.degree(neurite)


# --- compare --------------------------------------------------------------------------------------


def test_a_run_without_direction_is_compared_with_one_that_has_it(finished, directed, tmp_path):
    table = compare(finished, directed, tmp_path / "c", QUIET, n_random=3).set_index("measure")
    edges = len(pd.read_csv(finished / paths.EDGES))
    assert table.loc["connections", "a"] == edges
    assert pd.isna(table.loc["030T", "a"]) and table.loc["030T", "b"] >= 0
    assert (tmp_path / "c.png").exists()
