"""Must-link and cannot-link constraints from proofread sections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.core.volume import has_thin_sections


def constrain_supervoxels(
    supervoxels: np.ndarray,
    proofread_labels: np.ndarray,
    proofread_sections: Sequence[int],
    voxel_size: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the supervoxels of proofread sections by the proofread profiles.

    Supervoxels that extend through a proofread section are cut there, so that each lies on one
    side of it. Takes O(V) time for V voxels.

    Parameters
    ----------
    supervoxels : ndarray of int32, shape (Z, Y, X)
        Supervoxel ids, as `connectome.segment.segment_supervoxels` returns.
    proofread_labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 on membranes and outside the tissue.
    proofread_sections : sequence of int
        Sections in which ``proofread_labels`` were checked.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    supervoxels : ndarray of int32, shape (Z, Y, X)
        Supervoxel ids, each a connected region; 0 where proofread sections have no neurite.
    constraints : ndarray of int, shape (P,)
        Neurite id of every supervoxel of the proofread sections, 0 for the others: supervoxels of
        the same id must be linked, supervoxels of different ids cannot be.
    """
    from skimage.measure import label

    constrained = supervoxels.copy()
    constrained[list(proofread_sections)] = 0
    if has_thin_sections(voxel_size):
        constrained = label(constrained, connectivity=1).astype(np.int32)
    n_supervoxels = int(constrained.max())
    constraints = [np.zeros(n_supervoxels + 1, int)]
    for z in proofread_sections:
        profiles, n_profiles = label(proofread_labels[z], connectivity=1, return_num=True)
        ids = np.zeros(n_profiles + 1, int)
        ids[profiles.ravel()] = proofread_labels[z].ravel()
        constrained[z] = np.where(profiles > 0, profiles + n_supervoxels, 0)
        constraints.append(ids[1:])
        n_supervoxels += n_profiles
    return constrained, np.concatenate(constraints)


def restore_proofread_ids(
    labels: np.ndarray, proofread_labels: np.ndarray, proofread_sections: Sequence[int]
) -> np.ndarray:
    """Give neurites the ids they have in the proofread sections.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites agglomerated under constraints, so that none has two proofread ids.
    proofread_labels : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    proofread_sections : sequence of int
        Sections in which ``proofread_labels`` were checked.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurites that no proofread section shows have the lowest unused ids.
    """
    proofread = proofread_labels[list(proofread_sections)]
    inside = proofread > 0
    new_id = np.zeros(int(labels.max()) + 1, np.int32)
    new_id[labels[list(proofread_sections)][inside]] = proofread[inside]
    used = np.unique(proofread[inside])
    unassigned = np.flatnonzero(new_id == 0)[1:]
    unused = np.setdiff1d(np.arange(1, 1 + used.size + unassigned.size), used)
    new_id[unassigned] = unused[: unassigned.size]
    return new_id[labels]
