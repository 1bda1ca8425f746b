"""The file contract: what a run leaves, byte for byte again, and what it leaves alone."""

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from connectome import runlog
from connectome.align import apply_transforms, transform_points
from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError, UsageError
from connectome.core.params import AlignParams, RunConfig, Source
from connectome.evaluate import alignment_rms, score_segmentation, score_synapses
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.io.files import file_sha256
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import read_volume
from connectome.phantom import make_phantom
from connectome.workflows import pipeline, planning

pytestmark = pytest.mark.slow

SIZE = (30.0, 8.0, 8.0)
SHAPE = (10, 144, 160)
URI = "phantom://neuropil?seed=7&section_nm=30&pixel_nm=8"
CONFIG = RunConfig(Source("phantom://neuropil", SHAPE[::-1]), fall_back_to_phantom=False)


def run(outdir, **changes):
    return pipeline.run(replace(CONFIG, outdir=str(outdir), **changes), Reporter(quiet=True))


def files(outdir, *folders):
    """Every file by its path; of some folders only, if any are named."""
    files = [path for path in Path(outdir).rglob("*") if path.is_file()]
    names = {str(path.relative_to(outdir)): path.read_bytes() for path in files}
    return {n: data for n, data in names.items() if not folders or n.split("/")[0] in folders}


def columns(path):
    with path.open() as file:
        return next(csv.reader(file))


@pytest.fixture(scope="module")
def evaluation(outdir):
    return json.loads((outdir / paths.EVALUATION).read_text())


@pytest.fixture(scope="module")
def outdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(folder)
    return folder


# --- the contract -------------------------------------------------------------------------------


def test_a_run_leaves_exactly_the_files_it_announces(outdir):
    (past,) = runlog.read_history(outdir)
    announced = {n.replace("<run_id>", past.run_id) for n in planning.list_output_files(CONFIG)}
    assert set(files(outdir)) == announced
    assert announced == {
        *("data/em_cutout_u8_zyx.npy", "data/em_preprocessed_f32_zyx.npy"),
        *("data/em_cutout_u8_zyx.json", "data/em_preprocessed_f32_zyx.json"),
        *("data/em_aligned_float32_zyx.npy", "data/neurite_labels_i32_zyx.npy"),
        *("data/em_aligned_float32_zyx.json", "data/neurite_labels_i32_zyx.json"),
        *("data/neurite_prob_f16_zyx.npy", "data/neurite_prob_f16_zyx.json"),
        *("data/true_labels_i32_zyx.npy", "data/true_labels_i32_zyx.json"),
        *("tables/segments.csv", "tables/merge_log.csv", "tables/true_synapses.csv"),
        *("tables/synapse_candidates.csv", "tables/graph_node_stats.csv"),
        *("tables/graph_edges.csv", "tables/alignment_shifts.json", "tables/evaluation.json"),
        *("tables/contact_graph.csv", "tables/connectivity_matrix.csv"),
        *("tables/graph.graphml", "tables/graph.gexf", "tables/graph.json"),
        "figures/Figure1_EM_preprocess_align_segment.pdf",
        "figures/Figure1_EM_preprocess_align_segment.png",
        "figures/Figure2_synapse_candidates_overlay.pdf",
        "figures/Figure2_synapse_candidates_overlay.png",
        *("figures/Figure3_graph.pdf", "figures/Figure3_graph.png"),
        *("figures/Figure4_alignment_shifts.pdf", "figures/Figure4_alignment_shifts.png"),
        *("figures/Figure5_ortho_views.pdf", "figures/Figure5_ortho_views.png"),
        *("figures/Figure6_largest_neurites.pdf", "figures/Figure6_largest_neurites.png"),
        *("figures/Figure7_synapse_gallery.pdf", "figures/Figure7_synapse_gallery.png"),
        *("figures/Figure8_distributions.pdf", "figures/Figure8_distributions.png"),
        "report.html",
        *("runs/pipeline_runs.sqlite", f"runs/{past.run_id}_config.json"),
    }


def from_file(tmp_path, raw, **changes):
    """Run on an array of one's own; return the output folder."""
    np.savez(tmp_path / "own.npz", raw=raw)
    source = Source(f"{tmp_path / 'own.npz'}:raw", None, voxel_size=SIZE)
    outdir = tmp_path / "of its own"
    config = RunConfig(source, str(outdir), fall_back_to_phantom=False, **changes)
    pipeline.run(config, Reporter(quiet=True))
    return outdir


