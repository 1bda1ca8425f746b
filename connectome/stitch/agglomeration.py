"""Agglomerate supervoxels into neurites, within and across sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from connectome.core.params import StitchParams
from connectome.core.region_adjacency import Contacts
from connectome.core.volume import has_thin_sections
from connectome.stitch.damaged_sections import excluded_sections, fill_damaged_labels
from connectome.stitch.edge_weights import SupervoxelGraph, build_supervoxel_graph
from connectome.stitch.enclosure import find_enclosed, find_ends_reached, measure_open_surface
from connectome.stitch.gaec import Contraction, contract_edges
from connectome.stitch.mitochondria import Brightness, assign_mitochondria, measure_brightness

# Consensus of two probability maps: weights of the second map, offsets of the threshold, and the
# fraction of these contractions that must agree on a join. It is above one half because a false
# merge costs more than a missing one.
SECOND_MAP_WEIGHTS = (0.0, 1 / 3, 1 / 2, 2 / 3, 1.0)
THRESHOLD_OFFSETS = (-0.05, 0.0, 0.05)
MIN_AGREEMENT = 0.6


@dataclass(frozen=True, eq=False)
class Agglomeration:
    """Neurites, and the graph and joins that produced them.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids from 1, consecutive and in order of appearance; 0 outside the tissue.
    contacts : Contacts
        Contacts between supervoxels, with the mean of the first neurite probability.
    is_overlap : ndarray of bool, shape (E,)
        Which contacts are overlaps between sections rather than shared boundaries.
    edge_weight : ndarray of float, shape (E,)
        Weight of every contact: positive is attractive, negative repulsive.
    join_step : ndarray of int, shape (E,)
        Index of the join that brought the two supervoxels of a contact together; -1 if they belong
        to different neurites.
    join_weight : ndarray of float, shape (J,)
        Total edge weight between the two sides of every join, in the order of joining; 0 for
        mitochondria and enclosed segments, which are joined by other criteria.
    host_fraction : ndarray of float, shape (J,)
        For joins of a mitochondrion, the fraction of its contact weight that its neurite has; NaN
        for all other joins.
    neurite_of : ndarray of int32, shape (P,)
        Neurite id of every supervoxel.
    is_mitochondrion : ndarray of bool, shape (P,)
        Supervoxels assigned to a neurite as mitochondria. Their contacts carry no information on
        whether two neurites belong together.
    """

    labels: np.ndarray
    contacts: Contacts
    is_overlap: np.ndarray
    edge_weight: np.ndarray
    join_step: np.ndarray
    join_weight: np.ndarray
    host_fraction: np.ndarray
    neurite_of: np.ndarray
    is_mitochondrion: np.ndarray


def agglomerate(
    supervoxels: np.ndarray,
    probability: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    params: StitchParams | None = None,
    constraints: np.ndarray | None = None,
    second_probability: np.ndarray | None = None,
    em: np.ndarray | None = None,
) -> Agglomeration:
    """Agglomerate supervoxels into neurites.

    1. Blank sections and damaged thick sections are excluded.
    2. Large supervoxels as dark as membranes are taken for mitochondria and set aside.
    3. Supervoxels that share a boundary, or overlap between adjacent sections, are connected by an
       edge with a signed weight (`connectome.stitch.edge_weights.SupervoxelGraph.edge_weights`).
    4. Edges are contracted in one global order (`connectome.stitch.gaec.contract_edges`), so that
       supervoxels which overlap across sections stay apart if membranes elsewhere separate them.
    5. Each mitochondrion is assigned to the neurite with which it shares most of its boundary
       (`connectome.stitch.mitochondria.assign_mitochondria`).
    6. Segments that one neurite encloses become part of it
       (`connectome.stitch.enclosure.find_enclosed`).
    7. Damaged thick sections are filled from their neighbours.

    With a second probability map, step 4 is a consensus: contractions are computed for several
    mixtures of the two maps and several thresholds, and the weight of an edge is how often its two
    supervoxels were joined, above `MIN_AGREEMENT`. A single misjudged contact between two large
    neurites can merge them, but is seldom misjudged by all. Takes O(V + E log E) time for V voxels
    and E contacts.

    Parameters
    ----------
    supervoxels : ndarray of int32, shape (Z, Y, X)
        Supervoxel ids, as `connectome.segment.segment_supervoxels` returns; 0 is background.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : sequence of int
        Sections whose content is unreliable. If all are damaged or blank, all are used.
    params : StitchParams, optional
        Thresholds and weights.
    constraints : ndarray of int, shape (P,), optional
        Neurite id of supervoxels in proofread sections, 0 for all others, as
        `connectome.stitch.constraints.constrain_supervoxels` returns. Supervoxels of one id are
        joined wherever they are (must-link), those of two ids never (cannot-link).
    second_probability : ndarray of float, shape (Z, Y, X), optional
        Neurite probability from another predictor.
    em : ndarray of float, shape (Z, Y, X), optional
        Preprocessed and aligned EM. Without it, brightness is not used and no mitochondria are
        recognised.

    Returns
    -------
    Agglomeration
    """
    params = params or StitchParams()
    thin_sections = has_thin_sections(voxel_size)
    n_supervoxels = int(supervoxels.max()) + 1
    if constraints is None:
        constraints = np.zeros(n_supervoxels, int)
    excluded = excluded_sections(supervoxels, damaged_sections, thin_sections=thin_sections)
    used = supervoxels.copy()
    used[excluded] = 0

    brightness = Brightness.unknown(n_supervoxels)
    if em is not None:
        brightness = measure_brightness(used, em, probability, n_supervoxels)
    dark = _find_mitochondria(brightness, constraints, voxel_size, params)
    cytoplasm = replace(brightness, level=np.where(dark, np.nan, brightness.level))

    def build_graph(neurite_probability: np.ndarray) -> SupervoxelGraph:
        return build_supervoxel_graph(
            used,
            neurite_probability,
            brightness=cytoplasm,
            excluded_sections=excluded,
            thin_sections=thin_sections,
        )

    graph = build_graph(probability)
    contact_probability = graph.contacts.probability
    if constraints.any():
        params = _relax_thresholds(params)
    if second_probability is None:
        edge_weight = graph.edge_weights(contact_probability, params)
    else:
        second = build_graph(second_probability).contacts.probability
        edge_weight = _consensus_weights(graph, second, dark, constraints, params)
        contact_probability = (contact_probability + second) / 2

    contraction = _contract(graph, edge_weight, dark, constraints)
    n_contracted = len(contraction.joins)
    contraction, fraction = _join_mitochondria(
        contraction, graph, contact_probability, dark, params
    )
    contraction = _join_enclosed(contraction, graph, used, constraints, voxel_size, params)
    host_fraction = np.full(len(contraction.joins), np.nan)
    host_fraction[n_contracted : n_contracted + fraction.size] = fraction
    is_mitochondrion = np.zeros(n_supervoxels, bool)
    is_mitochondrion[contraction.joins[~np.isnan(host_fraction), 1]] = True

    labels, neurite_of = _number_neurites(used, contraction.root)
    damaged = [z for z in excluded if z in damaged_sections]
    return Agglomeration(
        labels=fill_damaged_labels(labels, supervoxels > 0, damaged),
        contacts=graph.contacts,
        is_overlap=graph.is_overlap,
        edge_weight=edge_weight,
        join_step=contraction.join_step(graph.contacts.first, graph.contacts.second),
        join_weight=contraction.join_weight,
        host_fraction=host_fraction,
        neurite_of=neurite_of,
        is_mitochondrion=is_mitochondrion,
    )


def _find_mitochondria(
    brightness: Brightness,
    constraints: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: StitchParams,
) -> np.ndarray:
    """Find dark, wide supervoxels; those of proofread sections are neurites as they are."""
    axes = slice(None) if has_thin_sections(voxel_size) else slice(1, None)
    min_voxels = float(np.prod(params.min_mitochondrion_nm / np.array(voxel_size[axes])))
    dark = brightness.find_dark(params.max_mitochondrion_brightness, min_voxels)
    return (constraints == 0) & dark


def _relax_thresholds(params: StitchParams) -> StitchParams:
    """Lower the thresholds where cannot-link constraints keep false merges from spreading."""
    return replace(
        params,
        min_probability_thick=params.min_probability_thick - params.constraint_relaxation,
        min_probability_thin=params.min_probability_thin - params.constraint_relaxation,
    )


def _consensus_weights(
    graph: SupervoxelGraph,
    second_probability: np.ndarray,
    dark: np.ndarray,
    constraints: np.ndarray,
    params: StitchParams,
) -> np.ndarray:
    """Weigh edges by how many contractions under two probability maps join their supervoxels."""
    contacts = graph.contacts
    n_joined = np.zeros(contacts.size.size)
    for second_weight, offset in product(SECOND_MAP_WEIGHTS, THRESHOLD_OFFSETS):
        difference = second_probability - contacts.probability
        mixture = contacts.probability + second_weight * difference
        weights = graph.edge_weights(mixture, params, threshold_offset=offset)
        root = _contract(graph, weights, dark, constraints).root
        n_joined += root[contacts.first] == root[contacts.second]
    n_contractions = len(SECOND_MAP_WEIGHTS) * len(THRESHOLD_OFFSETS)
    return (n_joined / n_contractions - MIN_AGREEMENT) * graph.contact_width


def _contract(
    graph: SupervoxelGraph, edge_weight: np.ndarray, dark: np.ndarray, constraints: np.ndarray
) -> Contraction:
    """Contract the edges between supervoxels that are not mitochondria."""
    first, second = graph.contacts.first, graph.contacts.second
    used = ~dark[first] & ~dark[second]
    return contract_edges(
        constraints.size, first[used], second[used], edge_weight[used], constraints
    )


def _join_mitochondria(
    contraction: Contraction,
    graph: SupervoxelGraph,
    probability: np.ndarray,
    dark: np.ndarray,
    params: StitchParams,
) -> tuple[Contraction, np.ndarray]:
    """Assign mitochondria to neurites.

    Returns
    -------
    Contraction
        With these joins added.
    ndarray of float, shape (J,)
        For each join added, the host's fraction of the contact weight.
    """
    joins, fraction = assign_mitochondria(
        dark,
        contraction.root,
        first=graph.contacts.first,
        second=graph.contacts.second,
        weight=probability * graph.contact_width,
        min_fraction=params.min_host_fraction,
    )
    return contraction.append_joins(joins), fraction


def _join_enclosed(
    contraction: Contraction,
    graph: SupervoxelGraph,
    supervoxels: np.ndarray,
    constraints: np.ndarray,
    voxel_size: tuple[float, float, float],
    params: StitchParams,
) -> Contraction:
    """Join enclosed segments to the neurite around them, except those with a proofread id.

    A join can complete the enclosure of another segment, so this is repeated until none is found.
    """
    n, contacts = constraints.size, graph.contacts
    z, y, x = voxel_size
    face_areas = np.array([y * x, z * x, z * y])
    boundary_face = face_areas.mean() if graph.thin_sections else face_areas[1]
    area = contacts.size * np.where(graph.is_overlap, face_areas[0], boundary_face)
    imaged = supervoxels[supervoxels.any(axis=(1, 2))]
    open_area, ends = measure_open_surface(imaged, face_areas, n), find_ends_reached(imaged, n)
    proofread = np.bincount(contraction.root, constraints, minlength=n) > 0
    while True:
        root = contraction.root

        def sum_by_root(values: np.ndarray, root: np.ndarray = root) -> np.ndarray:
            return np.bincount(root, values, minlength=n)

        first, second = root[contacts.first], root[contacts.second]
        apart = first != second
        joins = find_enclosed(
            first[apart],
            second[apart],
            area=area[apart],
            probability=contacts.probability[apart],
            volume=sum_by_root(graph.size),
            open_area=sum_by_root(open_area),
            ends=np.apply_along_axis(sum_by_root, 2, ends) > 0,
            min_enclosure_at_end=params.min_enclosure_at_end,
            min_enclosure_inside=params.min_enclosure_inside,
        )
        joins = joins[~proofread[joins[:, 1]]]
        if not len(joins):
            return contraction
        contraction = contraction.append_joins(joins)


def _number_neurites(supervoxels: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give neurites ids from 1, in order of appearance.

    Returns
    -------
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite id of every voxel.
    neurite_of : ndarray of int32, shape (P,)
        Neurite id of every supervoxel.
    """
    first_voxel = np.full(root.size, supervoxels.size)
    # Written from the last voxel to the first, so that the first voxel of each supervoxel remains.
    first_voxel[supervoxels.ravel()[::-1]] = np.arange(supervoxels.size)[::-1]
    order = np.argsort(first_voxel, kind="stable")
    order = order[(order > 0) & (first_voxel[order] < supervoxels.size)]
    _, first = np.unique(root[order], return_index=True)
    id_of_root = np.zeros(root.size, np.int32)
    id_of_root[root[order[np.sort(first)]]] = np.arange(1, first.size + 1)
    neurite_of = id_of_root[root]
    return neurite_of[supervoxels], neurite_of
