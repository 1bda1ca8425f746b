"""A finished run whose neurites are three stripes."""

import numpy as np
import pandas as pd

from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import write_json
from connectome.io.volumes import write_volume
from connectome.triage.uncertainty import MERGE_COLUMNS

VOXEL = (30.0, 8.0, 8.0)
SHAPE = (6, 120, 160)
LEFT, MIDDLE, RIGHT = 1, 2, 3  # stripes of 50, 60 and 50 columns


def write_stripes(tmp_path):
    """Three stripes; of the middle one there is doubt, and a synapse lies at each boundary."""
    labels = np.full(SHAPE, MIDDLE, np.int32)
    labels[:, :, :50], labels[:, :, 110:] = LEFT, RIGHT
    probability = np.full(SHAPE, 0.9, np.float16)
    probability[:, :, [49, 50, 79, 80, 109, 110]] = 0.1
    volumes = {
        paths.ALIGNED["float16"]: probability,
        paths.PROBABILITY: probability,
        paths.LABELS: labels,
    }
    for name, data in volumes.items():
        write_volume(tmp_path / name, Volume(data, VOXEL, source="stripes"))
    write_json(tmp_path / paths.ALIGNMENT, {"damaged_sections": []})
    log = pd.DataFrame([dict.fromkeys(MERGE_COLUMNS, 0.0)] * 2)
    log[["z", "y", "x"]] = [[2, 60, 80], [4, 60, 50]]
    log = log.assign(
        joined=[True, False],
        neurite=[MIDDLE, LEFT],
        other=pd.array([None, MIDDLE], "Int64"),
        reason="boundary",
        volume_um3=1.0,
        doubt=[0.9, 0.5],
    )
    log.to_csv(tmp_path / paths.MERGE_LOG, index=False)
    synapses = pd.DataFrame({"z": [1, 3], "y": [30, 90], "x": [50, 110], "score": [0.8, 0.3]})
    synapses = synapses.assign(pre_id=[1, 2], post_id=[2, 3], post_ids=["2", "3"])
    synapses.to_csv(tmp_path / paths.SYNAPSES, index=False)
    return tmp_path