def test_a_rotated_section_is_reported_with_the_option_that_corrects_it(tmp_path, capsys):
    raw = make_phantom((6, 128, 128), seed=3).volume.data.copy()
    raw[3] = ndimage.rotate(raw[3], 14, reshape=False, mode="reflect")
    from_file(tmp_path, raw)
    assert "section 3 is rotated against the neighbouring sections" in capsys.readouterr().err
    from_file(tmp_path, raw, align_params=AlignParams(model="auto"))
    assert "section 3" not in capsys.readouterr().err


def test_nothing_is_left_where_nothing_was_imaged(tmp_path):
    raw = make_phantom((6, 96, 96), seed=3).volume.data.copy()
    raw[:, :30] = raw[:, :, 80:] = 0
    outdir = from_file(tmp_path, raw, simulate_sigma_px=1.0)
    aligned = read_volume(outdir / paths.ALIGNED["float32"]).data
    labels = read_volume(outdir / paths.LABELS).data
    assert not aligned[labels == 0].any()
    assert 0.3 < (labels > 0).mean() < 0.65


def test_sections_that_fit_nothing_are_told_of_though_they_are_too_many_to_bridge(tmp_path, capsys):
    raw = make_phantom((20, 192, 192), seed=3).volume.data.copy()
    raw[7:12] = np.random.default_rng(0).integers(1, 255, raw[7:12].shape)
    outdir = from_file(tmp_path, raw)
    assert "sections 7, 8, 9, 10, 11 are unlike" in capsys.readouterr().err
    assert read_volume(outdir / paths.LABELS).shape == raw.shape


@pytest.mark.parametrize("shape", [(1, 96, 96), (20, 1, 96), (2, 16, 16)])
def test_the_thinnest_stacks_go_through_all_stages(tmp_path, shape):
    raw = make_phantom((20, 96, 96), seed=3).volume.data[tuple(slice(n) for n in shape)]
    outdir = from_file(tmp_path, raw)
    assert (outdir / "report.html").exists()
    assert read_volume(outdir / paths.LABELS).data.shape == shape


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (paths.CUTOUT, np.uint8),
        (paths.PREPROCESSED, np.float32),
        (paths.ALIGNED["float32"], np.float32),
        (paths.LABELS, np.int32),
    ],
)
def test_arrays_have_their_type_shape_and_place_beside_them(outdir, name, dtype):
    volume = read_volume(outdir / name)
    assert volume.data.dtype == dtype
    assert volume.shape == SHAPE
    assert (volume.voxel_size, volume.origin, volume.source) == (SIZE, (0, 0, 0), URI)
    beside = json.loads((outdir / name).with_suffix(".json").read_text())
    assert beside["axes"] == "ZYX"
    assert beside["dtype"] == np.dtype(dtype).name


def test_arrays_hold_what_their_names_say(outdir):
    cutout, preprocessed, aligned, labels = (
        read_volume(outdir / name).data
        for name in (paths.CUTOUT, paths.PREPROCESSED, paths.ALIGNED["float32"], paths.LABELS)
    )
    np.testing.assert_array_equal(cutout, make_phantom(SHAPE, seed=7).volume.data)
    for image in (preprocessed, aligned):
        assert 0 <= image.min() < image.max() <= 1
    transforms = RunFolder(outdir).transforms
    np.testing.assert_allclose(apply_transforms(preprocessed, transforms), aligned, atol=1e-3)
    assert labels.min() >= 0
    assert len(np.unique(labels)) > 10


def test_tables_begin_with_the_published_columns(outdir):
    assert columns(outdir / paths.SYNAPSES)[:6] == ["z", "y", "x", "pre_id", "post_id", "score"]
    assert columns(outdir / paths.NODES)[:4] == ["node", "in_degree", "out_degree", "pagerank"]
    assert columns(outdir / paths.EDGES)[:2] == ["pre_id", "post_id"]


