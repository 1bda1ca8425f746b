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
from connectome.triage.measurements import measure_segments
from connectome.triage.uncertainty import (
    ENCLOSURE_DOUBT,
    MERGE_COLUMNS,
    MIN_DOUBT,
    SEGMENT_COLUMNS,
    merge_log,
    segment_table,
)

THIN, THICK = (10.0, 10.0, 10.0), (30.0, 8.0, 8.0)


def agglomerated(supervoxels, probability, voxel_size):
    """Agglomerate supervoxels; return labels, merge log and segment table."""
    agglomeration = agglomerate(supervoxels, probability, voxel_size=voxel_size)
    log = merge_log(agglomeration, supervoxels, voxel_size)
    return (
        agglomeration.labels,
        log,
        segment_table(agglomeration.labels, voxel_size, agglomeration, log),
    )


def three_slabs(between):
    """Return supervoxels 1 and 2, end to end along z, and 3 beside both of them."""
    supervoxels = np.full((20, 16, 24), 3, np.int32)
    supervoxels[:10, :, :12], supervoxels[10:, :, :12] = 1, 2
    probability = np.full(supervoxels.shape, 0.9, np.float32)
    probability[:, :, 11:13] = between
    return supervoxels, probability


# --- joins --------------------------------------------------------------------------------------


def test_a_join_side_by_side_is_more_doubtful_than_one_end_to_end():
    supervoxels, probability = three_slabs(between=0.4)
    labels, log, _ = agglomerated(supervoxels, probability, THIN)
    assert labels.max() == 1
    assert log["joined"].all() and log["step"].tolist() == [0, 1]
    end_to_end, beside = log.itertuples()
    assert {end_to_end.piece_a, end_to_end.piece_b} == {1, 2}
    assert (end_to_end.shared_sections, beside.shared_sections) == (0, 20)
    assert 5 * end_to_end.doubt < beside.doubt


def test_a_join_has_position_reason_score_and_volume():
    supervoxels, probability = three_slabs(between=0.4)
    _, log, _ = agglomerated(supervoxels, probability, THIN)
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
    supervoxels = np.repeat(np.arange(1, 5, dtype=np.int32), 100).reshape(4, 10, 10)
    _, log, _ = agglomerated(supervoxels, np.ones(supervoxels.shape, np.float32), THICK)
    assert log["reason"].tolist() == ["overlap"] * 3
    assert (log["overlap"] == 1).all()
    assert log["score"].nunique() == 1


def test_enclosed_segments_have_their_own_reason():
    supervoxels = np.ones((12, 12, 12), np.int32)
    supervoxels[4:8, 4:8, 4:8] = 2
    probability = np.where(supervoxels == 2, 0, 0.9).astype(np.float32)
    labels, log, _ = agglomerated(supervoxels, probability, THIN)
    assert labels.max() == 1
    (row,) = log.itertuples()
    assert (row.reason, row.strength, row.doubt) == ("enclosure", 0, ENCLOSURE_DOUBT)


def test_rejected_joins_follow_the_joins_weakest_boundary_first():
    supervoxels = np.ones((12, 16, 36), np.int32)
    supervoxels[:, :, 12:24], supervoxels[:, :, 24:] = 2, 3
    probability = np.full(supervoxels.shape, 0.9, np.float32)
    probability[:, :, 11:13], probability[:, :, 23:25] = 0.20, 0.12
    _, log, _ = agglomerated(supervoxels, probability, THIN)
    assert not log["joined"].any()
    assert log["step"].isna().all()
    assert log[["neurite", "other"]].to_numpy().tolist() == [[1, 2], [2, 3]]
    assert (log["strength"] < 0).all()
    assert log["doubt"].is_monotonic_decreasing


def test_pairs_separated_by_a_clear_membrane_are_not_listed():
    supervoxels, probability = three_slabs(between=0.0)
    _, log, _ = agglomerated(supervoxels, probability, THIN)
    assert log["joined"].tolist() == [True]


stacks = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)
)


def random_stack(seed, *shape):
    rng = np.random.default_rng(seed)
    # Columns along z, so that supervoxels extend through adjacent sections without a gap.
    supervoxels = np.broadcast_to(rng.integers(0, 6, shape[1:]), shape).astype(np.int32)
    return supervoxels, rng.random(shape, np.float32)


@settings(max_examples=30)
@given(stacks, st.sampled_from([THIN, THICK]))
def test_replaying_the_joins_gives_the_neurites(stack, voxel_size):
    supervoxels, probability = random_stack(*stack)
    labels, log, table = agglomerated(supervoxels, probability, voxel_size)
    assert log.columns.tolist() == MERGE_COLUMNS
    assert table.columns.tolist() == SEGMENT_COLUMNS
    groups = DisjointSet(np.unique(supervoxels[supervoxels > 0]).tolist())
    for row in log[log["joined"]].itertuples():
        assert groups.merge(row.piece_a, row.piece_b)
        assert set(labels[np.isin(supervoxels, (row.piece_a, row.piece_b))]) == {row.neurite}
    assert groups.n_subsets == labels.max()
    assert log["doubt"].between(0, 1).all() and table["doubt"].between(0, 1).all()
    rejected = log[~log["joined"]]
    assert (rejected["doubt"] >= MIN_DOUBT).all()
    assert (rejected["neurite"] < rejected["other"]).all()


# --- neurites -----------------------------------------------------------------------------------


def test_size_position_and_extent_of_a_neurite():
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


def test_the_edge_of_the_tissue_is_a_border():
    labels = np.zeros((3, 7, 7), np.int32)
    labels[:, 1:6, 1:6] = 1
    labels[1, 2:5, 2:5] = 2
    labels[1, 3, 3] = 3
    table = segment_table(labels, THICK).set_index("id")
    assert table["touches_border"].to_dict() == {1: True, 2: False, 3: False}


