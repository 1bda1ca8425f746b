"""Detect synapse candidates: dark densities on boundaries between neurites, with their partners.

The presynaptic side is a heuristic. In *C. elegans* the dense projection lies in the presynaptic
neurite, among vesicles, so the neurite that holds most of the dark material and of the
vesicle-like texture is called presynaptic, and those it faces postsynaptic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.params import SynapseParams
from connectome.core.progress import Progress, ignore_progress
from connectome.core.synapse_table import encode_ids
from connectome.synapses.densities import (
    CYTOPLASM_DISTANCE_NM,
    Density,
    DensityMaps,
    box_with_margin,
    compute_density_maps,
    find_densities,
)
from connectome.synapses.scoring import (
    AdjacentNeurite,
    SynapseClassifier,
    cap_density,
    default_classifier,
)

# Features of a candidate beside its size.
FEATURE_COLUMNS = [
    *("peak", "darkness", "darkest", "rim_darkness", "distance_nm"),
    *("vesicles_pre", "vesicles_post", "filling_pre", "filling_post"),
]
COLUMNS = [
    *("z", "y", "x", "pre_id", "post_id", "score", "post_ids", "n_partners", "direction"),
    *FEATURE_COLUMNS,
    *("thickness_nm", "contact_area_um2", "volume_um3", "n_sections"),
    *("z_first", "z_last", "y_first", "y_last", "x_first", "x_last"),
]
DECIMALS = dict.fromkeys(["score", "direction", *FEATURE_COLUMNS], 4)
DECIMALS |= {"thickness_nm": 1, "contact_area_um2": 6, "volume_um3": 6}
# Margins of the box that is examined around a density.
LATERAL_MARGIN_NM, AXIAL_MARGIN_NM = 200.0, 60.0
RIM_NM = 40.0  # width of the rim whose darkness is compared with that of the core
# Distances from a density between which texture and darkness of the cytoplasm are averaged.
VESICLE_RING_NM, CYTOPLASM_RING_NM = (20.0, 200.0), (50.0, 150.0)
INNER_REACH_NM = 50.0  # dark cytoplasm within this distance of a density belongs to it
# A membrane after smoothing has about this darkness; anything lighter is not part of a density.
MIN_INNER_DARKNESS = 0.6
MIN_CYTOPLASM_VOXELS = 10  # with fewer voxels these defaults replace the averages:
DEFAULT_TEXTURE, DEFAULT_CYTOPLASM_DARKNESS = 1.0, 0.15


def detect_synapses(
    em: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    damaged_sections: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
    classifier: SynapseClassifier | None = None,
) -> pd.DataFrame:
    """Detect dark densities on the boundaries between neurites and score them as synapses.

    Darkness is measured relative to membranes: 0 is the cytoplasm of the section and 1 the
    surrounding membranes, so results do not depend on contrast or stain. A candidate is a place
    near a boundary that is darker than membranes over the width of a density; a density that
    spans several sections is one candidate (`connectome.synapses.densities`). A logistic model of
    its features (`connectome.synapses.scoring`) gives the probability that it is a synapse. All
    probabilities are lowered where they add up to more synapses than neuropil holds. O(V) time
    for V voxels, plus a little for each candidate.

    Parameters
    ----------
    em : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged_sections : sequence of int
        Sections that are excluded.
    params : SynapseParams, optional
        Sizes in nm, and thresholds of darkness and score.
    threads : int
        Number of sections processed at a time.
    progress : callable
        Called with the number of sections finished since the last call.
    classifier : SynapseClassifier, optional
        Model that scores the candidates; by default the one trained on phantoms.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per candidate, by falling score, as DATASHEET.md describes them:
        position (voxels), ``pre_id``, ``post_id`` (the partner with most contact), ``post_ids``
        (all partners, joined by ``;``), ``score`` (probability of being a synapse), ``direction``
        (probability that ``pre_id`` is the presynaptic side, a heuristic), the features, and the
        extent.
    """
    params = params or SynapseParams()
    classifier = classifier or default_classifier()
    maps = compute_density_maps(
        em,
        labels,
        voxel_size,
        damaged_sections=damaged_sections,
        params=params,
        threads=threads,
        progress=progress,
    )
    rows = []
    for density in find_densities(maps, params):
        neighbourhood = Neighbourhood.crop(density, maps)
        rows.append(describe_candidate(density, neighbourhood, maps, classifier, params))
    table = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    scores = classifier.score(table)
    # A classifier retrained on this stack already reflects how many synapses it holds.
    if not classifier.retrained:
        tissue_um3 = np.count_nonzero(maps.labels) * maps.voxel_um3
        scores = cap_density(scores, params.typical_density_per_um3 * tissue_um3)
    table["score"] = scores
    table = table[table["score"] >= params.min_score].copy()
    # Binned pixels may reach one pixel beyond a stack of odd width.
    for axis, n in zip("yx", em.shape[1:], strict=True):
        table[f"{axis}_last"] = table[f"{axis}_last"].clip(upper=n - 1)
    table = table.sort_values(["score", "z", "y", "x"], ascending=[False, True, True, True])
    return table.round(DECIMALS).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """`DensityMaps` cropped to a box around a density.

    Parameters
    ----------
    labels, darkness, texture, boundary_distance : ndarray, shape (Z, Y, X)
        As in `DensityMaps`.
    density_distance : ndarray of float, shape (Z, Y, X)
        Distance in nm from the density, 0 inside.
    """

    labels: np.ndarray
    darkness: np.ndarray
    texture: np.ndarray
    boundary_distance: np.ndarray
    density_distance: np.ndarray

    @classmethod
    def crop(cls, density: Density, maps: DensityMaps) -> Neighbourhood:
        """Crop the maps around a density."""
        size = np.asarray(maps.voxel_size)
        margin_nm = np.array([max(AXIAL_MARGIN_NM, size[0]), LATERAL_MARGIN_NM, LATERAL_MARGIN_NM])
        box = box_with_margin(
            density.voxels.min(axis=0),
            density.voxels.max(axis=0),
            margin=np.ceil(margin_nm / size).astype(int),
            shape=maps.labels.shape,
        )
        outside = np.ones(maps.labels[box].shape, bool)
        outside[tuple((density.voxels - [s.start for s in box]).T)] = False
        return cls(
            labels=maps.labels[box],
            darkness=maps.darkness[box],
            texture=maps.texture[box],
            boundary_distance=maps.boundary_distance[box],
            density_distance=ndimage.distance_transform_edt(outside, sampling=maps.voxel_size),
        )


def describe_candidate(
    density: Density,
    neighbourhood: Neighbourhood,
    maps: DensityMaps,
    classifier: SynapseClassifier,
    params: SynapseParams,
) -> dict | None:
    """Describe a density as a row of the table of candidates.

    Parameters
    ----------
    density : Density
        The density.
    neighbourhood : Neighbourhood
        Maps around it.
    maps : DensityMaps
        Maps of the stack.
    classifier : SynapseClassifier
        Model that chooses the presynaptic neurite.
    params : SynapseParams
        Lengths in nm, and thresholds.

    Returns
    -------
    dict or None
        Values by the names of `COLUMNS`, with a score of 0; None where no two neurites meet.
    """
    neurites = measure_adjacent_neurites(neighbourhood, maps.voxel_um3, params)
    if len(neurites) < 2:
        return None
    probabilities = classifier.presynaptic_probability(neurites)
    pre = neurites[int(np.argmax(probabilities))]
    contact = _contact_areas(neighbourhood, pre.id, maps.voxel_size, params)
    post_ids = _postsynaptic_ids(contact, params)
    if not post_ids:
        return None
    post = [n for n in neurites if n.id in post_ids] or [n for n in neurites if n is not pre]
    return {
        **_position_and_size(density, maps),
        "pre_id": pre.id,
        "post_id": post_ids[0],
        "score": 0.0,
        "post_ids": encode_ids(post_ids),
        "n_partners": len(post_ids),
        "direction": float(probabilities.max()),
        "peak": density.peak_darkness,
        **_core_darkness(neighbourhood),
        "vesicles_pre": pre.vesicle_texture,
        "vesicles_post": float(np.mean([neurite.vesicle_texture for neurite in post])),
        "filling_pre": pre.cytoplasm_darkness,
        "filling_post": float(np.mean([neurite.cytoplasm_darkness for neurite in post])),
        "contact_area_um2": float(sum(contact[neurite] for neurite in post_ids)),
    }


def measure_adjacent_neurites(
    neighbourhood: Neighbourhood, voxel_um3: float, params: SynapseParams
) -> list[AdjacentNeurite]:
    """Measure the neurites that touch a density, by rising id.

    Parameters
    ----------
    neighbourhood : Neighbourhood
        Maps around the density.
    voxel_um3 : float
        Volume of a voxel in µm³.
    params : SynapseParams
        How near a neurite must be, and how much of it.
    """
    labels, darkness = neighbourhood.labels, neighbourhood.darkness
    distance = neighbourhood.density_distance
    near = (distance <= params.max_partner_distance_nm) & (labels > 0)
    ids, counts = np.unique(labels[near], return_counts=True)
    ids = ids[counts >= params.min_neighbour_fraction * counts.sum()]
    rim = np.exp(-0.5 * (distance / params.rim_nm) ** 2) * np.clip(darkness, 0, 2)
    rim[~np.isin(labels, ids)] = 0
    is_inner = neighbourhood.boundary_distance > params.rim_nm
    is_inner &= (distance <= INNER_REACH_NM) & (rim > 0)
    inner = np.where(is_inner, np.clip(darkness - MIN_INNER_DARKNESS, 0, 1), 0)
    is_cytoplasm = neighbourhood.boundary_distance > CYTOPLASM_DISTANCE_NM

    def ring_mean(values, where, ring_nm, default):
        ring = where & (distance > ring_nm[0]) & (distance <= ring_nm[1])
        inside = values[ring]
        return float(inside.mean()) if inside.size >= MIN_CYTOPLASM_VOXELS else default

    measured = []
    for neurite in ids:
        own = labels == neurite
        cytoplasm = own & is_cytoplasm
        n_near = np.count_nonzero(own & (distance <= LATERAL_MARGIN_NM))
        measured.append(
            AdjacentNeurite(
                id=int(neurite),
                rim_share=float(rim[own].sum() / max(rim.sum(), 1e-9)),
                inner_share=float(inner[own].sum() / max(inner.sum(), 1e-9)),
                volume_um3=float(n_near * voxel_um3),
                vesicle_texture=ring_mean(
                    neighbourhood.texture, cytoplasm, VESICLE_RING_NM, DEFAULT_TEXTURE
                ),
                cytoplasm_darkness=ring_mean(
                    darkness, cytoplasm, CYTOPLASM_RING_NM, DEFAULT_CYTOPLASM_DARKNESS
                ),
            )
        )
    return measured


def _core_darkness(neighbourhood: Neighbourhood) -> dict[str, float]:
    """Measure how dark a density is relative to membranes, and its distance from the boundary."""
    distance = neighbourhood.density_distance
    core = distance == 0
    dark = neighbourhood.darkness[core]
    rim = neighbourhood.darkness[~core & (distance <= RIM_NM) & (neighbourhood.labels > 0)]
    return {
        "darkness": float(dark.mean()),
        "darkest": float(np.percentile(dark, 95)),
        "rim_darkness": float(rim.mean()) if rim.size else 0.0,
        "distance_nm": float(neighbourhood.boundary_distance[core].min()),
    }


def _contact_areas(
    neighbourhood: Neighbourhood,
    pre_id: int,
    voxel_size: tuple[float, float, float],
    params: SynapseParams,
) -> dict[int, float]:
    """Return the contact area in µm² of a neurite with each other one near a density.

    Only voxel faces within sections count.
    """
    area: dict[int, float] = {}
    for axis in (1, 2):
        labels = np.moveaxis(neighbourhood.labels, axis, 0)
        distance = np.moveaxis(neighbourhood.density_distance, axis, 0)
        lower, upper = labels[:-1], labels[1:]
        near = np.minimum(distance[:-1], distance[1:]) <= params.max_partner_distance_nm
        face_um2 = voxel_size[0] * voxel_size[3 - axis] / 1e6
        for own, other in ((lower, upper), (upper, lower)):
            partners = other[near & (own == pre_id) & (other != pre_id) & (other > 0)]
            for neurite, count in zip(*np.unique(partners, return_counts=True), strict=True):
                area[int(neurite)] = area.get(int(neurite), 0.0) + float(count * face_um2)
    return area


def _postsynaptic_ids(contact: dict[int, float], params: SynapseParams) -> list[int]:
    """List the neurites with enough contact, largest first."""
    least = params.min_contact_fraction * sum(contact.values())
    order = sorted(contact, key=lambda neurite: (-contact[neurite], neurite))
    return [neurite for neurite in order if contact[neurite] >= least][: params.max_partners]


def _position_and_size(density: Density, maps: DensityMaps) -> dict[str, float]:
    """Return position and extent of a density in voxels of the stack, and its size."""
    scale = np.array([1, maps.binning, maps.binning])
    first = density.voxels.min(axis=0) * scale
    last = (density.voxels.max(axis=0) + 1) * scale - 1
    sections, per_section = np.unique(density.voxels[:, 0], return_counts=True)
    centre = density.central_voxel * scale + (scale - 1) // 2
    return {
        **{axis: int(at) for axis, at in zip("zyx", centre, strict=True)},
        "thickness_nm": _thickness_nm(density, maps, sections[np.argmax(per_section)]),
        "volume_um3": len(density.voxels) * maps.voxel_um3,
        "n_sections": len(sections),
        **{f"{axis}_first": int(at) for axis, at in zip("zyx", first, strict=True)},
        **{f"{axis}_last": int(at) for axis, at in zip("zyx", last, strict=True)},
    }


def _thickness_nm(density: Density, maps: DensityMaps, section: int) -> float:
    """Return the smaller width of a density in a section: four standard deviations across it."""
    pixels = density.voxels[density.voxels[:, 0] == section][:, 1:] * maps.voxel_size[1:]
    covariance = np.cov(pixels.T, bias=True) if len(pixels) > 1 else np.zeros((2, 2))
    # The width of a pixel keeps a single row of pixels from being infinitely thin.
    covariance += np.diag(np.square(maps.voxel_size[1:])) / 12
    return float(4 * np.sqrt(np.linalg.eigvalsh(covariance)[0]))