def test_segments_and_the_merge_log_tell_how_the_labels_came_about(outdir):
    labels = read_volume(outdir / paths.LABELS).data
    segments, log = (pd.read_csv(outdir / name) for name in (paths.SEGMENTS, paths.MERGE_LOG))
    voxels = np.bincount(labels.ravel())
    assert segments.set_index("id")["voxels"].to_dict() == dict(enumerate(voxels[1:], start=1))
    assert segments["doubt"].is_monotonic_decreasing
    assert segments["doubt"].iloc[0] > 0
    joins = log[log["joined"]]
    assert joins["step"].tolist() == list(range(len(joins)))
    assert {*log["neurite"], *log["other"].dropna()} <= set(segments["id"])
    assert set(log["reason"]) <= {"boundary", "overlap", "enclosure", "organelle"}
    assert {*log["source"], *segments["source"]} == {URI}


def test_the_watershed_leaves_segments_without_doubt_and_no_merge_log(used):
    config = replace(CONFIG, segmentation="watershed")
    assert paths.MERGE_LOG not in planning.list_output_files(config)
    run(used, segmentation="watershed")
    assert not (used / paths.MERGE_LOG).exists()
    segments = pd.read_csv(used / paths.SEGMENTS)
    labels = read_volume(used / paths.LABELS).data
    assert segments["id"].tolist() == list(range(1, labels.max() + 1))
    assert segments["doubt"].isna().all()


def test_tables_speak_of_the_same_neurites(outdir):
    labels = read_volume(outdir / paths.LABELS).data
    synapses, nodes, edges = (
        pd.read_csv(outdir / name) for name in (paths.SYNAPSES, paths.NODES, paths.EDGES)
    )
    assert len(synapses)
    assert {*synapses.pre_id, *synapses.post_id} <= set(np.unique(labels)) - {0}
    assert set(nodes.node) == {*edges.pre_id, *edges.post_id}
    assert {*edges.pre_id} <= {*synapses.pre_id}
    inside = synapses[["z", "y", "x"]].to_numpy()
    assert (inside >= 0).all()
    assert (inside < SHAPE).all()
    assert synapses.score.between(0, 1).all()


def test_shifts_are_told_with_unit_source_and_damage(outdir):
    content = json.loads((outdir / paths.ALIGNMENT).read_text())
    phantom = make_phantom(SHAPE, seed=7)
    assert np.shape(content["shifts"]) == np.shape(content["true_shifts"]) == (10, 2)
    assert (content["unit"], content["axes"], content["source"]) == ("px", ["dy", "dx"], URI)
    assert content["pixel_size_nm"] == [8, 8]
    assert content["damaged_sections"] == list(phantom.damaged_sections)
    np.testing.assert_allclose(content["true_shifts"], phantom.ground_truth.shifts)


def test_the_evaluation_has_the_published_form(evaluation):
    assert set(evaluation) == {"segmentation", "synapses", "alignment", "source"}
    assert set(evaluation["segmentation"]) == {
        *("are", "voi", "voi_split", "voi_merge", "fraction_scored", "unassigned")
    }
    assert set(evaluation["synapses"]) == {"100", "200", "400"}
    for scores in evaluation["synapses"].values():
        # Partners are scored where something was matched.
        assert {"precision", "recall", "f1"} <= set(scores)
        assert set(scores) <= {"precision", "recall", "f1", "partners", "direction"}
        assert ("partners" in scores) == (scores["recall"] > 0)
    assert set(evaluation["alignment"]) == {"rms_px", "reference"}


def test_the_evaluation_is_worth_having(evaluation):
    assert evaluation["segmentation"]["are"] < 0.5
    assert evaluation["segmentation"]["fraction_scored"] > 0.9
    assert evaluation["alignment"]["rms_px"] < 2  # neurites that lean are straightened a little


def test_the_evaluation_follows_from_the_files_and_the_truth_in_their_frame(outdir, evaluation):
    truth = make_phantom(SHAPE, seed=7).ground_truth
    transforms = RunFolder(outdir).transforms
    labels = read_volume(outdir / paths.LABELS).data
    true_labels = apply_transforms(truth.labels, transforms, order=0)
    assert score_segmentation(labels, true_labels) == pytest.approx(evaluation["segmentation"])
    true_synapses = truth.synapses.copy()
    true_synapses[["z", "y", "x"]] = transform_points(truth.synapses[["z", "y", "x"]], transforms)
    candidates = pd.read_csv(outdir / paths.SYNAPSES)
    scores = score_synapses(candidates, true_synapses, SIZE, labels=labels, true_labels=true_labels)
    assert scores == evaluation["synapses"]
    rms = alignment_rms(transforms.shifts, truth.shifts)
    assert rms == pytest.approx(evaluation["alignment"]["rms_px"])


