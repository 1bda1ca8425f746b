"""Locations to proofread, the uncertainty map, and the choice of sections."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.triage.focused_proofreading import (
    MIN_SEPARATION_NM,
    choose_training_sections,
    current_ids,
    rank_locations,
    uncertainty_map,
)
from connectome.triage.uncertainty import MERGE_COLUMNS, SEGMENT_COLUMNS

SHAPE = (10, 100, 100)
VOXEL = (30.0, 8.0, 8.0)
EMPTY = pd.DataFrame()


def contact(position, doubt=0.5, volume=1.0, joined=True, other=None, neurite=3, reason="boundary"):
    row = dict.fromkeys(MERGE_COLUMNS, 0.0)
    z, y, x = position
    row |= {"z": z, "y": y, "x": x, "doubt": doubt, "volume_um3": volume, "joined": joined}
    return row | {"neurite": neurite, "other": other, "reason": reason, "probability": 0.31}


def log_of(*rows):
    table = pd.DataFrame(rows, columns=MERGE_COLUMNS)
    return table.assign(other=pd.array(table["other"], "Int64"))


def segments_of(*rows):
    table = pd.DataFrame(columns=SEGMENT_COLUMNS, data=[dict.fromkeys(SEGMENT_COLUMNS, 0)] * 0)
    return pd.concat([table, pd.DataFrame(rows)]).reindex(columns=SEGMENT_COLUMNS).infer_objects()


def synapses_of(*scores):
    n = np.arange(len(scores))
    return pd.DataFrame(
        {"z": n, "y": 10 * n, "x": 10 * n, "pre_id": 1, "post_id": 2, "score": scores}
    )


def ranked(segments=EMPTY, log=EMPTY, synapses=EMPTY, **options):
    return rank_locations(segments, log, synapses, SHAPE, VOXEL, **options)


def test_locations_are_ranked_by_doubt_times_volume():
    certain_but_large = contact((1, 10, 10), doubt=0.2, volume=9.0, neurite=1)
    uncertain_but_small = contact((8, 90, 90), doubt=0.9, volume=1.0, neurite=2)
    locations = ranked(log=log_of(uncertain_but_small, certain_but_large))
    assert [location.ids for location in locations] == [(1,), (2,)]
    assert locations[0].expected_error_um3 == pytest.approx(1.8)


def test_joins_and_rejected_joins_are_described_with_numbers_and_units():
    log = log_of(
        contact((1, 10, 10), doubt=0.8, volume=0.25, neurite=12),
        contact((8, 90, 90), doubt=0.6, volume=0.0125, neurite=12, joined=False, other=40),
    )
    join, apart = ranked(log=log)
    assert (join.kind, apart.kind) == ("join", "apart")
    assert join.describe() == (
        "Neurite 12 may contain two neurites: 0.25 µm³ joined here across a boundary with a"
        " neurite probability of 0.31."
    )
    assert apart.describe() == (
        "Neurites 12 and 40 may be one neurite: they meet here at a boundary with a neurite"
        " probability of 0.31, and the smaller has 0.0125 µm³."
    )
    assert apart.describe((12, 41)).startswith("Neurites 12 and 41 may be one neurite")


def test_merged_parts_are_not_described_as_two_neurites():
    log = log_of(contact((8, 90, 90), neurite=12, joined=False, other=40))
    (apart,) = ranked(log=log)
    text = apart.describe((12, 12))
    assert text == "Neurite 12: the two parts that meet here have been merged."


@pytest.mark.parametrize(
    ("reason", "explanation"),
    [
        ("overlap", "joined here by overlap between sections"),
        ("enclosure", "joined here because the rest encloses it"),
        ("organelle", "joined here as a mitochondrion"),
    ],
)
def test_every_kind_of_join_is_explained(reason, explanation):
    (location,) = ranked(log=log_of(contact((1, 10, 10), neurite=12, reason=reason)))
    expected = f"Neurite 12 may contain two neurites: 1 µm³ {explanation}."
    assert location.describe() == expected


def test_the_doubt_shown_is_that_of_the_neurite_in_its_table():
    """The report shows the same number; that of the contact is another quantity."""
    segments = segments_of(
        {"id": 7, "doubt": 0.3, "volume_um3": 1.0, "reason": "may contain two neurites"},
        {"id": 9, "doubt": 0.04, "volume_um3": 1.0, "reason": ""},
    ).assign(doubt_z=3.0, doubt_y=30.0, doubt_x=30.0)
    log = log_of(
        contact((3, 30, 30), doubt=0.45, neurite=7),
        contact((8, 90, 90), doubt=0.6, neurite=7, joined=False, other=9),
    )
    locations = ranked(segments, log)
    assert [location.doubt for location in locations] == [0.3, 0.3]
    assert all("(doubt 0.30)." in location.describe() for location in locations)


def test_locations_are_separated():
    near = contact((5, 50, 74), doubt=0.5)  # 24 pixels of 8 nm away: 192 nm
    far = contact((5, 50, 76), doubt=0.4)  # 208 nm
    locations = ranked(log=log_of(contact((5, 50, 50), doubt=0.9), near, far))
    assert [location.x for location in locations] == [50, 76]


@given(
    st.lists(
        st.tuples(
            st.tuples(*(st.floats(0, n - 1) for n in SHAPE)), st.floats(0, 1), st.floats(0, 1)
        ),
        max_size=30,
    )
)
def test_locations_are_separated_inside_the_stack_sorted_and_reproducible(rows):
    log = log_of(*(contact(position, doubt, volume) for position, doubt, volume in rows))
    locations = ranked(log=log)
    assert locations == ranked(log=log)
    points = np.array([(p.z, p.y, p.x) for p in locations], float).reshape(-1, 3)
    assert np.all(points >= 0)
    assert np.all(points < SHAPE)
    away = np.linalg.norm((points[:, None] - points[None]) * VOXEL, axis=2)
    assert not np.any(away[np.triu_indices(len(points), 1)] <= MIN_SEPARATION_NM)
    errors = [location.expected_error_um3 for location in locations]
    assert errors == sorted(errors, reverse=True)


def test_a_doubtful_neurite_is_described_by_its_worst_contact():
    log = log_of(contact((3, 30, 30), doubt=0.4, volume=1.0, neurite=7))
    row = {"id": 7, "doubt": 0.5, "volume_um3": 8.0, "reason": "may contain two neurites"}
    segments = segments_of(row | {"doubt_z": 3.0, "doubt_y": 30.0, "doubt_x": 30.0})
    (location,) = ranked(segments, log)
    assert location.expected_error_um3 == 4.0
    assert "joined here" in location.reason
    (alone,) = ranked(segments)
    assert alone.describe() == "Neurite 7 may contain two neurites (doubt 0.50)."


def test_synapses_near_the_median_score_come_first():
    locations = ranked(synapses=synapses_of(0.9, 0.8, 0.5, 0.2, 0.1), max_locations=1)
    assert [(location.synapse_row, location.kind, location.ids) for location in locations] == [
        (2, "synapse", (1, 2))
    ]
    assert locations[0].describe() == (
        "Synapse 1 → 2: its score of 0.50 is near the median of all candidates."
    )


def test_labels_without_doubt_have_no_locations():
    watershed = segments_of({"id": 1, "volume_um3": 1.0, "doubt": np.nan, "reason": ""})
    assert ranked(watershed) == []
    assert not uncertainty_map(np.ones(SHAPE, int), watershed, EMPTY, VOXEL).any()


def test_the_map_has_the_doubt_of_neurites_and_peaks_at_contacts():
    labels = np.ones(SHAPE, np.int32)
    labels[:, :, 50:] = 2
    segments = segments_of({"id": 1, "doubt": 0.2}, {"id": 2, "doubt": 0.1})
    log = log_of(contact((5, 50, 49.5), doubt=0.9, joined=False, neurite=1, other=2))
    doubt = uncertainty_map(labels, segments, log, VOXEL)
    assert doubt.dtype == np.float16
    assert doubt[0, 0, 0] == np.float16(0.2)
    assert doubt[0, 0, 99] == np.float16(0.1)
    assert doubt.max() == doubt[5, 50, 49] > 0.8
    assert doubt[5, 50, 49 + 25] == np.float16(0.1)  # beyond the radius


def test_the_map_peaks_only_within_the_neurites_concerned():
    labels = np.ones(SHAPE, np.int32)
    labels[:, :, 50:] = 2
    doubt = uncertainty_map(labels, EMPTY, log_of(contact((5, 50, 49.5), 0.9, neurite=1)), VOXEL)
    assert doubt[5, 50, 49] > 0.8
    assert not doubt[:, :, 50:].any()


def test_contacts_at_corners_and_unknown_ids_are_accepted():
    labels = np.full(SHAPE, 99, np.int32)
    log = log_of(contact((0, 0, 0), neurite=99), contact((9, 99, 99), neurite=99))
    assert uncertainty_map(labels, segments_of({"id": 1, "doubt": 0.2}), log, VOXEL).max() > 0


def test_chosen_sections_are_uncertain_and_spread_over_the_stack():
    doubt = np.zeros((40, 4, 4))
    doubt[[5, 6, 14, 33]] = 1.0
    sections = choose_training_sections(doubt, np.ones(doubt.shape, bool), 4)
    assert sections[0] == 5
    assert sections[1] == 14
    assert sections[3] == 33
    assert min(np.diff(sections)) >= 5


def test_damaged_and_blank_sections_are_not_chosen():
    doubt, mask = np.zeros((8, 4, 4)), np.ones((8, 4, 4), bool)
    doubt[2:4] = 1.0
    mask[3, 1:] = False
    assert 2 not in choose_training_sections(doubt, mask, 8, damaged_sections=[2])
    assert choose_training_sections(doubt, mask, 8, damaged_sections=[2]) == (0, 1, 4, 5, 6, 7)
    assert choose_training_sections(doubt, np.zeros_like(mask), 4) == ()


def test_current_ids_follow_merges_and_deletions():
    before = np.ones(SHAPE, np.int32)
    before[:, :, 50:] = 2
    ids, position = (1, 2), (5, 50, 50)
    assert current_ids(ids, position, before, before, VOXEL) == (1, 2)
    after = before.copy()
    after[before == 2] = 1
    assert current_ids(ids, position, before, after, VOXEL) == (1, 1)
    after[before == 2] = 0
    assert current_ids(ids, position, before, after, VOXEL) == (1, 0)


def test_real_tables_give_joins_and_rejected_joins(shared_data, tmp_path):
    from connectome.cli.reporter import Reporter
    from connectome.core.params import RunConfig, Source
    from connectome.io import paths
    from connectome.workflows import pipeline

    with np.load(shared_data / "isbi_dev.npz") as archive:
        np.savez(tmp_path / "a.npz", raw=archive["raw"][:12, :200], voxel_size_nm=(50, 4, 4))
    source = Source(uri=f"{tmp_path / 'a.npz'}:raw", voxel_size=(50.0, 4.0, 4.0))
    pipeline.run(RunConfig(source=source, outdir=str(tmp_path / "out")), Reporter(quiet=True), [])
    tables = [
        pd.read_csv(tmp_path / "out" / name)
        for name in (paths.SEGMENTS, paths.MERGE_LOG, paths.SYNAPSES)
    ]
    locations = rank_locations(*tables, (12, 200, 256), (50.0, 4.0, 4.0))
    assert {"join", "apart"} <= {location.kind for location in locations}
