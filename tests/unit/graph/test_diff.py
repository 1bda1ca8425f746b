"""What is told of two wiring diagrams of the same tissue."""

import numpy as np
import pandas as pd

from connectome.graph.diff import GraphSnapshot, diff_graphs


def wired(labels, *edges, counts=None, scores=None, directed=True):
    table = pd.DataFrame(list(edges), columns=["pre_id", "post_id", "weight"])
    return GraphSnapshot(labels, table, counts or {}, scores or {}, directed)


def strips(*ids):
    return np.repeat(np.array(ids, np.int32), 100).reshape(1, len(ids), 100)


def told(table, kind):
    rows = table[table["kind"] == kind]
    return rows[["item", "before", "after", "change"]].values.tolist()


def test_nothing_new_is_no_news():
    one = wired(strips(1, 2, 3), (1, 2, 0.5))
    assert diff_graphs(one, one).empty


def test_other_ids_for_the_same_neurites_are_no_news():
    before, after = wired(strips(1, 2, 3), (1, 2, 0.5)), wired(strips(9, 8, 7), (9, 8, 0.5))
    assert diff_graphs(before, after).empty


def test_split_and_merged_neurites_are_listed():
    found = diff_graphs(wired(strips(1, 1, 2, 3)), wired(strips(4, 5, 6, 6)))
    assert told(found, "split") == [[1, "1", "4;5", 2]]
    assert told(found, "merged") == [[6, "2;3", "6", 2]]


def test_connections_are_compared_by_place_and_not_by_id():
    before = wired(strips(1, 2, 3), (1, 2, 0.5), (2, 3, 0.25))
    after = wired(strips(3, 1, 2), (3, 1, 0.75), (2, 3, 0.125))
    found = diff_graphs(before, after)
    assert told(found, "weight") == [["3 -> 1", "0.5", "0.75", 0.25]]
    assert told(found, "gained") == [["2 -> 3", "", "0.125", 0.125]]
    assert told(found, "lost") == [["1 -> 2", "0.25", "", -0.25]]


def test_connections_within_what_is_now_one_neurite_are_lost_without_a_name():
    found = diff_graphs(wired(strips(1, 2), (1, 2, 0.5)), wired(strips(5, 5)))
    assert told(found, "lost") == []
    assert told(found, "merged") == [[5, "1;2", "5", 2]]


def test_numbers_are_compared_and_new_ones_named():
    before = wired(strips(1), counts={"neurites": 4}, scores={"voi": 1.5})
    after = wired(strips(1), counts={"neurites": 3}, scores={"voi": 1.25, "are": 0.1})
    found = diff_graphs(before, after)
    assert told(found, "count") == [["neurites", "4", "3", -1]]
    assert told(found, "score") == [["voi", "1.5", "1.25", -0.25], ["are", "", "0.1", "new"]]


def test_without_the_former_labels_ids_mean_what_they_meant():
    found = diff_graphs(wired(None, (1, 2, 0.5)), wired(strips(1, 2), (1, 2, 0.25)))
    assert told(found, "weight") == [["1 -> 2", "0.5", "0.25", -0.25]]


def test_without_direction_a_pair_is_one_connection_whatever_its_ids_became():
    before = wired(strips(1, 2, 3), (1, 2, 0.5), (2, 3, 0.5), directed=False)
    after = wired(strips(9, 8, 7), (8, 9, 0.5), (7, 9, 0.25), directed=False)
    table = diff_graphs(before, after)
    assert told(table, "gained") == [["7 -- 9", "", "0.25", 0.25]]
    assert told(table, "lost") == [["7 -- 8", "0.5", "", -0.5]]


def test_what_had_directions_is_compared_without_them_where_they_are_gone():
    both_ways = wired(None, (1, 2, 0.5), (2, 1, 0.25))
    summed = wired(None, (1, 2, 0.75), directed=False)
    assert diff_graphs(both_ways, summed).empty
    assert diff_graphs(summed, both_ways).empty


def test_a_graph_that_had_no_connection_gains_all():
    table = diff_graphs(wired(None), wired(None, (1, 2, 0.75), directed=False))
    assert told(table, "gained") == [["1 -- 2", "", "0.75", 0.75]]
