"""Neurites: pieces joined within and across sections into 3D ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from connectome.core.params import StitchParams
from connectome.core.region_adjacency import Contacts, face_contacts, section_overlaps
from connectome.core.volume import has_thin_sections, nearest_sound_sections
from connectome.stitch.enclosure import find_enclosed, find_ends_reached, measure_open_surface
from connectome.stitch.gaec import Contraction, contract_edges
from connectome.stitch.mitochondria import Brightness, assign_mitochondria, measure_brightness

# Where two maps vote on joins: by which share the second counts, and what is taken off or added.
SHARES = (0.0, 1 / 3, 1 / 2, 2 / 3, 1.0)
LEANS = (-0.05, 0.0, 0.05)
LEAST_VOTES = 0.6  # share of these that joins: one false join costs more than one that is missing

# Takes the probability of every contact, and what more is asked of it; returns every pull.
Pull = Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class Agglomeration:
    """Neurites, and what spoke for and against every join.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids from 1, numbered without gaps in order of appearance; 0 outside the tissue.
    contacts : Contacts
        Where pieces touch or overlap.
    is_overlap : ndarray of bool, shape (E,)
        Which contacts are overlaps from section to section.
    edge_weight : ndarray of float, shape (E,)
        How strongly each contact speaks for joining (positive) or against it.
    join_step : ndarray of int, shape (E,)
        At which join the pieces of a contact came together; -1 where they are apart.
    join_weight : ndarray of float, shape (J,)
        What spoke for each join, all contacts between its two sides together; 0 for joins of
        what lies within a neurite.
    mitochondrion_share : ndarray of float, shape (J,)
        For each join of a dark piece, which share of what speaks for any neighbour of that spoke
        for this one; NaN for other joins.
    neurite_of : ndarray of int32, shape (P,)
        The neurite of every piece number.
    is_mitochondrion : ndarray of bool, shape (P,)
        Pieces that were given to a neurite as mitochondria: what they touch says nothing of
        other joins.
    """

    labels: np.ndarray
    contacts: Contacts
    is_overlap: np.ndarray
    edge_weight: np.ndarray
    join_step: np.ndarray
    join_weight: np.ndarray
    mitochondrion_share: np.ndarray
    neurite_of: np.ndarray
    is_mitochondrion: np.ndarray


def agglomerate(
    supervoxels: np.ndarray,
    probability: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    params: StitchParams | None = None,
    constraints: np.ndarray | None = None,
    second_probability: np.ndarray | None = None,
    em: np.ndarray | None = None,
) -> Agglomeration:
    """Join pieces into neurites.

    Two kinds of evidence are weighed in one graph. Where pieces share a boundary, one that looks
    like membrane keeps them apart and one that looks like cytoplasm pulls them together, in
    proportion to its size. Between thick sections, pieces are pulled together by the share of
    each that the other covers, more so where both show cytoplasm there. Shares, unlike the 200
    pixels of the published pipeline, mean the same at every pixel size and calibre. All joins
    then happen in one global order (see `connectome.stitch.gaec.contract_edges`), so pieces that
    overlap across sections stay apart where membranes say so. Damaged thick sections, and blank
    ones, are skipped and filled from their neighbours afterwards; if all are damaged, all are
    used. O(V + E log E) time for V voxels and E touching pairs.

    Pieces that differ in brightness inside are pulled together less: cytoplasm is much the same
    all along a neurite. Large pieces as dark as membranes are mitochondria. They take no part in
    all that, but are each given to a neurite afterwards. What
    then still lies within a single neurite is a part of it, too.

    A second map of the same can have a say. Each contact is then judged by either map and by
    their means, a little more and a little less strictly; all joins happen under each of these,
    and a contact pulls, in the end, by how often its two pieces came together. One wrong contact
    between two large neurites decides much, and is seldom wrong in all.

    Parameters
    ----------
    pieces : ndarray of int32, shape (Z, Y, X)
        Piece numbers, as `connectome.segment.segment_supervoxels` returns.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged : sequence of int
        Sections whose own content means nothing.
    params : StitchParams, optional
        Where evidence turns from parting to joining, and the weight of overlap.
    anchors : ndarray of int, shape (P,), optional
        The neurite that a person says a piece belongs to, for every piece number
        (`anchor_pieces`); 0 where nobody has. Pieces of one neurite are
        joined, wherever they are, and those of two never.
    other : ndarray of float, shape (Z, Y, X), optional
        Neurite probability by another judge.
    em : ndarray of float, shape (Z, Y, X), optional
        Preprocessed EM, aligned, that shows how bright pieces are inside.

    Returns
    -------
    Agglomeration
        Contacts show the first probability; the pull is what was voted, where there are two.
    """
    params = params or StitchParams()
    constraints = np.zeros(int(supervoxels.max()) + 1, int) if constraints is None else constraints
    thin = has_thin_sections(voxel_size)
    skipped = _skipped(supervoxels, damaged_sections, thin)
    kept = supervoxels.copy()
    kept[skipped] = 0
    size = np.bincount(kept.ravel(), minlength=int(supervoxels.max()) + 1)
    inner, dark = _seen_inside(kept, em, probability, constraints == 0, voxel_size, params)
    if constraints.any():
        eased = tuple(least - params.constraint_relaxation for least in params.min_probability)
        params = replace(params, min_probability=eased)
    contacts, across, pulled = _weighed(kept, probability, size, inner, thin, skipped, params)
    rated = contacts.probability
    if second_probability is None:
        pull = pulled(rated)
    else:
        seen = Contacts.concatenate(
            _all_contacts(kept, second_probability, thin, skipped)[:2]
        ).probability
        pull = _voted(pulled, contacts, seen, across, constraints, dark)
        rated = (rated + seen) / 2
    joined = _contracted(contacts, pull, constraints, dark)
    weight = rated * _width(contacts, across)
    joined, share = _with_dark(joined, contacts, weight, dark, params)
    given = np.zeros(size.size, bool)
    given[joined.joins[~np.isnan(share), 1]] = True
    free = np.bincount(joined.root, constraints, minlength=size.size) == 0
    sound = kept[kept.any(axis=(1, 2))]
    joined = _with_enclosed(joined, sound, size, contacts, across, free, voxel_size, params)
    labels, neurite = _in_order(kept, joined.root)
    return Agglomeration(
        fill_damaged_labels(labels, supervoxels > 0, [z for z in skipped if z in damaged_sections]),
        contacts,
        across,
        pull,
        joined.join_step(contacts.first, contacts.second),
        joined.join_weight,
        np.pad(share, (0, len(joined.joins) - share.size), constant_values=np.nan),
        neurite,
        given,
    )


def fill_damaged_labels(
    labels: np.ndarray, mask: np.ndarray, damaged_sections: Sequence[int]
) -> np.ndarray:
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
        Ids that the sections before and after agree upon stay in place and grow over the tissue
        between; where they cannot, ids are those before, or else after.
    """
    filled = labels.copy()
    sound = [z for z in range(len(labels)) if z not in set(damaged_sections)]
    for z in sorted(damaged_sections) if sound else ():
        before, after = nearest_sound_sections(z, sound)
        filled[z] = _between(filled[before], filled[after], mask[z])
        sound.append(z)  # the next of a row goes on from here
    return filled


