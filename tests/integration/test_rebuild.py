"""From refined or corrected labels to a graph: inputs, verdicts, changes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT

from connectome import runlog
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError, UsageError
from connectome.core.params import RunConfig, Source, SynapseParams
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.synapses.candidates import detect_synapses
from connectome.synapses.scoring import MIN_VERDICTS
from connectome.workflows import pipeline, rebuild

QUIET = Reporter(quiet=True)
# Of a seed with enough candidates for verdicts of either kind.
SOURCE = Source(uri="phantom://neuropil?seed=10", cutout_xyz=(160, 160, 24), seed=7)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Leave a small run."""
    folder = tmp_path_factory.mktemp("run")
    pipeline.run(RunConfig(source=SOURCE, outdir=str(folder)), QUIET)
    return folder


@pytest.fixture
def outdir(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def build(outdir, labels="auto", **more):
    return rebuild.rebuild(rebuild.RebuildConfig(str(outdir), labels, **more), QUIET)


def rows(outdir, name):
    with (outdir / name).open() as file:
        return list(csv.DictReader(file))


def use_truth(outdir, name=paths.CORRECTED_LABELS):
    """Leave labels that know everything."""
    shutil.copy(outdir / paths.TRUE_LABELS, outdir / name)


def test_the_same_labels_give_the_same_graph_and_no_changes(outdir):
    before = {name: (outdir / name).read_bytes() for name in (paths.EDGES, paths.NODES)}
    build(outdir)
    assert {name: (outdir / name).read_bytes() for name in before} == before
    changed = rows(outdir, paths.REBUILD_CHANGES)
    assert {row["kind"] for row in changed} == {"count", "score"}
    assert {float(row["change"]) for row in changed} == {0.0}


def test_labels_of_any_numbers_give_the_same_graph_under_those_numbers(outdir):
    before = pd.read_csv(outdir / paths.NODES)
    labels = np.load(outdir / paths.LABELS)
    shift = np.iinfo(np.int32).max - labels.max()
    np.save(
        outdir / paths.CORRECTED_LABELS, np.where(labels > 0, labels + shift, 0).astype(np.int32)
    )
    build(outdir)
    after = pd.read_csv(outdir / paths.NODES)
    assert len(before) > 3
    pd.testing.assert_frame_equal(after.assign(node=after["node"] - shift), before)


def test_every_form_of_the_graph_tells_the_same(outdir):
    use_truth(outdir)
    build(outdir)
    edges = pd.read_csv(outdir / paths.EDGES)
    nodes = pd.read_csv(outdir / paths.NODES).set_index("node")
    matrix = pd.read_csv(outdir / paths.MATRIX, index_col="pre_id")
    for edge in edges.itertuples():
        assert matrix.loc[edge.pre_id, str(edge.post_id)] == edge.n_synapses
    assert matrix.to_numpy().sum() == edges["n_synapses"].sum()
    forms = (nx.read_graphml(outdir / paths.GRAPHML, int), nx.read_gexf(outdir / paths.GEXF, int))
    for graph in forms:
        assert set(graph.edges) == set(zip(edges["pre_id"], edges["post_id"], strict=True))
        volumes = nx.get_node_attributes(graph, "volume_um3")
        assert volumes == nodes["volume_um3"].to_dict()


def test_better_labels_score_better_and_the_changes_say_so(outdir):
    former = json.loads((outdir / paths.EVALUATION).read_text())
    use_truth(outdir)
    evaluation = build(outdir)
    assert evaluation["segmentation"]["voi"] < 0.01 < former["segmentation"]["voi"]
    assert json.loads((outdir / paths.EVALUATION).read_text()) == evaluation
    assert evaluation["alignment"] == former["alignment"]
    kinds = {row["kind"] for row in rows(outdir, paths.REBUILD_CHANGES)}
    assert {"merged", "gained"} <= kinds or {"split", "gained"} <= kinds


def test_auto_takes_what_was_made_last(outdir):
    for second, name in enumerate((paths.REFINED_LABELS["rf"], paths.CORRECTED_LABELS)):
        use_truth(outdir, name)
        os.utime(outdir / name, (second, second))
    assert rebuild._resolve_labels(RunFolder(outdir), "auto") == outdir / paths.CORRECTED_LABELS
    os.utime(outdir / paths.REFINED_LABELS["rf"], (9, 9))
    build(outdir)
    used = json.loads((outdir / paths.GRAPH_LABELS).read_text())
    assert used["labels"] == paths.REFINED_LABELS["rf"]


def test_the_main_jobs_labels_are_one_choice_and_any_file_another(outdir, tmp_path):
    use_truth(outdir)
    assert rebuild._resolve_labels(RunFolder(outdir), "baseline") == outdir / paths.LABELS
    mine = tmp_path / "mine.npy"
    np.save(mine, np.load(outdir / paths.TRUE_LABELS).astype(np.int64) * 1_000_003)
    evaluation = build(outdir, str(mine))
    assert evaluation["segmentation"]["are"] < 0.01


def test_a_rebuild_is_a_run_of_its_own(outdir):
    build(outdir)
    first, second = runlog.read_history(outdir)
    assert second.status == "finished" and second.run_id != first.run_id
    assert [stage.name for stage in second.stages] == [
        *("synapses", "graph", "evaluate", "save", "figures", "report")
    ]
    assert second.metrics["segmentation/voi"] == pytest.approx(first.metrics["segmentation/voi"])


def test_a_persons_word_on_synapses_overrides(outdir):
    found = pd.read_csv(outdir / paths.SYNAPSES, dtype={"post_ids": str})
    assert len(found) >= 2
    found.assign(verdict=["rejected", "accepted"] + [""] * (len(found) - 2)).to_csv(
        outdir / paths.REVIEWED_SYNAPSES, index=False
    )
    build(outdir)
    table = pd.read_csv(outdir / paths.SYNAPSES, dtype={"post_ids": str})
    assert len(table) == len(found) - 1
    assert table.loc[0, "verdict"] == "accepted"
    assert table.loc[0, ["z", "y", "x"]].tolist() == found.loc[1, ["z", "y", "x"]].tolist()


def test_verdicts_teach_which_others_are_synapses(outdir, capsys):
    """Accept the lowest scores of the default classifier, and reject the highest."""
    draft = RunFolder(outdir)
    everything = detect_synapses(
        draft.aligned.data,
        draft.baseline_labels,
        draft.aligned.voxel_size,
        damaged_sections=draft.damaged_sections,
        params=replace(SynapseParams(), min_score=0.0),
    )
    n = MIN_VERDICTS
    assert len(everything) > 2 * n
    reviewed = pd.concat([everything.head(n), everything.tail(n)])
    reviewed = reviewed.assign(verdict=["rejected"] * n + ["accepted"] * n)
    reviewed.to_csv(outdir / paths.REVIEWED_SYNAPSES, index=False)
    rebuild.rebuild(rebuild.RebuildConfig(str(outdir)), Reporter())
    assert f"{2 * n} verdicts" in capsys.readouterr().out
    table = pd.read_csv(outdir / paths.SYNAPSES)
    assert (table["verdict"].head(n) == "accepted").all()
    both = table[table["verdict"].isna()].merge(everything, on=["z", "y", "x"])
    assert (both["score_x"] != both["score_y"]).all()


def test_stacks_left_out_leave_figure_1_as_it_is(outdir):
    (outdir / paths.CUTOUT).unlink()
    figure = outdir / FIGURES["Figure1"].files[1]
    before = figure.read_bytes()
    build(outdir)
    assert figure.read_bytes() == before


@pytest.mark.parametrize(
    ("labels", "error", "problem"),
    [
        ("rf", UsageError, "no rf labels"),
        ("nowhere.npy", DataError, r"nowhere\.npy"),
        ("empty.npy", DataError, "no neurite"),
    ],
)
def test_labels_that_cannot_be_used_leave_everything_as_it_was(outdir, labels, error, problem):
    np.save(outdir / "empty.npy", np.zeros((24, 160, 160), np.int32))
    before = {p: p.read_bytes() for p in outdir.rglob("*") if p.is_file()}
    wanted = labels if labels == "rf" else str(outdir / labels)
    with pytest.raises(error, match=problem):
        build(outdir, wanted)
    assert {p: p.read_bytes() for p in outdir.rglob("*") if p.is_file()} == before


def test_a_rebuild_mends_what_of_the_graph_is_damaged(outdir, capsys):
    """Other commands that stumble over these files advise a rebuild."""
    damaged = {
        paths.EDGES: b"",
        paths.NODES: b"a,b\n1,2\n",
        paths.SYNAPSES: b"\xff\xfe\x00",
        paths.EVALUATION: b"{",
        paths.GRAPH_LABELS: b"[]",
    }
    sound = {}
    for name, content in damaged.items():
        path = outdir / name
        sound[name] = path.read_bytes() if path.exists() else b""
        path.write_bytes(content)
    build(outdir)
    for name in (paths.EDGES, paths.NODES, paths.SYNAPSES):
        assert (outdir / name).read_bytes() == sound[name]
    assert "segmentation" in json.loads((outdir / paths.EVALUATION).read_text())
    assert "cannot be reported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (paths.REVIEWED_SYNAPSES, "", "synapses_reviewed.csv cannot be read"),
        (paths.REVIEWED_SYNAPSES, "z,y,x,pre_id,post_id\n1,2,3,4,5\n", "no column verdict"),
        (
            paths.REVIEWED_SYNAPSES,
            "z,y,x,pre_id,post_id,verdict\n,2,3,4,5,accepted\n",
            "row 1: z is nan",
        ),
        (
            paths.REVIEWED_SYNAPSES,
            "z,y,x,pre_id,post_id,verdict\n1,2,3,a,5,accepted\n",
            "pre_id is a",
        ),
        (
            *(paths.REVIEWED_SYNAPSES, "z,y,x,pre_id,post_id,verdict\n999,2,3,4,5,accepted\n"),
            "row 1: z is 999, and the stack goes from 0 to 23",
        ),
        (
            *(
                paths.REVIEWED_SYNAPSES,
                "z,y,x,pre_id,post_id,post_ids,verdict\n1,2,3,4,5,a,accepted\n",
            ),
            "row 1: post_ids is a",
        ),
        (paths.TRUE_SYNAPSES, "", "true_synapses.csv cannot be read"),
        (paths.TRUE_SYNAPSES, "z,y\n1,2\n", "true_synapses.csv has no column x"),
    ],
)
def test_what_people_and_the_truth_say_is_refused_where_it_has_gaps(outdir, name, text, problem):
    (outdir / name).write_text(text)
    before = (outdir / paths.EDGES).read_bytes()
    with pytest.raises(DataError, match=problem):
        build(outdir)
    assert (outdir / paths.EDGES).read_bytes() == before


def test_a_failed_rebuild_overwrites_nothing(outdir):
    (outdir / paths.REVIEWED_SYNAPSES).write_text("z,y,x\n1,2,3\n")
    before = {name: (outdir / name).read_bytes() for name in (paths.EDGES, paths.SYNAPSES)}
    with pytest.raises(DataError, match="pre_id"):
        build(outdir)
    assert {name: (outdir / name).read_bytes() for name in before} == before
    assert runlog.read_history(outdir)[-1].status == "failed"


def script(*arguments):
    command = [sys.executable, str(ROOT / "rebuild_graph_and_figures.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_says_what_changed_and_where_it_is(outdir):
    done = script("--outdir", str(outdir), "--labels=baseline")
    assert done.returncode == 0, done.stderr
    for text in ("changes against the previous graph", "connections", "ARE", str(outdir)):
        assert text in done.stdout


def test_the_script_refuses_what_is_not_there(tmp_path):
    done = script("--outdir", str(tmp_path))
    assert done.returncode == 2
    assert "run_pipeline.py" in done.stderr and "Traceback" not in done.stderr
