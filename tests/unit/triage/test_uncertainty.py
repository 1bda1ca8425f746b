import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.cluster.hierarchy import DisjointSet

from connectome.align import apply_transforms
from connectome.core.volume import Transforms
from connectome.membranes.predict import predict_neurite_probability
from connectome.phantom import make_phantom
from connectome.preprocess import find_tissue, preprocess
from connectome.segment.supervoxels import segment_supervoxels
from connectome.stitch.agglomeration import agglomerate
from connectome.triage.uncertainty import (
    ENCLOSURE_DOUBT,
    MERGE_COLUMNS,
    MIN_DOUBT,
    SEGMENT_COLUMNS,
    merge_log,
    segment_table,
)

THIN, THICK = (10.0, 10.0, 10.0), (30.0, 8.0, 8.0)


def described(pieces, probability, voxel_size):
    """Stitch pieces; return labels, the log of joins, and the table of neurites."""
    stitched = agglomerate(pieces, probability, voxel_size=voxel_size)
    log = merge_log(stitched, pieces, voxel_size)
    return stitched.labels, log, segment_table(stitched.labels, voxel_size, stitched, log)


def three_slabs(between):
    """Piece 1 goes on as piece 2 in the sections above; piece 3 runs beside both of them."""
    pieces = np.full((20, 16, 24), 3, np.int32)
    pieces[:10, :, :12], pieces[10:, :, :12] = 1, 2
    probability = np.full(pieces.shape, 0.9, np.float32)
    probability[:, :, 11:13] = between
    return pieces, probability


# --- joins --------------------------------------------------------------------------------------


def test_a_join_side_by_side_is_more_doubtful_than_one_end_to_end():
    pieces, probability = three_slabs(between=0.4)
    labels, log, _ = described(pieces, probability, THIN)
    assert labels.max() == 1
    assert log["joined"].all() and log["step"].tolist() == [0, 1]
    end_to_end, beside = log.itertuples()
    assert {end_to_end.piece_a, end_to_end.piece_b} == {1, 2}
    assert (end_to_end.shared_sections, beside.shared_sections) == (0, 20)
    assert 5 * end_to_end.doubt < beside.doubt


def test_a_join_is_told_with_its_place_reason_score_and_volume():
    pieces, probability = three_slabs(between=0.4)
    _, log, _ = described(pieces, probability, THIN)
    end_to_end, beside = log.itertuples()
    assert (end_to_end.z, end_to_end.y, end_to_end.x) == (9.5, 7.5, 5.5)
    assert (beside.z, beside.y, beside.x) == (9.5, 7.5, 11.5)
    assert (end_to_end.contact_voxels, beside.contact_voxels) == (16 * 12, 20 * 16)
    assert end_to_end.reason == beside.reason == "boundary"
    assert beside.probability == pytest.approx(0.4)
    assert beside.score == pytest.approx(beside.strength / beside.contact_voxels, abs=1e-4)
    assert end_to_end.volume_um3 == pytest.approx(10 * 16 * 12 * 1e-6)
    assert beside.volume_um3 == pytest.approx(20 * 16 * 12 * 1e-6)


def test_profiles_of_thick_sections_are_joined_by_overlap():
    pieces = np.repeat(np.arange(1, 5, dtype=np.int32), 100).reshape(4, 10, 10)
    _, log, _ = described(pieces, np.ones(pieces.shape, np.float32), THICK)
    assert log["reason"].tolist() == ["overlap"] * 3
    assert (log["overlap"] == 1).all()
    assert log["score"].nunique() == 1


def test_what_lies_within_a_neurite_has_a_reason_of_its_own():
    pieces = np.ones((12, 12, 12), np.int32)
    pieces[4:8, 4:8, 4:8] = 2
    probability = np.where(pieces == 2, 0, 0.9).astype(np.float32)
    labels, log, _ = described(pieces, probability, THIN)
    assert labels.max() == 1
    (row,) = log.itertuples()
    assert (row.reason, row.strength, row.doubt) == ("enclosure", 0, ENCLOSURE_DOUBT)