def _between(before: np.ndarray, after: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Grow what two sections agree upon over the tissue between; the rest is as before, or after.

    Neurites grow along the tissue, so that none comes out in two parts; and through what was not
    imaged of it where they are on both sides.
    """
    from skimage.segmentation import watershed

    agreed = np.where(before == after, before, 0)
    rest = np.where(before > 0, before, after)
    inside = inside | (agreed > 0) if inside.any() else rest > 0
    grown = watershed(np.zeros(inside.shape, np.uint8), agreed, mask=inside)
    return np.where(inside & (grown == 0), rest, grown)


def _skipped(pieces, damaged, thin) -> list[int]:
    """Tell which sections say nothing of joins."""
    # Between thin sections neighbours have stood in for damaged ones.
    skipped = [z for z in range(len(pieces)) if (z in damaged and not thin) or not pieces[z].any()]
    return skipped if len(skipped) < len(pieces) else []  # poor evidence is better than none


def _seen_inside(
    pieces, em, probability, free, voxel_size, params
) -> tuple[Brightness, np.ndarray]:
    """Tell how bright cytoplasm is in each piece, and which pieces are mitochondria."""
    if em is None:
        return Brightness.unknown(free.size), np.zeros(free.size, bool)
    inner = measure_brightness(pieces, em, probability, free.size)
    axes = slice(None) if has_thin_sections(voxel_size) else slice(1, None)
    voxels = float(np.prod(params.min_mitochondrion_nm / np.array(voxel_size[axes])))
    dark = free & inner.dark(params.max_mitochondrion_brightness, voxels)
    return replace(inner, level=np.where(dark, np.nan, inner.level)), dark


def _all_contacts(pieces, probability, thin, skipped) -> tuple[Contacts, Contacts, np.ndarray]:
    """Find what touches within sections, or in 3D, and what overlaps across, by which share."""
    n = int(pieces.max()) + 1
    touch = face_contacts(pieces, probability, (0, 1, 2) if thin else (1, 2), n)
    usable = [z for z in range(len(pieces)) if z not in set(skipped)]
    # Thin sections touch, except across a gap.
    pairs = [(a, b) for a, b in pairwise(usable) if not thin or b - a > 1]
    overlaps, shares = [face_contacts(pieces[:0], probability[:0], (0,), n)], [np.zeros(0)]
    for below, above in pairs:
        overlap = section_overlaps(pieces, probability, below, above, n)
        area = np.bincount(pieces[[below, above]].ravel(), minlength=n)
        overlaps.append(overlap)
        shares.append((overlap.size / area[[overlap.first, overlap.second]]).mean(axis=0))
    return touch, Contacts.concatenate(overlaps), np.concatenate(shares)


def _weighed(
    kept, probability, size, inner, thin, skipped, params
) -> tuple[Contacts, np.ndarray, Pull]:
    """Find all contacts, which of them are overlaps, and how to tell what speaks for each."""
    touch, overlap, share = _all_contacts(kept, probability, thin, skipped)
    contacts = Contacts.concatenate([touch, overlap])
    across = np.arange(contacts.size.size) >= touch.size.size
    differ = inner.difference(contacts.first, contacts.second) - params.brightness_tolerance
    unlike = params.brightness_weight * np.maximum(differ, 0) * _width(contacts, across)

    def pulled(rated, lean=0.0):
        beside = replace(touch, probability=rated[~across])
        above = replace(overlap, probability=rated[across])
        of_boundaries = _boundary_pull(beside, size, thin, params, lean)
        of_overlaps = _overlap_pull(above, share, thin, params, lean)
        return np.concatenate([of_boundaries, of_overlaps]) - unlike

    return contacts, across, pulled


def _width(contacts: Contacts, across: np.ndarray) -> np.ndarray:
    """Return how much contacts weigh: the root of an overlap is a length, as a boundary is."""
    return np.where(across, np.sqrt(contacts.size), contacts.size)


def _voted(pulled: Pull, contacts, other: np.ndarray, across, anchors, dark) -> np.ndarray:
    """Let two judges of all contacts vote on joins; a clear majority pulls together."""
    together = np.zeros(contacts.size.size)
    for share, lean in product(SHARES, LEANS):
        pull = pulled(contacts.probability + share * (other - contacts.probability), lean)
        root = _contracted(contacts, pull, anchors, dark).root
        together += root[contacts.first] == root[contacts.second]
    majority = together / (len(SHARES) * len(LEANS)) - LEAST_VOTES
    return majority * _width(contacts, across)


def _contracted(contacts: Contacts, pull, anchors, dark) -> Contraction:
    """Join what contacts pull together, but for dark pieces."""
    light = ~dark[contacts.first] & ~dark[contacts.second]
    return contract_edges(
        anchors.size, contacts.first[light], contacts.second[light], pull[light], anchors
    )


def _with_dark(joined, contacts, weight, dark, params) -> tuple[Contraction, np.ndarray]:
    """Give each dark piece to a neurite; return also what share spoke for each join, or NaN."""
    pairs = np.stack([contacts.first, contacts.second])
    joins, share = assign_mitochondria(dark, joined.root, pairs, weight, params.min_host_fraction)
    share = np.append(np.full(len(joined.joins), np.nan), share)
    return joined.append_joins(joins, np.zeros(len(joins))), share


def _boundary_pull(touch: Contacts, size: np.ndarray, thin: bool, params, lean) -> np.ndarray:
    smaller = np.minimum(size[touch.first], size[touch.second])
    # Large pieces of one neurite meet across its calibre. A narrow window between two is more
    # often a gap in the membrane.
    width = touch.size / smaller ** (2 / 3 if thin else 1 / 2)
    doubt = params.narrow_contact_penalty * np.maximum(0, 1 - width / params.min_relative_width)
    return (touch.probability - params.min_probability[thin] - lean - doubt) * touch.size


def _overlap_pull(overlap: Contacts, share: np.ndarray, thin: bool, params, lean) -> np.ndarray:
    pull = params.overlap_weight * (share - params.min_overlap)
    # Pieces of two neurites overlap on the membrane between them, and little elsewhere.
    pull += overlap.probability - params.min_probability[thin] - lean
    return pull * np.sqrt(overlap.size)


def _with_enclosed(joined, pieces, size, contacts, across, free, voxel_size, params) -> Contraction:
    """Join what lies within one neurite to it, whatever its boundary looks like.

    Unless a person has said what it is: then it is not ``free``. What was joined may complete what
    lies around another, so they are looked for until there are none.
    """
    z, y, x = voxel_size
    faces = np.array([y * x, z * x, z * y])
    in_section = faces.mean() if has_thin_sections(voxel_size) else faces[1]
    area = contacts.size * np.where(across, faces[0], in_section)
    of_pieces = measure_open_surface(pieces, faces, size.size), find_ends_reached(pieces, size.size)
    while True:
        root = joined.root
        pairs = root[np.stack([contacts.first, contacts.second])]
        apart = pairs[0] != pairs[1]

        def together(numbers, root=root):
            return np.bincount(root, numbers, minlength=root.size)

        joins = find_enclosed(
            together(size),
            pairs[:, apart],
            area[apart],
            contacts.probability[apart],
            together(of_pieces[0]),
            np.apply_along_axis(together, 2, of_pieces[1]) > 0,
            params.min_enclosure,
        )
        joins = joins[free[joins[:, 1]]]
        if not len(joins):
            return joined
        joined = joined.append_joins(joins, np.zeros(len(joins)))


def _in_order(pieces: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give neurites numbers from 1, in order of appearance: as a stack, and for every piece."""
    place = np.full(root.size, pieces.size)
    # Written from the end, so that what stays is where a piece appears first.
    place[pieces.ravel()[::-1]] = np.arange(pieces.size)[::-1]
    order = np.argsort(place, kind="stable")
    order = order[(order > 0) & (place[order] < pieces.size)]
    _, first = np.unique(root[order], return_index=True)
    lookup = np.zeros(root.size, np.int32)
    lookup[root[order[np.sort(first)]]] = np.arange(1, first.size + 1)
    neurite = lookup[root]
    return neurite[pieces], neurite