def test_truth_is_turned_and_stretched_as_sections_are(outdir, tmp_path):
    evaluation = run(tmp_path, align_params=AlignParams(model="affine"))
    content = json.loads((tmp_path / paths.ALIGNMENT).read_text())
    assert "matrices" not in json.loads((outdir / paths.ALIGNMENT).read_text())
    assert np.shape(content["matrices"]) == (len(content["shifts"]), 2, 2)
    transforms = RunFolder(tmp_path).transforms
    preprocessed = read_volume(tmp_path / paths.PREPROCESSED).data
    aligned = read_volume(tmp_path / paths.ALIGNED["float32"]).data
    expected = apply_transforms(preprocessed, transforms)
    np.testing.assert_allclose(expected, aligned, atol=1e-3)
    truth = make_phantom(SHAPE, seed=7).ground_truth
    true_labels = apply_transforms(truth.labels, transforms, order=0)
    labels = read_volume(tmp_path / paths.LABELS).data
    assert evaluation["segmentation"] == pytest.approx(score_segmentation(labels, true_labels))
    true = truth.synapses.copy()
    places = true[["z", "y", "x"]].to_numpy()
    true[["z", "y", "x"]] = transform_points(places, transforms, SHAPE[1:])
    candidates = pd.read_csv(tmp_path / paths.SYNAPSES)
    found = score_synapses(candidates, true, SIZE, labels=labels, true_labels=true_labels)
    for limit, score in evaluation["synapses"].items():
        assert score == pytest.approx(found[limit])


def test_figures_can_be_opened(outdir):
    for figure in FIGURES.values():
        pdf, png = figure.files
        assert (outdir / pdf).read_bytes().startswith(b"%PDF")
        with Image.open(outdir / png) as image:
            assert min(image.size) > 300


def test_the_log_knows_stages_scores_and_checksums(outdir, evaluation):
    (past,) = runlog.read_history(outdir)
    assert (past.status, past.source, past.cutout_xyz) == ("finished", URI, SHAPE[::-1])
    names = [stage.name for stage in past.stages]
    assert names[:4] == ["plan", "fetch", "preprocess", "align"]
    assert {"segment", "stitch", "synapses", "graph", "evaluate", "figures", "save"} < set(names)
    assert past.metrics["segmentation/are"] == evaluation["segmentation"]["are"]
    assert past.metrics["synapses/200/f1"] == evaluation["synapses"]["200"]["f1"]
    with closing(sqlite3.connect(outdir / paths.RUN_LOG)) as log:
        logged = dict(log.execute("SELECT path, sha256 FROM artefacts").fetchall())
    published = files(outdir, "data", "tables", "figures", "report.html")
    assert logged == {name: file_sha256(outdir / name) for name in published}


def test_the_configuration_can_be_read_back(outdir):
    (path,) = (outdir / "runs").glob("*_config.json")
    kept = json.loads(path.read_text())["config"]
    assert kept["source"]["uri"] == "phantom://neuropil"
    assert kept["source"]["cutout_xyz"] == list(SHAPE[::-1])
    assert kept["stitch_params"]
    assert kept["threads"] == 1


# --- again, and otherwise -----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(outdir, tmp_path):
    run(tmp_path, threads=2)
    first, second = files(outdir, "data", "tables"), files(tmp_path, "data", "tables")
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.fixture
def used(outdir, tmp_path):
    """An output folder of an earlier run, with corrections made since."""
    folder = tmp_path / "used"
    shutil.copytree(outdir, folder)
    (folder / "data" / "neurite_labels_corrected_i32_zyx.npy").write_bytes(b"days of work")
    return folder


