"""Neurites: pieces of profiles joined within and across sections into 3D ids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from connectome.contraction import contract
from connectome.params import StitchParams


def stitch_sections(
    pieces: np.ndarray,
    probability: np.ndarray,
    damaged: Sequence[int] = (),
    params: StitchParams | None = None,
) -> np.ndarray:
    """Join the pieces of all sections into neurites.

    Two kinds of evidence are weighed in one graph. Within a section, a boundary that looks like
    membrane keeps two pieces apart and one that looks like cytoplasm pulls them together, in
    proportion to its length. Between sections, pieces are pulled together by the share of each
    that the other covers, more so where both show cytoplasm there. Shares, unlike the 200 pixels
    of the published pipeline, mean the same at every pixel size and calibre. All joins then
    happen in one global order (see `connectome.contraction.contract`), so pieces that overlap
    across sections stay apart where membranes say so. Damaged sections are skipped and filled
    from their neighbours afterwards. O(V + E log E) time for V voxels and E touching pairs.

    Parameters
    ----------
    pieces : ndarray of int32, shape (Z, Y, X)
        Piece numbers per section, as `connectome.segment.segment_sections` returns.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    damaged : sequence of int
        Sections whose pieces mean nothing.
    params : StitchParams, optional
        Where evidence turns from parting to joining, and the weight of overlap.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Neurite ids from 1, numbered without gaps in order of appearance; 0 outside the tissue.
    """
    params = params or StitchParams()
    usable = [z for z in range(len(pieces)) if z not in set(damaged)]
    if not usable:
        return np.zeros_like(pieces)
    unique = _numbered_through(pieces, usable)
    area = np.bincount(unique.ravel())
    edges = [_boundary_edges(unique[z], probability[z], area.size, params) for z in usable]
    edges += [
        _overlap_edges(unique[a], unique[b], (probability[a], probability[b]), area, params)
        for a, b in pairwise(usable)
    ]
    first, second, pull = (np.concatenate(column) for column in zip(*edges, strict=True))
    joined = contract(area.size, first, second, pull)
    return bridge_sections(_in_order(joined[unique]), pieces > 0, damaged)


def bridge_sections(labels: np.ndarray, tissue: np.ndarray, damaged: Sequence[int]) -> np.ndarray:
    """Fill damaged sections from the nearest sound ones.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids.
    tissue : ndarray of bool, shape (Z, Y, X)
        What is to be filled; a section that shows none is filled wherever a neighbour is.
    damaged : sequence of int
        Sections to fill; at the ends of the stack they take their one neighbour's ids.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
        Ids that the sections before and after agree upon stay in place; the rest goes to the
        nearest of them.
    """
    filled = labels.copy()
    sound = [z for z in range(len(labels)) if z not in set(damaged)]
    for z in damaged if sound else ():
        before = labels[max((s for s in sound if s < z), default=sound[0])]
        after = labels[min((s for s in sound if s > z), default=sound[-1])]
        agreed = (before == after) & (before > 0)
        if not agreed.any():
            agreed = before > 0
        nearest = ndimage.distance_transform_edt(
            ~agreed, return_distances=False, return_indices=True
        )
        inside = tissue[z] if tissue[z].any() else (before > 0) | (after > 0)
        filled[z] = np.where(inside, before[tuple(nearest)], 0)
    return filled


def _numbered_through(pieces: np.ndarray, usable: Sequence[int]) -> np.ndarray:
    """Make piece numbers unique over the whole stack; sections not usable become 0."""
    unique = np.zeros_like(pieces)
    last = 0
    for z in usable:
        unique[z] = np.where(pieces[z] > 0, pieces[z] + last, 0)
        last += int(pieces[z].max())
    return unique


def _boundary_edges(section, probability, n_pieces, params):
    """Edges between the pieces of a section, by how their common boundary looks."""
    pairs, inside = [], []
    for axis in (0, 1):
        a, b = _shifted(section, axis)
        border = (a != b) & (a > 0) & (b > 0)
        pairs.append(_pair_keys(np.minimum(a, b)[border], np.maximum(a, b)[border], n_pieces))
        # The darker side counts: a membrane may lie on either side of the watershed line.
        inside.append(np.minimum(*_shifted(probability, axis))[border])
    first, second, length, mean = _contacts(np.concatenate(pairs), np.concatenate(inside), n_pieces)
    return first, second, (mean - params.least_probability) * length


def _overlap_edges(below, above, probability, area, params):
    """Edges between the pieces of two sections, by what each covers of the other, and where."""
    both = (below > 0) & (above > 0)
    pairs = _pair_keys(below[both], above[both], area.size)
    # Pieces of two neurites overlap on the membrane between them, and little elsewhere.
    inside = np.minimum(*probability)[both]
    first, second, overlap, mean = _contacts(pairs, inside, area.size)
    share = (overlap / area[first] + overlap / area[second]) / 2
    pull = params.overlap_weight * (share - params.least_share) + mean - params.least_probability
    # The root of an area is a length, comparable with that of a boundary in the section.
    return first, second, pull * np.sqrt(overlap)


def _contacts(pairs, inside, n_pieces):
    """Sum up each pair: its two pieces, the voxels in contact, their mean probability."""
    keys, which, size = np.unique(pairs, return_inverse=True, return_counts=True)
    first, second = np.divmod(keys, n_pieces)
    return first, second, size, np.bincount(which, inside, minlength=keys.size) / size


def _pair_keys(first, second, n_pieces) -> np.ndarray:
    """One number per pair: sorting pairs as rows would be sixty times slower."""
    return first.astype(np.int64) * n_pieces + second


def _shifted(section, axis) -> tuple[np.ndarray, np.ndarray]:
    """Return a section without its last and without its first row (or column)."""
    rows = np.moveaxis(section, axis, 0)
    return rows[:-1], rows[1:]


def _in_order(labels: np.ndarray) -> np.ndarray:
    """Give ids new numbers from 1, in order of appearance; 0 stays."""
    ids, place = np.unique(labels, return_index=True)
    lookup = np.zeros(int(ids[-1]) + 1, np.int32)
    ordered = ids[np.argsort(place, kind="stable")]
    lookup[ordered[ordered > 0]] = np.arange(1, np.count_nonzero(ids) + 1)
    return lookup[labels]
