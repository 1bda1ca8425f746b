"""Lists of postsynaptic ids in table cells."""

import pytest

from connectome.core.synapse_table import decode_ids, encode_ids


@pytest.mark.parametrize(("ids", "cell"), [([12], "12"), ([12, 40, 7], "12;40;7")])
def test_ids_are_decoded_as_they_were_encoded(ids, cell):
    assert encode_ids(ids) == cell
    assert decode_ids(cell) == ids


def test_a_cell_that_was_read_as_a_number_is_one_id():
    assert decode_ids(12) == [12]
