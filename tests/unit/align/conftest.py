"""Fixtures shared by the tests of alignment."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def real(shared_data):
    """Load real sections in [0, 1] and their voxel size."""

    def load(name, part=np.s_[:]):
        with np.load(shared_data / name) as arrays:
            raw = arrays["raw"][part].astype(np.float32) / 255
            return raw, tuple(arrays["voxel_size_nm_zyx"])

    return load
