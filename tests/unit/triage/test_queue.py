import numpy as np
import pandas as pd
import pytest

from connectome.core.errors import DataError, UsageError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume
from connectome.triage.queue import build_queue

SHAPE = (8, 20, 20)
NO_SYNAPSES = pd.DataFrame()


@pytest.fixture
def draft(tmp_path):
    """Return a run of one neurite without estimates of doubt."""
    for name, data in {
        paths.ALIGNED["float16"]: np.ones(SHAPE, np.float16),
        paths.LABELS: np.ones(SHAPE, np.int32),
    }.items():
        write_volume(tmp_path / name, Volume(data, (30, 8, 8)))
    write_json(tmp_path / paths.ALIGNMENT, {"damaged_sections": [2]})
    return RunFolder(tmp_path)


def write_doubt(draft):
    row = {"id": 1, "doubt": 0.5, "volume_um3": 1.0, "reason": "may contain two neurites"}
    position = {"doubt_z": 5.0, "doubt_y": 3.0, "doubt_x": 4.0}
    path = draft.outdir / paths.SEGMENTS
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame([row | position]).to_csv(path, index=False)


def test_locations_come_from_the_tables_of_the_run(draft):
    write_doubt(draft)
    (location,) = build_queue(draft, NO_SYNAPSES).locations
    assert (location.z, location.y, location.x) == (5, 3, 4)
    assert location.describe() == "Neurite 1 may contain two neurites (doubt 0.50)."


def test_a_run_without_tables_has_sections_but_no_locations(draft):
    queue = build_queue(draft, NO_SYNAPSES)
    assert queue.locations == []
    assert len(queue.sections) == 4
    assert 2 not in queue.sections  # damaged


def test_sections_are_chosen_by_number_or_by_the_user(draft):
    assert len(build_queue(draft, NO_SYNAPSES, n_sections=2).sections) == 2
    assert build_queue(draft, NO_SYNAPSES, [7, 2, 7]).sections == (2, 7)


def test_a_section_beyond_the_stack_is_refused(draft):
    with pytest.raises(UsageError, match="no section 8"):
        build_queue(draft, NO_SYNAPSES, [3, 8])


def test_a_neurite_without_doubt_needs_no_position_of_it(draft):
    write_doubt(draft)
    path = draft.outdir / paths.SEGMENTS
    table = pd.read_csv(path).assign(doubt=0.0, doubt_z=float("nan"))
    table.to_csv(path, index=False)
    assert build_queue(draft, NO_SYNAPSES).locations == []


def test_neurites_without_labels_are_ignored(draft):
    write_doubt(draft)
    path = draft.outdir / paths.SEGMENTS
    pd.read_csv(path).assign(id=-4).to_csv(path, index=False)
    assert build_queue(draft, NO_SYNAPSES).locations == []


SEGMENT = "id,doubt,volume_um3,reason,doubt_z,doubt_y,doubt_x\n"
CONTACT = "joined,neurite,other,z,y,x,reason,probability,volume_um3,doubt\n"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (paths.SEGMENTS, b"", "segments.csv cannot be read"),
        (paths.SEGMENTS, b"\x93\xff\x00\x1b", "segments.csv cannot be read"),
        (paths.SEGMENTS, b"a,b\n1,2\n", "has no column id"),
        (paths.SEGMENTS, SEGMENT.encode() + b"1,much,1,,1,1,1\n", "segments.csv cannot be read"),
        (paths.SEGMENTS, SEGMENT.encode() + b"1,,1,,,,\n1,0.5,1,,,1,1\n", "row 2: doubt_z is nan"),
        (paths.MERGE_LOG, b"", "merge_log.csv cannot be read"),
        (paths.MERGE_LOG, b"\x93\xff\x00\x1b", "merge_log.csv cannot be read"),
        (paths.MERGE_LOG, b"z,y,x\n1,2,3\n", "has no column neurite"),
        (paths.MERGE_LOG, CONTACT.encode() + b"False,1,,1,1,1,,0.5,1,0.5\n", "other is nan"),
        (paths.MERGE_LOG, CONTACT.encode() + b",1,1,1,1,1,,0.5,1,0.5\n", "cannot be read"),
    ],
)
def test_a_damaged_table_is_refused_with_a_remedy(draft, name, content, problem):
    path = draft.outdir / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem) as error:
        build_queue(draft, NO_SYNAPSES)
    assert str(path) in error.value.problem
    assert "move the file away" in error.value.remedy
