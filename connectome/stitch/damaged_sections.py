"""Damaged sections: which to leave out of the agglomeration, and how to fill them afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connectome.core.volume import nearest_sound_sections


def excluded_sections(
    supervoxels: np.ndarray, damaged_sections: Sequence[int], *, thin_sections: bool
) -> list[int]:
    """List the sections that take no part in the agglomeration.

    Parameters
    ----------
    supervoxels : ndarray of int, shape (Z, Y, X)
        Supervoxel ids; 0 outside the tissue.
    damaged_sections : sequence of int
        Sections whose content is unreliable.
    thin_sections : bool
        Whether sections are thin. Damaged thin sections are used: their neurite probability was
        predicted from their neighbours.

    Returns
    -------
    list of int
        Blank sections and damaged thick ones; none if these are all sections.
    """
    excluded = [
        z
        for z in range(len(supervoxels))
        if (z in damaged_sections and not thin_sections) or not supervoxels[z].any()
    ]
    return excluded if len(excluded) < len(supervoxels) else []


def fill_damaged_labels(
    labels: np.ndarray, mask: np.ndarray, damaged_sections: Sequence[int]
) -> np.ndarray:
    """Fill damaged sections with the neurite ids of the nearest sound ones.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids.
    mask : ndarray of bool, shape (Z, Y, X)
        Voxels to fill. In a section where the mask is empty, all voxels are filled that have an id
        in a neighbouring section.
    damaged_sections : sequence of int
        Sections to fill. At the ends of the stack they take the ids of their one neighbour.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Where the sections before and after have the same id, that id is kept and grown over the
        mask. Voxels it does not reach have the id of the section before, or else after.
    """
    filled = labels.copy()
    sound = [z for z in range(len(labels)) if z not in set(damaged_sections)]
    for z in sorted(damaged_sections) if sound else ():
        before, after = nearest_sound_sections(z, sound)
        filled[z] = _interpolate_labels(filled[before], filled[after], mask[z])
        sound.append(z)  # in a run of damaged sections, the next one continues from this one
    return filled


def _interpolate_labels(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow the ids that two sections share over the mask between them.

    Ids grow along the tissue, so that no neurite is split in two, and across parts that were not
    imaged if the neurite is present on both sides.
    """
    from skimage.segmentation import watershed

    shared = np.where(before == after, before, 0)
    either = np.where(before > 0, before, after)
    mask = mask | (shared > 0) if mask.any() else either > 0
    grown = watershed(np.zeros(mask.shape, np.uint8), shared, mask=mask)
    return np.where(mask & (grown == 0), either, grown)
