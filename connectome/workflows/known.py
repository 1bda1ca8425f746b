"""Reviewed synapses in an output folder."""

from __future__ import annotations

import numpy as np
import pandas as pd

from connectome.io.run_folder import RunFolder
from connectome.synapses import verdicts


def reviewed_synapses(draft: RunFolder, labels: np.ndarray) -> pd.DataFrame | None:
    """Read the synapses that a person has reviewed, with the ids of other labels.

    Parameters
    ----------
    draft : RunFolder
        Results of a run.
    labels : ndarray of int32, shape (Z, Y, X)
        Labels whose ids the partners get.

    Returns
    -------
    DataFrame or None
        As `RunFolder.reviewed_synapses`.
    """
    reviewed = draft.reviewed_synapses
    if reviewed is None:
        return None
    return verdicts.relabel_partners(
        reviewed, draft.reviewed_labels, labels, draft.aligned.voxel_size
    )
