"""A person's verdicts applied to detected candidates."""

import numpy as np
import pandas as pd
import pytest

from connectome.synapses.verdicts import apply_verdicts, relabel_partners

SIZE = (30.0, 8.0, 8.0)
COLUMNS = ["z", "y", "x", "pre_id", "post_id", "score", "post_ids"]


def table(*rows, verdicts=None):
    made = pd.DataFrame(list(rows), columns=COLUMNS)
    return made if verdicts is None else made.assign(verdict=list(verdicts))


FOUND = table((1, 10, 10, 1, 2, 0.9, "2"), (5, 50, 50, 3, 4, 0.5, "4;5"))


def test_rejected_synapses_are_removed_and_the_others_stay():
    reviewed = table((1, 12, 10, 1, 2, 0.9, "2"), verdicts=["rejected"])
    remaining = apply_verdicts(FOUND, reviewed, SIZE)
    assert remaining[["z", "pre_id", "verdict"]].values.tolist() == [[5, 3, ""]]


def test_accepted_synapses_take_the_persons_partners_and_come_first():
    reviewed = table((5, 51, 50, 4, 3, 0.5, "3"), verdicts=["accepted"])
    result = apply_verdicts(FOUND, reviewed, SIZE)
    assert result[["pre_id", "post_ids"]].values.tolist() == [[4, "3"], [1, "2"]]
    assert result["verdict"].tolist() == ["accepted", ""]


def test_accepted_synapses_without_a_candidate_are_added():
    reviewed = table((9, 90, 90, 7, 8, 0.1, "8"), verdicts=["accepted"])
    assert sorted(apply_verdicts(FOUND, reviewed, SIZE)["pre_id"]) == [1, 3, 7]


@pytest.mark.parametrize("verdict", ["", "perhaps"])
def test_other_verdicts_change_nothing(verdict):
    reviewed = table((1, 10, 10, 8, 9, 0.9, "9"), verdicts=[verdict])
    assert apply_verdicts(FOUND, reviewed, SIZE)[COLUMNS].equals(FOUND)


def test_empty_tables_are_accepted():
    reviewed = table((1, 10, 10, 1, 2, 0.9, "2"), verdicts=["accepted"])
    assert len(apply_verdicts(FOUND[:0], reviewed, SIZE)) == 1
    assert len(apply_verdicts(FOUND, reviewed[:0], SIZE)) == 2


def halves(low, high):
    labels = np.zeros((6, 40, 40), np.int32)
    labels[:, :20], labels[:, 20:] = low, high
    return labels


def test_partners_take_the_ids_of_the_new_labels():
    reviewed = table((3, 20, 20, 1, 2, 0.5, "2"), verdicts=["accepted"])
    (row,) = relabel_partners(reviewed, halves(1, 2), halves(30, 40), SIZE).to_dict("records")
    assert (row["pre_id"], row["post_id"], row["post_ids"]) == (30, 40, "40")
    assert row["verdict"] == "accepted"


def test_a_synapse_within_one_neurite_is_dropped():
    reviewed = table((3, 20, 20, 1, 2, 0.5, "2"), verdicts=["accepted"])
    assert relabel_partners(reviewed, halves(1, 2), halves(7, 7), SIZE).empty
    assert relabel_partners(reviewed, halves(1, 2), halves(0, 7), SIZE).empty
