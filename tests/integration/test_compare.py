"""``python -m connectome.graph compare A B``: what it writes, prints and refuses."""

import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT
from matplotlib.text import Text

from connectome.cli.main import dispatch
from connectome.cli.programs import COMMANDS
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError, UsageError
from connectome.figures.distributions import draw_comparison
from connectome.graph.formats import read_graph
from connectome.graph.topology import measure_topology
from connectome.io import paths
from connectome.workflows.compare import compare


def worm(path, n=40, edges=150, seed=0):
    """Write a table as published worms have them."""
    ends = np.random.default_rng(seed).integers(0, n, (edges, 2))
    names = pd.DataFrame(ends, columns=["pre", "post"]).map("N{:02d}".format)
    names.to_csv(path, index=False)
    return path


def run_folder(path):
    (path / "tables").mkdir(parents=True)
    table = pd.DataFrame({"pre_id": [1, 2, 2, 3], "post_id": [2, 3, 1, 1], "n_synapses": 1})
    table.assign(weight=0.5, source="phantom").to_csv(path / paths.EDGES, index=False)
    return path


def test_the_program_compares_a_run_with_a_worm(tmp_path):
    command = ["-m", "connectome.graph", "compare", run_folder(tmp_path / "run")]
    command += [worm(tmp_path / "worm.csv"), "--out", tmp_path / "c", "--random", "5"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "density" in done.stdout
    assert "030T" in done.stdout
    table = pd.read_csv(tmp_path / "c.csv").set_index(["group", "measure"])
    assert table.loc[("size", "connections"), "a"] == 4
    assert table.loc[("reciprocity", "share of connections"), "a"] == 0.5
    assert table.loc[("size", "neurites"), "b"] == 40
    assert table.loc[("size", "neurites"), "difference"] == 37
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_a_graph_without_direction_is_compared_as_far_as_it_goes(tmp_path, capsys):
    run = run_folder(tmp_path / "run")
    (run / paths.GRAPH_JSON).write_text('{"directed": false}')
    table = compare(run, worm(tmp_path / "worm.csv"), tmp_path / "c", Reporter(), n_random=3)
    assert "run is undirected" in capsys.readouterr().out
    table = table.set_index(["group", "measure"])
    assert table.loc[("size", "connections"), "a"] == 3  # 1 and 2, both ways, are one
    assert table.loc[("size", "density"), "a"] == 1
    for group in ("reciprocity", "triads"):
        assert table.loc[group, ["a", "a_random", "difference"]].isna().all(axis=None)
        assert table.loc[group, "b"].notna().all()
    pair = draw_comparison(dict.fromkeys("AB", measure_topology(read_graph(run), 3)))
    assert any(
        "not applicable to undirected graphs" in text.get_text() for text in pair.findobj(Text)
    )


@pytest.mark.parametrize("arguments", [["compare"], ["compare", "a"], ["contrast", "a", "b"]])
def test_a_wrong_call_is_answered_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        dispatch(arguments, commands={"compare": COMMANDS["compare"]})
    assert stopped.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_bad_input_leaves_earlier_results_as_they_were(tmp_path):
    good, bad = worm(tmp_path / "good.csv"), tmp_path / "bad.csv"
    bad.write_text("pre,post\nAVAL,\n")
    compare(good, good, tmp_path / "c", Reporter(quiet=True), n_random=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DataError):
        compare(good, bad, tmp_path / "c", Reporter(quiet=True), n_random=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_error_has_no_traceback(tmp_path):
    command = ["-m", "connectome.graph", "compare", tmp_path / "no", tmp_path / "no"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}")
    assert "Traceback" not in done.stderr


def test_a_folder_is_no_place_for_a_figure(tmp_path):
    path = worm(tmp_path / "w.csv")
    with pytest.raises(UsageError, match="is a folder"):
        compare(path, path, tmp_path, Reporter(quiet=True), n_random=0)


def test_a_result_is_not_written_over_a_graph(tmp_path, monkeypatch):
    worm(tmp_path / "a.csv"), worm(tmp_path / "b.csv", seed=1)
    before = (tmp_path / "b.csv").read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"--out .*b would overwrite b\.csv"):
        compare(Path("a.csv"), Path("b.csv"), tmp_path / "b", Reporter(quiet=True), n_random=0)
    assert (tmp_path / "b.csv").read_bytes() == before


def test_a_graph_is_like_itself(tmp_path):
    path = worm(tmp_path / "w.csv")
    table = compare(path, path, tmp_path / "c", Reporter(quiet=True), n_random=3)
    assert (table["difference"].dropna() == 0).all()
    assert table["a_z"].equals(table["b_z"])


@pytest.mark.parametrize("text", ["pre,post\na,b\n", "pre,post\na,a\n", "pre,post\na,b\nb,a\n"])
def test_graphs_too_small_for_motifs_and_clubs_still_make_a_table_and_a_figure(tmp_path, text):
    (tmp_path / "tiny.csv").write_text(text)
    table = compare(
        tmp_path / "tiny.csv",
        worm(tmp_path / "w.csv"),
        tmp_path / "c",
        Reporter(quiet=True),
        n_random=3,
    )
    assert (tmp_path / "c.png").exists()
    assert np.isfinite(table["a"][table["group"] == "triads"]).all()


def test_a_figure_counts_in_words_and_shows_shares_of_nothing_whole():
    pair = nx.DiGraph([("a", "b", {"n_synapses": 1})])
    figure = draw_comparison({"one": measure_topology(pair, 0), "other": measure_topology(pair, 0)})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "one: 2 neurites, 1 connection" in texts
    shares = next(axes for axes in figure.axes if axes.get_xlabel() == "fraction")
    nothing = [line for line in shares.lines if line.get_xdata()[0] == 0]
    assert nothing and not any(line.get_clip_on() for line in nothing)


def test_the_same_comparison_gives_the_same_bytes(tmp_path):
    a, b = worm(tmp_path / "a.csv"), worm(tmp_path / "b.csv", seed=1)
    for folder in ("one", "two"):
        compare(a, b, tmp_path / folder / "c", Reporter(quiet=True), n_random=3)
    for name in ("c.csv", "c.png", "c.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_real_worms_are_compared_within_seconds(shared_data, tmp_path):
    folder = shared_data / "celegans_connectomes"
    tables = (folder / "dataset2.csv", folder / "dataset8.csv")
    table = compare(*tables, tmp_path / "c", Reporter(quiet=True))
    table = table.set_index(["group", "measure"])
    assert table.loc[("size", "synapses"), ["a", "b"]].tolist() == [1861, 7901]
    assert (table.loc[("triads", "030T"), ["a_z", "b_z"]] > 10).all()