def test_pairs_left_apart_follow_the_joins_and_the_faintest_membrane_comes_first():
    pieces = np.ones((12, 16, 36), np.int32)
    pieces[:, :, 12:24], pieces[:, :, 24:] = 2, 3
    probability = np.full(pieces.shape, 0.9, np.float32)
    probability[:, :, 11:13], probability[:, :, 23:25] = 0.20, 0.12
    _, log, _ = described(pieces, probability, THIN)
    assert not log["joined"].any()
    assert log["step"].isna().all()
    assert log[["neurite", "other"]].to_numpy().tolist() == [[1, 2], [2, 3]]
    assert (log["strength"] < 0).all()
    assert log["doubt"].is_monotonic_decreasing


def test_pairs_parted_by_a_plain_membrane_are_not_listed():
    pieces, probability = three_slabs(between=0.0)
    _, log, _ = described(pieces, probability, THIN)
    assert log["joined"].tolist() == [True]


stacks = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)
)


def random_stack(seed, *shape):
    rng = np.random.default_rng(seed)
    # Columns, so that numbers are connected and lie in sections without a gap.
    pieces = np.broadcast_to(rng.integers(0, 6, shape[1:]), shape).astype(np.int32)
    return pieces, rng.random(shape, np.float32)


@settings(max_examples=30)
@given(stacks, st.sampled_from([THIN, THICK]))
def test_going_through_the_joins_again_gives_the_neurites(stack, voxel_size):
    pieces, probability = random_stack(*stack)
    labels, log, table = described(pieces, probability, voxel_size)
    assert log.columns.tolist() == MERGE_COLUMNS
    assert table.columns.tolist() == SEGMENT_COLUMNS
    groups = DisjointSet(np.unique(pieces[pieces > 0]).tolist())
    for row in log[log["joined"]].itertuples():
        assert groups.merge(row.piece_a, row.piece_b)
        assert set(labels[np.isin(pieces, (row.piece_a, row.piece_b))]) == {row.neurite}
    assert groups.n_subsets == labels.max()
    assert log["doubt"].between(0, 1).all() and table["doubt"].between(0, 1).all()
    apart = log[~log["joined"]]
    assert (apart["doubt"] >= MIN_DOUBT).all()
    assert (apart["neurite"] < apart["other"]).all()


# --- neurites -----------------------------------------------------------------------------------


def test_a_neurite_is_measured():
    labels = np.full((5, 8, 9), 1, np.int32)
    labels[1:4, 2:5, 3:7] = 2
    table = segment_table(labels, THICK).set_index("id")
    inside = table.loc[2]
    assert inside["voxels"] == 36
    assert inside["volume_um3"] == pytest.approx(36 * 30 * 8 * 8 * 1e-9)
    assert inside[["n_sections", "first_section", "last_section"]].tolist() == [3, 1, 3]
    assert inside[["y_min", "y_max", "x_min", "x_max"]].tolist() == [2, 4, 3, 6]
    assert inside[["z", "y", "x"]].tolist() == [2, 3, 4.5]
    assert table["touches_border"].to_dict() == {1: True, 2: False}


def test_the_end_of_the_tissue_is_a_border():
    labels = np.zeros((3, 7, 7), np.int32)
    labels[:, 1:6, 1:6] = 1
    labels[1, 2:5, 2:5] = 2
    labels[1, 3, 3] = 3
    table = segment_table(labels, THICK).set_index("id")
    assert table["touches_border"].to_dict() == {1: True, 2: False, 3: False}


@settings(max_examples=30)
@given(stacks)
def test_measures_are_those_of_the_voxels(stack):
    pieces, _ = random_stack(*stack)
    _, labels = np.unique(pieces, return_inverse=True)
    labels = (labels + (pieces.min() > 0)).astype(np.int32)
    table = segment_table(labels, THIN)
    assert table["id"].tolist() == list(range(1, labels.max() + 1))
    for row in table.itertuples():
        at = np.argwhere(labels == row.id)
        assert row.voxels == len(at)
        assert row.n_sections == len(np.unique(at[:, 0]))
        np.testing.assert_allclose((row.z, row.y, row.x), at.mean(axis=0), atol=0.051)
        low, high = at.min(axis=0), at.max(axis=0)
        assert (row.first_section, row.y_min, row.x_min) == tuple(low)
        assert (row.last_section, row.y_max, row.x_max) == tuple(high)


def test_of_what_came_by_another_road_doubt_stays_empty():
    table = segment_table(np.ones((2, 4, 4), np.int32), THICK)
    empty = ["boundary", "doubt", "doubt_z", "doubt_y", "doubt_x"]
    assert table[empty].isna().all(axis=None)
    assert table["reason"].tolist() == [""]


