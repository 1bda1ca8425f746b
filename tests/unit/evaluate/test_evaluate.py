"""Scores against known answers, against scikit-image, and properties for any labels."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.locations import ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from connectome import evaluate
from connectome.cli import arguments
from connectome.cli.commands import evaluate as evaluate_command
from connectome.core.errors import DataError
from connectome.core.point_matching import match_positions
from connectome.evaluate import alignment_rms, score_segmentation, score_synapses

SIZE = (30.0, 8.0, 8.0)
SHAPE = (2, 3, 4)

labels = arrays(np.int32, SHAPE, elements=st.integers(0, 4))
truths = labels.filter(np.any)
bodies = arrays(np.int32, SHAPE, elements=st.integers(1, 4))  # nothing left unassigned


def stack(*ids):
    return np.array(ids, np.int32).reshape(1, 1, -1)


def scores(found, true):
    got = score_segmentation(stack(*found), stack(*true))
    return [got[key] for key in ("are", "voi_split", "voi_merge")]


# --- neurites -----------------------------------------------------------------------------------


def test_splitting_a_neurite_increases_the_split_score_only():
    # Of 24 ordered pairs within true neurites 16 stay together, none is wrong: P 1, R 2/3.
    assert scores([1, 1, 2, 2, 3, 3, 3, 3], [1, 1, 1, 1, 2, 2, 2, 2]) == pytest.approx(
        [0.2, 0.5, 0]
    )


def test_merging_two_neurites_increases_the_merge_score_only():
    # P = 24/56, R = 1; one bit tells which of the two a voxel belongs to.
    assert scores([5] * 8, [1, 1, 1, 1, 2, 2, 2, 2]) == pytest.approx([1 - 48 / 80, 0, 1])


def test_unrelated_labels_share_no_information():
    # P = 0, R = 0: no two voxels are together in both.
    assert scores([1, 2, 1, 2], [1, 1, 2, 2]) == pytest.approx([1, 1, 1])


def test_voxels_without_a_true_id_are_not_scored():
    with_background = score_segmentation(
        stack(1, 1, 2, 2, 9, 8, 7, 2), stack(3, 3, 4, 4, 0, 0, 0, 0)
    )
    assert with_background == {
        **dict.fromkeys(("are", "voi", "voi_split", "voi_merge", "unassigned"), 0.0),
        "fraction_scored": 0.5,
    }


def test_unassigned_voxels_count_as_one_neurite():
    found, true = [0, 0, 1, 1, 0, 0, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2]
    assert scores(found, true) == pytest.approx(scores([9 if i == 0 else i for i in found], true))
    assert score_segmentation(stack(*found), stack(*true))["unassigned"] == 0.5
    # Each neurite is split in two (1 bit); body 0 holds half the voxels and mixes two (1/2 bit).
    assert scores(found, true)[1:] == pytest.approx([1, 0.5])


@given(bodies, bodies)
def test_scores_agree_with_scikit_image(found, true):
    got = score_segmentation(found, true)
    merge, split = variation_of_information(found, true)
    assert (got["voi_split"], got["voi_merge"]) == pytest.approx((split, merge), abs=1e-9)
    assert got["are"] == pytest.approx(adapted_rand_error(true, found)[0], abs=1e-9)


@given(labels, truths)
def test_true_background_is_ignored_as_scikit_image_ignores_it(found, true):
    scored = true > 0
    merge, split = variation_of_information(found[scored], true[scored])
    got = score_segmentation(found, true)
    assert (got["voi_split"], got["voi_merge"]) == pytest.approx((split, merge), abs=1e-9)


@given(truths)
def test_the_ground_truth_itself_scores_perfectly(true):
    got = score_segmentation(true, true)
    assert got["are"] == got["voi"] == got["unassigned"] == 0


@given(labels, truths, st.permutations(range(5)), st.permutations(range(1, 5)))
def test_the_choice_of_ids_does_not_matter(found, true, new_ids, new_true_ids):
    renamed = score_segmentation(np.array(new_ids)[found], np.array([0, *new_true_ids])[true])
    plain = score_segmentation(found, true)
    for score in ("are", "voi", "voi_split", "voi_merge", "fraction_scored"):
        assert renamed[score] == pytest.approx(plain[score], abs=1e-9)


@given(bodies, bodies)
def test_swapping_prediction_and_truth_swaps_split_and_merge(found, true):
    one, other = score_segmentation(found, true), score_segmentation(true, found)
    assert one["voi_split"] == pytest.approx(other["voi_merge"], abs=1e-9)
    assert one["are"] == pytest.approx(other["are"], abs=1e-9)


@given(labels, truths)
def test_scores_stay_within_their_bounds(found, true):
    got = score_segmentation(found, true)
    assert 0 <= got["are"] <= 1
    assert got["voi_split"] >= 0 <= got["voi_merge"]
    assert got["voi"] == got["voi_split"] + got["voi_merge"] <= 2 * np.log2(true.size)


def test_neurites_of_one_voxel_each_are_scored():
    every = np.arange(1, 9).reshape(2, 2, 2)
    assert score_segmentation(every, every)["are"] == 0
    assert score_segmentation(np.ones_like(every), every)["are"] == 1
    assert score_segmentation(every, np.ones_like(every))["are"] == 1


def test_large_ids_of_any_integer_type_are_scored():
    true = np.array([2**40, 2**40, 7, 7], np.uint64).reshape(1, 2, 2)
    assert score_segmentation(true.astype(np.int64) + 1, true)["are"] == 0


def test_labels_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(DataError, match=r"\(1, 1, 3\).*\(1, 1, 2\)"):
        score_segmentation(stack(1, 2, 3), stack(1, 2))


def test_ground_truth_without_neurites_is_refused():
    with pytest.raises(DataError, match="no voxel with an id above 0"):
        score_segmentation(stack(1, 2), stack(0, 0))


# --- synapses -----------------------------------------------------------------------------------


def positions(*zyx):
    return pd.DataFrame(zyx, columns=["z", "y", "x"], dtype=float)


def test_a_synapse_is_found_up_to_and_including_the_limit():
    true = positions((0, 0, 0))
    for distance, limits in ((100, {"100", "200", "400"}), (100.1, {"200", "400"}), (401, set())):
        got = score_synapses(positions((0, 0, distance)), true, (1, 1, 1))
        assert {limit for limit, score in got.items() if score["f1"] == 1} == limits


def test_distance_is_measured_in_nm():
    # Three sections are 90 nm, twelve pixels 96; together they are further than 100.
    for place, f1 in (((3, 0, 0), 1), ((0, 12, 0), 1), ((3, 12, 0), 0)):
        assert score_synapses(positions(place), positions((0, 0, 0)), SIZE)["100"]["f1"] == f1


def test_one_candidate_matches_one_synapse_only():
    crowd = positions((0, 0, 0), (0, 0, 1), (0, 0, 2))
    assert score_synapses(crowd, positions((0, 0, 1)), SIZE)["100"] == pytest.approx(
        {"precision": 1 / 3, "recall": 1, "f1": 0.5}
    )
    assert score_synapses(positions((0, 0, 1)), crowd, SIZE)["100"] == pytest.approx(
        {"precision": 1, "recall": 1 / 3, "f1": 0.5}
    )


def test_the_number_of_pairs_is_maximised_before_distances_are_minimised():
    # Each at its nearest, 60 nm apart, the second candidate would be left alone.
    found, true = np.array([[0, 0, 0.0], [0, 0, 150.0]]), np.array([[0, 0, 60.0], [0, 0, -95.0]])
    assert match_positions(found, true, 100).tolist() == [[0, 1], [1, 0]]


def test_of_equally_many_pairs_the_nearest_are_matched():
    found, true = np.array([[0, 0, 0.0], [0, 0, 10.0]]), np.array([[0, 0, 11.0], [0, 0, 1.0]])
    assert match_positions(found, true, 100).tolist() == [[0, 1], [1, 0]]


def most_pairs(found, true, limit):
    """Slow and obvious: the most pairs over every choice of a partner, or none, for the first."""
    if not len(found):
        return 0
    first, rest = found[0], found[1:]
    near = [i for i, place in enumerate(true) if np.linalg.norm(first - place) <= limit]
    chosen = [1 + most_pairs(rest, np.delete(true, i, 0), limit) for i in near]
    return max([most_pairs(rest, true, limit), *chosen])


points = st.integers(0, 4).flatmap(
    lambda n: arrays(float, (n, 3), elements=st.integers(0, 300).map(float))
)


@given(points, points)
def test_matches_are_one_to_one_within_the_limit_and_as_many_as_possible(found, true):
    pairs = match_positions(found, true, 150)
    assert len(pairs) == most_pairs(found, true, 150)
    for column in pairs.T:
        assert len(set(column)) == len(column)
    for i, j in pairs:
        assert np.linalg.norm(found[i] - true[j]) <= 150


def test_empty_tables_are_scored():
    some, none = positions((0, 0, 0)), positions()
    zero = {"precision": 0, "recall": 0, "f1": 0}
    assert score_synapses(none, some, SIZE)["400"] == zero
    assert score_synapses(some, none, SIZE)["400"] == zero
    assert score_synapses(none, none, SIZE)["400"] == dict.fromkeys(zero, 1)


# --- alignment ----------------------------------------------------------------------------------


def test_alignment_error_is_the_rms_length_of_the_residuals():
    # Residuals (3, 4) and (-3, -4): 5 px each.
    assert alignment_rms(np.array([[3, 4], [-3, -4]]), np.zeros((2, 2))) == 5
    assert alignment_rms(np.array([[2, 0], [-2, 0], [0, 0], [0, 0]]), np.zeros((4, 2))) == np.sqrt(
        2
    )


shift = arrays(float, (5, 2), elements=st.floats(-50, 50))


@given(shift, shift, st.tuples(*[st.floats(-50, 50)] * 2))
def test_a_shift_common_to_all_sections_is_not_an_error(shifts, true, together):
    moved = alignment_rms(shifts + together, true)
    assert moved == pytest.approx(alignment_rms(shifts, true), abs=1e-9)
    assert alignment_rms(true + together, true) == pytest.approx(0, abs=1e-9)


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    true = np.repeat(np.arange(4, dtype=np.int32), 9).reshape(2, 3, 6)
    np.save(tmp_path / "true.npy", true)
    np.save(tmp_path / "found.npy", np.minimum(true, 2))
    np.save(tmp_path / "other.npy", np.ones((2, 3, 7), np.int32))
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as end:
        arguments.run(evaluate_command.main, [str(word) for word in words])
    return end.value.code


def test_the_command_prints_a_table_and_writes_json(files):
    command = [sys.executable, "-m", "connectome.evaluate", files / "found.npy", files / "true.npy"]
    done = subprocess.run(
        [*command, "--voxel-size", "30", "8", "8"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ARE 0.273   VOI 0.67 bits (split 0.00, merge 0.67)" in done.stdout
    assert "75.0% of voxels scored, 0.0% of those unassigned" in done.stdout
    written = json.loads((files / "found_evaluation.json").read_text())
    assert set(written["segmentation"]) == {
        *("are", "voi", "voi_split", "voi_merge", "fraction_scored", "unassigned")
    }
    assert written["segmentation"]["voi_merge"] == pytest.approx(2 / 3)
    assert written["voxel_size_nm"] == [30, 8, 8]


def test_the_command_writes_to_the_file_given(files, capsys):
    assert (
        run(files / "found.npy", files / "true.npy", "--json", files / "new" / "scores.json") == 0
    )
    assert (files / "new" / "scores.json").exists()
    assert str(files / "new" / "scores.json") in capsys.readouterr().out


def test_the_command_reports_both_shapes_if_they_differ(files, capsys):
    assert run(files / "other.npy", files / "true.npy") == 1
    message = capsys.readouterr().err
    assert "(2, 3, 7)" in message
    assert "(2, 3, 6)" in message
    assert not list(files.glob("*.json"))


def test_a_missing_file_is_named(files, capsys):
    assert run(files / "found.npy", files / "nowhere.npy") == 1
    assert "nowhere.npy" in capsys.readouterr().err


def test_an_image_is_refused_as_labels(files, capsys):
    np.save(files / "image.npy", np.zeros((2, 3, 6), np.float32))
    assert run(files / "image.npy", files / "true.npy") == 1
    assert "image.npy" in capsys.readouterr().err


@pytest.mark.parametrize("length", ["nan", "0", "-8", "wide"])
def test_an_invalid_voxel_size_is_a_usage_error(files, capsys, length):
    assert run(files / "found.npy", files / "true.npy", "--voxel_size", "30", "8", length) == 2
    assert length in capsys.readouterr().err


def test_the_text_of_a_complete_evaluation_names_every_part():
    evaluation = {
        "segmentation": score_segmentation(stack(1, 1, 2), stack(1, 1, 2)),
        "synapses": score_synapses(positions((0, 0, 0)), positions((0, 0, 0)), SIZE),
        "alignment": {"rms_px": 0.123},
    }
    lines = evaluate.format_scores(evaluation).splitlines()
    assert [line.split()[0] for line in lines] == [
        *("neurites", "100.0%", "synapses", "synapses", "synapses", "alignment")
    ]
    assert "0.12 px" in lines[-1]
    assert evaluate.format_scores({}) == ""


def test_scores_do_not_depend_on_the_size_of_ids():
    rng = np.random.default_rng(3)
    found, truth = rng.integers(0, 6, (2, 4, 9, 9))
    expected = score_segmentation(found, truth)
    large = score_segmentation(found * 2**40, truth * 2**40)
    assert large == pytest.approx(expected)
    shifted = np.where(found > 0, found.astype(np.uint64) + np.uint64(2**63), np.uint64(0))
    assert score_segmentation(shifted, truth) == pytest.approx(expected)


def test_negative_ids_are_refused():
    with pytest.raises(DataError, match="negative"):
        score_segmentation(stack(-1, 1), stack(1, 1))
