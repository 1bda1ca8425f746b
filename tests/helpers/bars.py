"""A finished run whose neurites are six bars, and a session of edits on it."""

import numpy as np
import pandas as pd

from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.volumes import write_volume

SHAPE = (6, 64, 96)
VOXEL_SIZE = (30.0, 8.0, 8.0)
SOURCE = "phantom://neuropil?seed=3"


def volume(data):
    return Volume(data, VOXEL_SIZE, (1, 2, 3), SOURCE)


def stack():
    """Neurites 1 to 6 as bars across every section."""
    return np.repeat(np.arange(1, 7, dtype=np.int32), 16)[None, None].repeat(64, 1).repeat(6, 0)


def write_bars(folder):
    """Write the files of a run that proofreading reads."""
    probability = np.ones(SHAPE, np.float16)
    probability[..., 4::16] = 0.1
    grey = np.random.default_rng(0).uniform(0.3, 0.9, SHAPE).astype(np.float16)
    write_volume(folder / paths.ALIGNED["float16"], volume(grey))
    write_volume(folder / paths.PROBABILITY, volume(probability))
    write_volume(folder / paths.LABELS, volume(stack()))
    write_json(folder / paths.ALIGNMENT, {"damaged_sections": []})
    rows = {"z": [1, 4, 5], "y": [10, 20, 30], "x": [16, 48, 80]}
    rows |= {"pre_id": [1, 3, 5], "post_id": [2, 4, 6], "score": [0.9, 0.5, 0.1]}
    rows |= {"post_ids": ["2", "4", "6"], "n_partners": [1, 1, 1], "source": [SOURCE] * 3}
    (folder / "tables").mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / paths.SYNAPSES, index=False)
    return folder


def bar(z, x):
    """Return the voxels of a line down a section."""
    return np.full(64, z), np.arange(64), np.full(64, x)


def seeds(x, other):
    marks = np.zeros(SHAPE, np.uint8)
    marks[2, 30, [x, other]] = 1, 2
    return marks


def use_every_tool(editor):
    """Use every tool once; end with an undo that can be redone."""
    editor.merge(1, 2, position=(0, 5, 16))
    editor.split(3, seeds(33, 46))
    editor.paint(bar(3, 60), editor.new_id(), "new")
    editor.erase(bar(3, 61))
    editor.fill((0, 0, 95), 4)
    editor.review(0, "accepted")
    editor.review(2, "rejected")
    editor.swap(1)
    editor.mark(3)
    editor.mark(4)
    editor.undo()
    editor.redo()
    editor.undo()
