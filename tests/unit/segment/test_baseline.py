"""The published baseline: profiles, links between them, and a whole run."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from connectome import runlog
from connectome.cli.reporter import Reporter
from connectome.core.params import RunConfig, Source, WatershedParams
from connectome.evaluate import score_segmentation
from connectome.io import paths
from connectome.io.volumes import read_volume
from connectome.segment.baseline import link_profiles, segment_profiles
from connectome.workflows import pipeline

sys.path.insert(0, str(ROOT / "benchmarks"))

import poc_reference

VOXEL = (30.0, 8.0, 8.0)
EVERYTHING = WatershedParams(foreground_quantile=0.3)


def discs(centres, radius=12, shape=(96, 96)):
    """Return one section of bright discs in the dark."""
    dark = np.ones(shape, bool)
    dark[tuple(np.transpose(centres))] = False
    distance = ndimage.distance_transform_edt(dark)
    return np.clip((radius + 1 - distance) / 4, 0, 1).astype(np.float32)


def segment(stack, voxel_size=VOXEL, **changes):
    return segment_profiles(stack, np.ones(stack.shape, bool), voxel_size, **changes)


def block(shape, *corners, side=15):
    """Return profiles: numbered squares at the corners (z, y, x)."""
    profiles = np.zeros(shape, np.int32)
    for z, y, x in corners:
        profiles[z, y : y + side, x : x + side] = profiles[z].max() + 1
    return profiles


# --- profiles -----------------------------------------------------------------------------------


def test_every_bright_disc_is_one_profile_and_dark_pixels_are_background():
    section = discs([(24, 24), (24, 70), (70, 46)])
    (profiles,) = segment(section[None])
    assert profiles[24, 24] != profiles[24, 70] != profiles[70, 46] != profiles[24, 24]
    assert sorted(np.unique(profiles)) == [0, 1, 2, 3]
    assert not profiles[section == 0].any()


def test_touching_discs_are_divided_between_their_centres():
    (profiles,) = segment(discs([(40, 30), (40, 51)])[None])
    left, right = profiles[40, 30], profiles[40, 51]
    assert left > 0
    assert right > 0
    assert left != right


def test_a_disc_at_the_edge_is_a_profile():
    (profiles,) = segment(discs([(0, 30), (60, 60)])[None])
    assert profiles[0, 30] > 0


def test_objects_below_the_smallest_area_are_background():
    section = discs([(30, 30)]) + discs([(70, 70)], radius=4)
    (profiles,) = segment(section[None], params=EVERYTHING)
    assert profiles[30, 30] > 0
    assert profiles[70, 70] == 0


def test_lengths_are_in_nm_not_in_pixels():
    coarse = discs([(24, 24), (24, 70), (70, 46), (80, 12)])[None]
    fine = ndimage.zoom(coarse, (1, 2, 2), order=1)
    a, b = segment(coarse), segment(fine, (30.0, 4.0, 4.0))
    assert a.max() == b.max()
    assert np.mean((a > 0) == (b[:, ::2, ::2] > 0)) > 0.97


def test_pixels_may_be_rectangular():
    coarse = discs([(24, 24), (24, 70), (70, 46)])[None]
    stretched = np.repeat(coarse, 3, axis=2)
    assert segment(stretched, (30.0, 8.0, 8 / 3)).max() == 3


def test_black_surroundings_are_not_part_of_the_tissue():
    section = discs([(24, 24), (24, 70), (70, 46)])
    padded = np.pad(section, ((0, 0), (0, 400)))
    mask = np.zeros(padded.shape, bool)
    mask[:, :96] = True
    (profiles,) = segment_profiles(padded[None], mask[None], VOXEL)
    np.testing.assert_array_equal(profiles[:, :96] > 0, segment(section[None])[0] > 0)
    assert not profiles[:, 96:].any()


def test_threads_do_not_change_the_result():
    stack = np.random.default_rng(0).random((5, 60, 70)).astype(np.float32)
    stack = ndimage.gaussian_filter(stack, (0, 4, 4))
    np.testing.assert_array_equal(*(segment(stack, threads=n) for n in (1, 3)))


def test_progress_is_reported_for_every_section():
    calls = []
    segment(np.zeros((4, 16, 16), np.float32), progress=calls.append)
    assert calls == [1, 1, 1, 1]


# --- links --------------------------------------------------------------------------------------


def test_profiles_are_linked_from_200_pixels_of_overlap_at_8_nm():
    below = block((2, 40, 40), (0, 0, 0), (1, 1, 0))  # 14 × 15 = 210 px in common
    apart = block((2, 40, 40), (0, 0, 0), (1, 2, 0))  # 13 × 15 = 195 px
    assert link_profiles(below, VOXEL).max() == 1
    assert link_profiles(apart, VOXEL).max() == 2
    # Twice as many pixels of half the width are the same area.
    assert link_profiles(below.repeat(2, 2), (30, 8, 4)).max() == 1


def test_a_bridge_merges_the_profiles_it_overlaps():
    profiles = block((3, 20, 40), (0, 0, 0), (0, 0, 20), (2, 0, 0), (2, 0, 20))
    assert link_profiles(profiles, VOXEL).max() == 4
    profiles[1, :15, :35] = 1
    assert link_profiles(profiles, VOXEL).max() == 1


def test_a_section_without_profiles_ends_every_neurite():
    profiles = block((3, 20, 20), (0, 0, 0), (2, 0, 0))
    assert link_profiles(profiles, VOXEL)[[0, 2], 0, 0].tolist() == [1, 2]


def test_ids_are_numbered_in_order_of_appearance():
    profiles = block((3, 20, 60), (0, 0, 0), (1, 0, 40), (1, 0, 0), (1, 0, 20), (2, 0, 20))
    ids = link_profiles(profiles, VOXEL)
    assert ids[0, 0, 0] == ids[1, 0, 0] == 1
    assert ids[1, 0, 40] == 2
    assert ids[1, 0, 20] == ids[2, 0, 20] == 3


def link_slowly(profiles, min_px):
    """Link profiles one pair at a time."""
    bodies = [(z, p) for z, section in enumerate(profiles) for p in range(1, section.max() + 1)]
    body = {key: i for i, key in enumerate(bodies)}
    for z in range(len(profiles) - 1):
        for a in range(1, profiles[z].max() + 1):
            for b in range(1, profiles[z + 1].max() + 1):
                if np.sum((profiles[z] == a) & (profiles[z + 1] == b)) >= min_px:
                    one, other = body[z, a], body[z + 1, b]
                    body = {key: one if i == other else i for key, i in body.items()}
    joined = np.full(profiles.shape, -1)
    for (z, p), i in body.items():
        joined[z][profiles[z] == p] = i
    return joined


@settings(max_examples=60)
@given(
    arrays(np.int32, st.tuples(*map(st.integers, (1, 1, 1), (4, 6, 6))), elements=st.integers(0, 3))
)
def test_links_are_those_of_a_slow_reference(profiles):
    for section in profiles:
        section[:] = np.unique(np.append(section, 0), return_inverse=True)[1][:-1].reshape(
            section.shape
        )
    ids = link_profiles(profiles, VOXEL, WatershedParams(min_overlap_nm2=3 * 64))
    expected = link_slowly(profiles, 3)
    assert ids.dtype == np.int32
    assert np.array_equal(ids == 0, profiles == 0)
    assert set(np.unique(ids)) - {0} == set(range(1, ids.max() + 1))
    pairs = set(zip(ids[ids > 0].tolist(), expected[ids > 0].tolist(), strict=True))
    assert len(pairs) == ids.max() == len(set(expected[ids > 0].tolist()))


# --- arbitrary input -----------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 33), st.integers(1, 33)),
    anisotropy=st.floats(1, 20),
    pixel_nm=st.floats(1, 40),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["noise", "constant", "black", "smooth"]),
)
def test_any_stack_has_connected_neurites_with_consecutive_ids(
    shape, anisotropy, pixel_nm, seed, kind
):
    rng = np.random.default_rng(seed)
    stack = {
        "noise": lambda: rng.random(shape),
        "constant": lambda: np.full(shape, 0.5),
        "black": lambda: np.zeros(shape),
        "smooth": lambda: ndimage.gaussian_filter(rng.random(shape), (0, 3, 3)),
    }[kind]().astype(np.float32)
    mask = rng.random(shape) > 0.1
    voxel_size = (pixel_nm * anisotropy, pixel_nm, pixel_nm)
    ids = link_profiles(segment_profiles(stack, mask, voxel_size), voxel_size)
    assert (ids.shape, ids.dtype, ids.min()) == (shape, np.int32, 0) or ids.all()
    assert not ids[~mask].any()
    assert np.array_equal(np.unique(ids[ids > 0]), np.arange(1, ids.max() + 1))
    for i in range(1, ids.max() + 1):
        assert ndimage.label(ids == i)[1] == 1
    if kind in ("constant", "black"):
        assert not ids.any()


# --- in a run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    outdir = str(tmp_path_factory.mktemp("watershed"))
    source = Source("phantom://neuropil", (128, 96, 6))
    return RunConfig(source, outdir, segmentation="watershed")


def test_a_watershed_run_predicts_no_membranes_and_writes_the_same_files(config, tmp_path):
    evaluation = pipeline.run(config, Reporter(quiet=True))
    stages = [stage.name for stage in runlog.read_history(config.outdir)[-1].stages]
    assert not {"evidence", "membranes"} & set(stages)
    assert {"segment", "stitch"} < set(stages)
    labels = read_volume(tmp_path / config.outdir / paths.LABELS).data
    assert labels.max() > 3
    assert 0.3 < evaluation["segmentation"]["unassigned"] < 0.8
    (kept,) = (tmp_path / config.outdir / "runs").glob("*_config.json")
    assert json.loads(kept.read_text())["config"]["segmentation"] == "watershed"


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 17, 40)])
def test_a_watershed_run_on_a_constant_stack_has_empty_tables(config, tmp_path, shape):
    np.save(tmp_path / "em.npy", np.full(shape, 128, np.uint8))
    source = Source(str(tmp_path / "em.npy"), voxel_size=VOXEL)
    config = replace(config, source=source, outdir=str(tmp_path / "out"))
    pipeline.run(config, Reporter(quiet=True))
    assert pd.read_csv(tmp_path / "out" / paths.NODES).empty


def test_at_8_nm_the_result_is_that_of_the_published_steps(shared_data):
    with np.load(shared_data / "fib25_dev.npz") as archive:
        raw = archive["raw"][:12]
    smooth = ndimage.gaussian_filter(raw / np.float32(255), (0, 0.7, 0.7))
    published = poc_reference.stitch(poc_reference.segment(smooth))
    ours = link_profiles(segment(smooth, threads=2), VOXEL)
    # The published steps place no seed near the edge.
    ours, published = ours[:, 8:-8, 8:-8], published[:, 8:-8, 8:-8]
    assert np.mean((ours > 0) == (published > 0)) > 0.95
    assert score_segmentation(ours, published)["are"] < 0.1