def test_a_minimal_run_replaces_all_of_an_earlier_one_but_corrections(used):
    run(used, save_minimal=True, aligned_dtype="float16", align=False, threads=2)
    assert set(files(used, "data")) == {
        *("data/em_aligned_float16_zyx.npy", "data/em_aligned_float16_zyx.json"),
        *("data/neurite_labels_i32_zyx.npy", "data/neurite_labels_i32_zyx.json"),
        "data/neurite_labels_corrected_i32_zyx.npy",
    }
    assert read_volume(used / paths.ALIGNED["float16"]).data.dtype == np.float16
    content = json.loads((used / paths.ALIGNMENT).read_text())
    assert content["applied"] is False
    assert not np.any(content["shifts"])
    assert [past.status for past in runlog.read_history(used)] == ["finished"] * 2


def test_a_run_that_fails_leaves_earlier_results_and_says_so_in_the_log(used, tmp_path):
    np.save(tmp_path / "truth.npy", np.ones((3, 4, 5), np.int32))
    before = files(used, "data", "tables", "figures")
    with pytest.raises(DataError, match=r"\(3, 4, 5\)"):
        run(used, ground_truth=str(tmp_path / "truth.npy"))
    assert files(used, "data", "tables", "figures") == before
    past = runlog.read_history(used)[-1]
    assert past.status == "failed"
    assert "(3, 4, 5)" in past.error
    assert not list((used / "runs").glob(".*.partial"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A file whose sections are in register already, and its labels: one section over and over."""
    phantom = make_phantom((2, *SHAPE[1:]), seed=3)
    folder = tmp_path_factory.mktemp("straight")
    grain = np.random.default_rng(0).normal(0, 4, (8, *SHAPE[1:]))
    em = np.clip(phantom.volume.data[0] + grain, 1, 255).astype(np.uint8)
    np.save(folder / "em.npy", em)
    np.save(folder / "truth.npy", np.repeat(phantom.ground_truth.labels[:1], 8, axis=0))
    return folder


def test_simulated_misalignment_is_undone_and_truth_from_a_file_scored(straight, tmp_path):
    source = Source(str(straight / "em.npy"), voxel_size=SIZE)
    evaluation = run(
        tmp_path,
        source=source,
        simulate_sigma_px=2.0,
        ground_truth=str(straight / "truth.npy"),
        threads=2,
    )
    assert evaluation == json.loads((tmp_path / paths.EVALUATION).read_text())
    assert set(evaluation) == {"alignment", "segmentation", "source"}
    assert evaluation["alignment"]["reference"] == "the position before displacement"
    assert evaluation["alignment"]["rms_px"] <= 0.25
    assert evaluation["segmentation"]["are"] < 0.6
    content = json.loads((tmp_path / paths.ALIGNMENT).read_text())
    spread = np.std(content["true_shifts"])
    assert 1 < spread < 3
    names = [stage.name for stage in runlog.read_history(tmp_path)[0].stages]
    assert names[:3] == ["plan", "fetch", "misalign"]


def test_without_truth_there_is_no_evaluation(straight, tmp_path):
    config = replace(CONFIG, source=Source(str(straight / "em.npy"), (64, 64, 4), voxel_size=SIZE))
    assert paths.EVALUATION not in planning.list_output_files(config)
    assert run(tmp_path, source=config.source) == {}
    assert not (tmp_path / paths.EVALUATION).exists()


# --- before a run -------------------------------------------------------------------------------


def test_what_cannot_fit_into_memory_is_refused_beforehand():
    config = replace(CONFIG, source=Source("phantom://neuropil", (20_000, 20_000, 2_000)))
    with pytest.raises(UsageError, match=r"needs about \d+ GB, and this machine has"):
        planning.plan_run(config, Reporter(quiet=True))


@pytest.mark.parametrize(("content", "n_segments"), [(0, 0), (128, 1)])
def test_a_cutout_that_shows_nothing_ends_in_empty_tables(tmp_path, content, n_segments):
    np.save(tmp_path / "em.npy", np.full((3, 40, 48), content, np.uint8))
    run(tmp_path / "out", source=Source(str(tmp_path / "em.npy"), voxel_size=SIZE))
    for name in (paths.SYNAPSES, paths.NODES, paths.EDGES):
        assert pd.read_csv(tmp_path / "out" / name).empty
    # Grey without a picture in it is tissue, all of it.
    assert len(pd.read_csv(tmp_path / "out" / paths.SEGMENTS)) == n_segments
    assert json.loads((tmp_path / "out" / paths.ALIGNMENT).read_text())["damaged_sections"] == [
        0,
        1,
        2,
    ]
