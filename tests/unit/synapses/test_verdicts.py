"""A person's word on synapses against what was detected."""

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


def test_rejected_synapses_go_and_the_others_stay():
    said = table((1, 12, 10, 1, 2, 0.9, "2"), verdicts=["rejected"])
    left = apply_verdicts(FOUND, said, SIZE)
    assert left[["z", "pre_id", "verdict"]].values.tolist() == [[5, 3, ""]]


def test_accepted_ones_have_a_persons_partners_and_come_first():
    said = table((5, 51, 50, 4, 3, 0.5, "3"), verdicts=["accepted"])
    told = apply_verdicts(FOUND, said, SIZE)
    assert told[["pre_id", "post_ids"]].values.tolist() == [[4, "3"], [1, "2"]]
    assert told["verdict"].tolist() == ["accepted", ""]


def test_accepted_ones_that_were_not_detected_are_added():
    said = table((9, 90, 90, 7, 8, 0.1, "8"), verdicts=["accepted"])
    assert sorted(apply_verdicts(FOUND, said, SIZE)["pre_id"]) == [1, 3, 7]


@pytest.mark.parametrize("verdict", ["", "perhaps"])
def test_neither_yes_nor_no_changes_nothing(verdict):
    said = table((1, 10, 10, 8, 9, 0.9, "9"), verdicts=[verdict])
    assert apply_verdicts(FOUND, said, SIZE)[COLUMNS].equals(FOUND)


def test_no_detection_and_no_review_are_tables_too():
    said = table((1, 10, 10, 1, 2, 0.9, "2"), verdicts=["accepted"])
    assert len(apply_verdicts(FOUND[:0], said, SIZE)) == 1
    assert len(apply_verdicts(FOUND, said[:0], SIZE)) == 2


def halves(low, high):
    labels = np.zeros((6, 40, 40), np.int32)
    labels[:, :20], labels[:, 20:] = low, high
    return labels


def test_partners_are_named_as_the_other_labels_do():
    said = table((3, 20, 20, 1, 2, 0.5, "2"), verdicts=["accepted"])
    (row,) = relabel_partners(said, halves(1, 2), halves(30, 40), SIZE).to_dict("records")
    assert (row["pre_id"], row["post_id"], row["post_ids"]) == (30, 40, "40")
    assert row["verdict"] == "accepted"


def test_a_synapse_within_one_neurite_is_none():
    said = table((3, 20, 20, 1, 2, 0.5, "2"), verdicts=["accepted"])
    assert relabel_partners(said, halves(1, 2), halves(7, 7), SIZE).empty
    assert relabel_partners(said, halves(1, 2), halves(0, 7), SIZE).empty