def test_a_stack_without_neurites_has_empty_tables():
    nothing = np.zeros((2, 4, 4), np.int32)
    _, log, table = described(nothing, np.zeros(nothing.shape, np.float32), THICK)
    assert log.empty and table.empty
    assert (log.columns.tolist(), table.columns.tolist()) == (MERGE_COLUMNS, SEGMENT_COLUMNS)


def test_a_neurite_by_itself_is_beyond_doubt():
    alone = np.ones((2, 4, 4), np.int32)
    _, log, table = described(alone, np.ones(alone.shape, np.float32), THICK)
    assert log.empty
    assert table["doubt"].tolist() == [0]
    assert table["reason"].tolist() == [""]


def test_the_reason_leads_to_the_join_in_doubt():
    pieces, probability = three_slabs(between=0.35)
    _, log, table = described(pieces, probability, THIN)
    (row,) = table.itertuples()
    assert row.reason == "may hold two neurites"
    worst = log.loc[log["doubt"].idxmax()]
    assert (row.doubt_z, row.doubt_y, row.doubt_x) == (worst["z"], worst["y"], worst["x"])


def test_the_smaller_of_two_that_may_be_one_is_a_part_of_the_larger():
    pieces, probability = three_slabs(between=0.2)
    pieces[:, :, 18:] = 0
    labels, _, table = described(pieces, probability, THIN)
    larger, smaller = labels[0, 0, 0], labels[0, 0, 15]
    reasons = table.set_index("id")["reason"]
    assert reasons[smaller] == f"may be a part of {larger}"
    assert reasons[larger] == "may hold two neurites"
    assert table.set_index("id").loc[smaller, ["doubt_y", "doubt_x"]].tolist() == [7.5, 11.5]
    assert table.set_index("id")["boundary"].tolist() == pytest.approx([0.2, 0.2])


# --- against the truth --------------------------------------------------------------------------


def majority(labels, truth):
    known = truth > 0
    counts = pd.crosstab(labels[known], truth[known])
    return counts.idxmax(axis=1)


def ranked(doubt, wrong):
    """Tell how likely doubt puts a wrong row before a right one."""
    statistic = stats.mannwhitneyu(doubt[wrong], doubt[~wrong]).statistic
    return statistic / (wrong.sum() * (~wrong).sum())


def judged(sections, truth, voxel_size):
    """AUC of doubt in joins, and in pairs left apart."""
    tissue = find_tissue(sections)
    even = preprocess(sections, tissue, voxel_size, threads=2)
    probability = predict_neurite_probability(even, tissue, voxel_size, threads=2)
    pieces = segment_supervoxels(probability, tissue, voxel_size)
    labels, log, _ = described(pieces, probability, voxel_size)
    joined, of_piece, of_id = log["joined"], majority(pieces, truth), majority(labels, truth)
    one, other = (log[side].map(of_piece) for side in ("piece_a", "piece_b"))
    false = (one != other) & one.notna() & other.notna()
    apart = log[~joined].astype({"other": int})
    missed = apart["neurite"].map(of_id) == apart["other"].map(of_id)
    return ranked(log["doubt"][joined], false[joined]), ranked(apart["doubt"], missed)


def test_doubt_ranks_what_is_wrong_on_a_phantom():
    phantom = make_phantom((16, 160, 160), seed=101)
    volume = phantom.volume
    # The true shifts, because alignment is not what is tested here.
    transforms = Transforms(phantom.ground_truth.shifts)
    sections = apply_transforms(volume.data, transforms, order=1)
    truth = apply_transforms(phantom.ground_truth.labels, transforms, order=0)
    joins, apart = judged(sections, truth, volume.voxel_size)
    assert joins > 0.8 and apart > 0.7


@pytest.mark.parametrize(
    ("name", "box"), [("fib25_dev", np.s_[:40, :200, :200]), ("isbi_dev", np.s_[:12])]
)
def test_doubt_ranks_what_is_wrong_in_real_tissue(shared_data, name, box):
    path = shared_data / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is not distributed with the project")
    with np.load(path) as file:
        sections, truth = file["raw"][box], file["labels"][box]
        voxel_size = tuple(file["voxel_size_nm_zyx"].tolist())
    joins, apart = judged(sections, truth, voxel_size)
    assert joins > 0.6 and apart > 0.6
