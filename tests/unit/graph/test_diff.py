"""Differences between two graphs of the same tissue."""

import numpy as np
import pandas as pd

from connectome.graph.diff import GraphSnapshot, diff_graphs


def snapshot(labels, *edges, counts=None, scores=None, directed=True):
    table = pd.DataFrame(list(edges), columns=["pre_id", "post_id", "weight"])
    return GraphSnapshot(labels, table, counts or {}, scores or {}, directed)


def strips(*ids):
    return np.repeat(np.array(ids, np.int32), 100).reshape(1, len(ids), 100)


def listed(table, kind):
    rows = table[table["kind"] == kind]
    return rows[["item", "before", "after", "change"]].values.tolist()


def test_equal_graphs_have_no_differences():
    one = snapshot(strips(1, 2, 3), (1, 2, 0.5))
    assert diff_graphs(one, one).empty


def test_renumbered_neurites_are_not_differences():
    before, after = snapshot(strips(1, 2, 3), (1, 2, 0.5)), snapshot(strips(9, 8, 7), (9, 8, 0.5))
    assert diff_graphs(before, after).empty


def test_split_and_merged_neurites_are_listed():
    found = diff_graphs(snapshot(strips(1, 1, 2, 3)), snapshot(strips(4, 5, 6, 6)))
    assert listed(found, "split") == [[1, "1", "4;5", 2]]
    assert listed(found, "merged") == [[6, "2;3", "6", 2]]


def test_connections_are_matched_by_overlap_not_by_id():
    before = snapshot(strips(1, 2, 3), (1, 2, 0.5), (2, 3, 0.25))
    after = snapshot(strips(3, 1, 2), (3, 1, 0.75), (2, 3, 0.125))
    found = diff_graphs(before, after)
    assert listed(found, "weight") == [["3 -> 1", "0.5", "0.75", 0.25]]
    assert listed(found, "gained") == [["2 -> 3", "", "0.125", 0.125]]
    assert listed(found, "lost") == [["1 -> 2", "0.25", "", -0.25]]


def test_connections_inside_a_merged_neurite_are_not_listed_as_lost():
    found = diff_graphs(snapshot(strips(1, 2), (1, 2, 0.5)), snapshot(strips(5, 5)))
    assert listed(found, "lost") == []
    assert listed(found, "merged") == [[5, "1;2", "5", 2]]


def test_counts_and_scores_are_compared():
    before = snapshot(strips(1), counts={"neurites": 4}, scores={"voi": 1.5})
    after = snapshot(strips(1), counts={"neurites": 3}, scores={"voi": 1.25, "are": 0.1})
    found = diff_graphs(before, after)
    assert listed(found, "count") == [["neurites", "4", "3", -1]]
    assert listed(found, "score") == [["voi", "1.5", "1.25", -0.25], ["are", "", "0.1", "new"]]


def test_without_previous_labels_ids_are_compared_directly():
    found = diff_graphs(snapshot(None, (1, 2, 0.5)), snapshot(strips(1, 2), (1, 2, 0.25)))
    assert listed(found, "weight") == [["1 -> 2", "0.5", "0.25", -0.25]]


def test_an_undirected_pair_is_one_connection_after_renumbering():
    before = snapshot(strips(1, 2, 3), (1, 2, 0.5), (2, 3, 0.5), directed=False)
    after = snapshot(strips(9, 8, 7), (8, 9, 0.5), (7, 9, 0.25), directed=False)
    table = diff_graphs(before, after)
    assert listed(table, "gained") == [["7 -- 9", "", "0.25", 0.25]]
    assert listed(table, "lost") == [["7 -- 8", "0.5", "", -0.5]]


def test_directed_and_undirected_graphs_are_compared_without_direction():
    both_ways = snapshot(None, (1, 2, 0.5), (2, 1, 0.25))
    summed = snapshot(None, (1, 2, 0.75), directed=False)
    assert diff_graphs(both_ways, summed).empty
    assert diff_graphs(summed, both_ways).empty


def test_a_graph_without_connections_gains_all():
    table = diff_graphs(snapshot(None), snapshot(None, (1, 2, 0.75), directed=False))
    assert listed(table, "gained") == [["1 -- 2", "", "0.75", 0.75]]
