"""Synthetic stacks and transforms for tests of alignment."""

import numpy as np
from scipy import ndimage

from connectome.align.transforms import compose_transform

VOXEL_SIZE = (30.0, 8.0, 8.0)
MARGIN = 64


def synthetic_tissue(seed, n_sections=1, side=128):
    """Blobs of the size of neurites that change slowly from section to section, in [0.1, 1]."""
    noise = np.random.default_rng(seed).normal(size=(n_sections, *[side + 2 * MARGIN] * 2))
    # The smoothing wraps around so that every section has the same statistics.
    smooth = ndimage.gaussian_filter(noise, (2, 4, 4), mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (0.1 + 0.9 * smooth).astype(np.float32)


def image_displaced(tissue, displacements):
    """Cut displaced sections out of wider tissue, so that nothing is lost at their edges."""
    moved = [ndimage.shift(section, by) for section, by in zip(tissue, displacements, strict=True)]
    return np.stack(moved)[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def displace_mirrored(sections, displacements):
    """Displace sections; their mirror image comes into view at the edges."""
    return np.stack(
        [
            ndimage.shift(section, by, order=3, mode="reflect")
            for section, by in zip(sections, displacements, strict=True)
        ]
    )


def random_transforms(n_sections, degrees, scale, seed=7):
    """Draw rotations and scales about the centre, and shifts of 1 px, as (Z, 3, 3)."""
    rng = np.random.default_rng(seed)
    angles, sizes = np.deg2rad(rng.normal(0, degrees, n_sections)), rng.normal(1, scale, n_sections)
    cos, sin = sizes * np.cos(angles), sizes * np.sin(angles)
    matrices = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), 2, 0)
    shifts = rng.normal(0, 1, (n_sections, 2))
    return np.array([compose_transform(*each) for each in zip(matrices, shifts, strict=True)])