@settings(max_examples=30)
@given(stacks)
def test_measurements_agree_with_the_voxels(stack):
    supervoxels, _ = random_stack(*stack)
    _, labels = np.unique(supervoxels, return_inverse=True)
    labels = (labels + (supervoxels.min() > 0)).astype(np.int32)
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


def test_ids_may_have_gaps_and_any_size():
    labels = np.zeros((3, 7, 7), np.int64)
    labels[:, :3], labels[1:, 4:] = 5, 3_000_000_000
    plain = np.searchsorted([0, 5, 3_000_000_000], labels)
    table = measure_segments(labels, THICK)
    assert table["id"].tolist() == [5, 3_000_000_000]
    assert table.drop(columns="id").equals(measure_segments(plain, THICK).drop(columns="id"))


def test_without_an_agglomeration_doubt_is_empty():
    table = segment_table(np.ones((2, 4, 4), np.int32), THICK)
    empty = ["boundary", "doubt", "doubt_z", "doubt_y", "doubt_x"]
    assert table[empty].isna().all(axis=None)
    assert table["reason"].tolist() == [""]


def test_a_stack_without_neurites_has_empty_tables():
    nothing = np.zeros((2, 4, 4), np.int32)
    _, log, table = agglomerated(nothing, np.zeros(nothing.shape, np.float32), THICK)
    assert log.empty and table.empty
    assert (log.columns.tolist(), table.columns.tolist()) == (MERGE_COLUMNS, SEGMENT_COLUMNS)


def test_a_single_neurite_has_no_doubt():
    alone = np.ones((2, 4, 4), np.int32)
    _, log, table = agglomerated(alone, np.ones(alone.shape, np.float32), THICK)
    assert log.empty
    assert table["doubt"].tolist() == [0]
    assert table["reason"].tolist() == [""]


def test_the_reason_has_the_position_of_the_doubtful_join():
    supervoxels, probability = three_slabs(between=0.35)
    _, log, table = agglomerated(supervoxels, probability, THIN)
    (row,) = table.itertuples()
    assert row.reason == "may contain two neurites"
    worst = log.loc[log["doubt"].idxmax()]
    assert (row.doubt_z, row.doubt_y, row.doubt_x) == (worst["z"], worst["y"], worst["x"])


def test_the_smaller_of_two_may_be_part_of_the_larger():
    supervoxels, probability = three_slabs(between=0.2)
    supervoxels[:, :, 18:] = 0
    labels, _, table = agglomerated(supervoxels, probability, THIN)
    larger, smaller = labels[0, 0, 0], labels[0, 0, 15]
    reasons = table.set_index("id")["reason"]
    assert reasons[smaller] == f"may be part of neurite {larger}"
    assert reasons[larger] == "may contain two neurites"
    assert table.set_index("id").loc[smaller, ["doubt_y", "doubt_x"]].tolist() == [7.5, 11.5]
    assert table.set_index("id")["boundary"].tolist() == pytest.approx([0.2, 0.2])


# --- against ground truth ----------------------------------------------------------------------


def majority(labels, truth):
    known = truth > 0
    counts = pd.crosstab(labels[known], truth[known])
    return counts.idxmax(axis=1)


def auc(doubt, wrong):
    """Return the probability that a wrong row has more doubt than a right one."""
    statistic = stats.mannwhitneyu(doubt[wrong], doubt[~wrong]).statistic
    return statistic / (wrong.sum() * (~wrong).sum())


def auc_of_doubt(sections, truth, voxel_size):
    """Return the AUC of doubt for joins and for rejected joins."""
    tissue = find_tissue(sections)
    even = preprocess(sections, tissue, voxel_size, threads=2)
    probability = predict_neurite_probability(even, tissue, voxel_size, threads=2)
    supervoxels = segment_supervoxels(probability, tissue, voxel_size)
    labels, log, _ = agglomerated(supervoxels, probability, voxel_size)
    joined, of_supervoxel, of_id = (
        log["joined"],
        majority(supervoxels, truth),
        majority(labels, truth),
    )
    one, other = (log[side].map(of_supervoxel) for side in ("piece_a", "piece_b"))
    false = (one != other) & one.notna() & other.notna()
    rejected = log[~joined].astype({"other": int})
    missed = rejected["neurite"].map(of_id) == rejected["other"].map(of_id)
    return auc(log["doubt"][joined], false[joined]), auc(rejected["doubt"], missed)


def test_doubt_ranks_errors_on_a_phantom():
    phantom = make_phantom((16, 160, 160), seed=101)
    volume = phantom.volume
    # The true shifts, because alignment is not what is tested here.
    transforms = Transforms(phantom.ground_truth.shifts)
    sections = apply_transforms(volume.data, transforms, order=1)
    truth = apply_transforms(phantom.ground_truth.labels, transforms, order=0)
    joins, rejected = auc_of_doubt(sections, truth, volume.voxel_size)
    assert joins > 0.8 and rejected > 0.7


@pytest.mark.parametrize(
    ("name", "box"), [("fib25_dev", np.s_[:40, :200, :200]), ("isbi_dev", np.s_[:12])]
)
def test_doubt_ranks_errors_in_real_tissue(shared_data, name, box):
    path = shared_data / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"needs {path.name}, which is not distributed with the project")
    with np.load(path) as file:
        sections, truth = file["raw"][box], file["labels"][box]
        voxel_size = tuple(file["voxel_size_nm_zyx"].tolist())
    joins, rejected = auc_of_doubt(sections, truth, voxel_size)
    assert joins > 0.6 and rejected > 0.6
