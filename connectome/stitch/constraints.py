"""What a person has said of some sections, as pieces that neurites are joined from."""

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
    """Put a person's profiles in the place of the pieces of proofread sections.

    Pieces that reach through a proofread section are cut there, so that each lies on one side of
    it. O(V) time in voxels V.

    Parameters
    ----------
    pieces : ndarray of int32, shape (Z, Y, X)
        Piece numbers, as `connectome.segment.segment_supervoxels` returns.
    corrected : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 on membranes and outside the tissue.
    sections : sequence of int
        In which ``corrected`` can be believed.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    pieces : ndarray of int32, shape (Z, Y, X)
        Piece numbers, each one connected piece; 0 where a person left membranes.
    anchors : ndarray of int, shape (P,)
        Neurite id of every piece number; 0 for those of sections nobody has proofread.
    """
    from skimage.measure import label

    anchored = supervoxels.copy()
    anchored[list(proofread_sections)] = 0
    if has_thin_sections(voxel_size):
        anchored = label(anchored, connectivity=1).astype(np.int32)
    n_free = int(anchored.max())
    anchors = [np.zeros(n_free + 1, int)]
    for z in proofread_sections:
        profiles, n_profiles = label(proofread_labels[z], connectivity=1, return_num=True)
        ids = np.zeros(n_profiles + 1, int)
        ids[profiles.ravel()] = proofread_labels[z].ravel()
        first = sum(map(len, anchors)) - 1
        anchored[z] = np.where(profiles > 0, profiles + first, 0)
        anchors.append(ids[1:])
    return anchored, np.concatenate(anchors)


def restore_proofread_ids(
    labels: np.ndarray, proofread_labels: np.ndarray, proofread_sections: Sequence[int]
) -> np.ndarray:
    """Give neurites the ids a person knows them by.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurites joined from anchored pieces: none has two corrected ids.
    corrected : ndarray of int, shape (Z, Y, X)
        Neurite ids.
    sections : sequence of int
        In which ``corrected`` can be believed.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurites that no proofread section shows have the lowest ids that are free.
    """
    known = proofread_labels[list(proofread_sections)]
    inside = known > 0
    names = np.zeros(int(labels.max()) + 1, np.int32)
    names[labels[list(proofread_sections)][inside]] = known[inside]
    taken, unnamed = np.unique(known[inside]), np.flatnonzero(names == 0)[1:]
    free = np.setdiff1d(np.arange(1, 1 + taken.size + unnamed.size), taken)
    names[unnamed] = free[: unnamed.size]
    return names[labels]
