"""Places to look at, the doubt map, and the sections that teach most."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.triage import focused_proofreading
from connectome.triage.uncertainty import MERGE_COLUMNS, SEGMENT_COLUMNS

SHAPE = (10, 100, 100)
VOXEL = (30.0, 8.0, 8.0)
NOTHING = pd.DataFrame()


def contact(place, doubt=0.5, volume=1.0, joined=True, other=None, neurite=3, reason="boundary"):
    row = dict.fromkeys(MERGE_COLUMNS, 0.0)
    z, y, x = place
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


def ranked(segments=NOTHING, log=NOTHING, synapses=NOTHING, **options):
    return focused_proofreading.rank_locations(segments, log, synapses, SHAPE, VOXEL, **options)


def test_what_weighs_is_doubt_times_the_volume_at_stake():
    sure_but_large = contact((1, 10, 10), doubt=0.2, volume=9.0, neurite=1)
    unsure_but_small = contact((8, 90, 90), doubt=0.9, volume=1.0, neurite=2)
    places = ranked(log=log_of(unsure_but_small, sure_but_large))
    assert [place.ids for place in places] == [(1,), (2,)]
    assert places[0].expected_error_um3 == pytest.approx(1.8)


def test_a_join_and_a_pair_left_apart_are_told_in_words():
    log = log_of(
        contact((1, 10, 10), doubt=0.8, neurite=12),
        contact((8, 90, 90), doubt=0.6, neurite=12, joined=False, other=40),
    )
    join, apart = ranked(log=log)
    assert join.kind, apart.kind == ("join", "apart")
    assert (
        join.describe()
        == "12 may hold two neurites, joined here through a boundary of 0.31 (doubt 0.80)"
    )
    assert apart.describe().startswith("12 and 40 may be one neurite, left apart here")
    assert apart.describe((12, 41)).startswith("12 and 41 may be one neurite")


def test_the_join_of_a_mitochondrion_is_told_as_one():
    (place,) = ranked(log=log_of(contact((1, 10, 10), neurite=12, reason="organelle")))
    assert (
        place.describe() == "12 may hold two neurites, joined here as a mitochondrion (doubt 0.50)"
    )


def test_no_two_places_are_seen_in_one_look():
    near = contact((5, 50, 74), doubt=0.5)  # 24 pixels of 8 nm away: 192 nm
    far = contact((5, 50, 76), doubt=0.4)  # 208 nm
    places = ranked(log=log_of(contact((5, 50, 50), doubt=0.9), near, far))
    assert [place.x for place in places] == [50, 76]


@given(
    st.lists(
        st.tuples(
            st.tuples(*(st.floats(0, n - 1) for n in SHAPE)), st.floats(0, 1), st.floats(0, 1)
        ),
        max_size=30,
    )
)
def test_places_are_apart_inside_the_stack_sorted_and_the_same_every_time(rows):
    log = log_of(*(contact(place, doubt, volume) for place, doubt, volume in rows))
    places = ranked(log=log)
    assert places == ranked(log=log)
    points = np.array([(p.z, p.y, p.x) for p in places], float).reshape(-1, 3)
    assert np.all(points >= 0)
    assert np.all(points < SHAPE)
    away = np.linalg.norm((points[:, None] - points[None]) * VOXEL, axis=2)
    assert not np.any(
        away[np.triu_indices(len(points), 1)] <= focused_proofreading.MIN_SEPARATION_NM
    )
    weights = [place.expected_error_um3 for place in places]
    assert weights == sorted(weights, reverse=True)


def test_a_doubtful_neurite_takes_its_reason_from_its_worst_contact():
    log = log_of(contact((3, 30, 30), doubt=0.4, volume=1.0, neurite=7))
    row = {"id": 7, "doubt": 0.5, "volume_um3": 8.0, "reason": "may hold two neurites"}
    segments = segments_of(row | {"doubt_z": 3.0, "doubt_y": 30.0, "doubt_x": 30.0})
    (place,) = ranked(segments, log)
    assert place.expected_error_um3 == 4.0
    assert "joined here" in place.reason
    (alone,) = ranked(segments)
    assert alone.describe() == "7 may hold two neurites"


def test_of_synapses_those_of_middling_score_are_doubtful():
    places = ranked(synapses=synapses_of(0.9, 0.8, 0.5, 0.2, 0.1), max_locations=1)
    assert [(place.synapse_row, place.kind, place.ids) for place in places] == [
        (2, "synapse", (1, 2))
    ]
    assert places[0].describe() == "synapse 1 → 2 has a middling score (0.50)"


def test_a_draft_nobody_rated_has_no_places():
    watershed = segments_of({"id": 1, "volume_um3": 1.0, "doubt": np.nan, "reason": ""})
    assert ranked(watershed) == []
    assert not focused_proofreading.uncertainty_map(
        np.ones(SHAPE, int), watershed, NOTHING, VOXEL
    ).any()


def test_the_map_has_the_doubt_of_neurites_and_peaks_at_their_contacts():
    labels = np.ones(SHAPE, np.int32)
    labels[:, :, 50:] = 2
    segments = segments_of({"id": 1, "doubt": 0.2}, {"id": 2, "doubt": 0.1})
    log = log_of(contact((5, 50, 49.5), doubt=0.9, joined=False, neurite=1, other=2))
    doubt = focused_proofreading.uncertainty_map(labels, segments, log, VOXEL)
    assert doubt.dtype == np.float16
    assert doubt[0, 0, 0] == np.float16(0.2)
    assert doubt[0, 0, 99] == np.float16(0.1)
    assert doubt.max() == doubt[5, 50, 49] > 0.8
    assert doubt[5, 50, 49 + 25] == np.float16(0.1)  # beyond the reach


def test_the_map_peaks_only_within_the_neurites_a_contact_is_about():
    labels = np.ones(SHAPE, np.int32)
    labels[:, :, 50:] = 2
    doubt = focused_proofreading.uncertainty_map(
        labels, NOTHING, log_of(contact((5, 50, 49.5), 0.9, neurite=1)), VOXEL
    )
    assert doubt[5, 50, 49] > 0.8
    assert not doubt[:, :, 50:].any()


def test_a_contact_at_a_corner_and_ids_beyond_the_tables_do_no_harm():
    labels = np.full(SHAPE, 99, np.int32)
    log = log_of(contact((0, 0, 0), neurite=99), contact((9, 99, 99), neurite=99))
    assert (
        focused_proofreading.uncertainty_map(
            labels, segments_of({"id": 1, "doubt": 0.2}), log, VOXEL
        ).max()
        > 0
    )


def test_sections_to_teach_are_doubtful_and_far_apart():
    doubt = np.zeros((40, 4, 4))
    doubt[[5, 6, 14, 33]] = 1.0
    sections = focused_proofreading.choose_training_sections(doubt, np.ones(doubt.shape, bool), 4)
    assert sections[0] == 5
    assert sections[1] == 14
    assert sections[3] == 33
    assert min(np.diff(sections)) >= 5


def test_damaged_and_blank_sections_teach_nothing():
    doubt, tissue = np.zeros((8, 4, 4)), np.ones((8, 4, 4), bool)
    doubt[2:4] = 1.0
    tissue[3, 1:] = False
    assert 2 not in focused_proofreading.choose_training_sections(
        doubt, tissue, 8, damaged_sections=[2]
    )
    assert focused_proofreading.choose_training_sections(
        doubt, tissue, 8, damaged_sections=[2]
    ) == (
        0,
        1,
        4,
        5,
        6,
        7,
    )
    assert focused_proofreading.choose_training_sections(doubt, np.zeros_like(tissue), 4) == ()


def test_ids_are_followed_through_merges_and_splits():
    before = np.ones(SHAPE, np.int32)
    before[:, :, 50:] = 2
    place = focused_proofreading.Location(5, 50, 50, "apart", (1, 2), "", 1.0)
    assert focused_proofreading.current_ids(place, before, before, VOXEL) == (1, 2)
    after = before.copy()
    after[before == 2] = 1
    assert focused_proofreading.current_ids(place, before, after, VOXEL) == (1, 1)
    after[before == 2] = 0
    assert focused_proofreading.current_ids(place, before, after, VOXEL) == (1, 0)


def test_real_tables_give_places_of_every_kind(shared_data, tmp_path):
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
    places = focused_proofreading.rank_locations(*tables, (12, 200, 256), (50.0, 4.0, 4.0))
    assert {"join", "apart"} <= {place.kind for place in places}
