"""Synapse candidates: dark densities where neurites meet, and how far each is to be believed.

Direction is a heuristic: in worms the dark projection stands in the presynaptic neurite, among
vesicles, so the neurite that holds most of both is called presynaptic, and those it faces
postsynaptic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from connectome.core.params import SynapseParams
from connectome.core.progress import Progress, ignore_progress
from connectome.synapses.densities import (
    CYTOPLASM_DISTANCE_NM,
    Density,
    DensityMaps,
    box_with_margin,
    compute_density_maps,
    find_densities,
)
from connectome.synapses.scoring import SynapseClassifier, cap_density, default_classifier

# What speaks for a candidate, beside its size.
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
# How far around a density its surroundings are looked at, in nm.
LATERAL_MARGIN_NM, AXIAL_MARGIN_NM, RIM_NM = 200.0, 60.0, 40.0
VESICLE_RING_NM, CYTOPLASM_RING_NM = (20.0, 200.0), (50.0, 150.0)
INNER_REACH_NM = 50.0  # how far from a density what is dark inside a neurite still belongs to it
MIN_INNER_DARKNESS = (
    0.6  # darkness of a membrane free of grain: what is lighter is none of a density
)
MIN_CYTOPLASM_VOXELS = 10  # voxels that tell anything of a neurite's contents
DEFAULT_CYTOPLASM_DARKNESS = 0.15  # darkness of cytoplasm where there are fewer


def detect_synapses(
    em: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged_sections: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = ignore_progress,
    classifier: SynapseClassifier | None = None,
) -> pd.DataFrame:
    """Find dark densities on the boundaries between neurites.

    Darkness is measured in membranes: 0 is the cytoplasm of the section and 1 the membranes around,
    so it needs no contrast or stain of its own. Where it is higher than membranes are over the
    width of a density, near a boundary, there is a candidate, one for all sections it spans
    (`connectome.synapses.densities`). Its looks are described in columns, and a logistic model of
    these (`connectome.synapses.scoring`) says how likely it is to be a synapse; all are less likely
    where they would be more than neuropil holds. O(V) time in voxels V, and a little for each
    candidate.

    Parameters
    ----------
    aligned : ndarray of float, shape (Z, Y, X)
        Preprocessed and aligned EM.
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    damaged : sequence of int
        Sections whose darkness means nothing.
    params : SynapseParams, optional
        Sizes in nm, the least darkness and the least score.
    threads : int
        Sections worked on at a time.
    progress : callable
        Told of each finished section.
    judge : Judge, optional
        Who says how likely a candidate is; by default the one learned on phantoms.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per candidate, by falling score, as DATASHEET.md describes them: place
        (voxels), ``pre_id``, ``post_id`` (the partner with most contact), ``post_ids`` (all
        partners, joined by ``;``), ``score`` (probability of being a synapse), ``direction``
        (that of ``pre_id`` being the presynaptic one), the evidence for these, and the extent.
    """
    params = params or SynapseParams()
    classifier = classifier or default_classifier()
    sight = compute_density_maps(
        em, labels, voxel_size, damaged_sections, params, threads, progress
    )
    rows = []
    for density in find_densities(sight, params):
        around = Neighbourhood.crop(density, sight)
        rows.append(describe_candidate(density, around, sight, classifier, params))
    table = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    table["score"] = classifier.score(table)
    if not classifier.retrained:  # a person's verdicts tell more of this stack
        tissue_um3 = np.count_nonzero(sight.labels) * sight.voxel_um3
        table["score"] = cap_density(table["score"], params.typical_density_per_um3 * tissue_um3)
    table = table[table["score"] >= params.min_score].copy()
    for axis, n in zip("yx", em.shape[1:], strict=True):
        table[f"{axis}_last"] = table[f"{axis}_last"].clip(
            upper=n - 1
        )  # the last pixel of an odd row
    table = table.sort_values(["score", "z", "y", "x"], ascending=[False, True, True, True])
    return table.round(DECIMALS).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class AdjacentNeurite:
    """What a neurite has of a density, and what it holds beside it.

    Parameters
    ----------
    id : int
        Neurite.
    share : float
        Of the darkness of the density and its rim.
    deep : float
        Share of what is dark further inside than a membrane reaches.
    volume_um3 : float
        Of the neurite, around the density.
    vesicles : float
        Texture of its cytoplasm; 1 is the median of the stack.
    filling : float
        Darkness of its inside: mitochondria are dark.
    """

    id: int
    rim_share: float
    inner_share: float
    volume_um3: float
    vesicle_texture: float
    cytoplasm_darkness: float


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A box around a density.

    Parameters
    ----------
    labels, darkness, texture, depth : ndarray, shape (Z, Y, X)
        What `Sight` has there; ``depth`` is its ``distance``.
    away : ndarray of float, shape (Z, Y, X)
        Distance in nm from the density, 0 in it.
    """

    labels: np.ndarray
    darkness: np.ndarray
    texture: np.ndarray
    boundary_distance: np.ndarray
    density_distance: np.ndarray

    @classmethod
    def crop(cls, density: Density, maps: DensityMaps) -> Neighbourhood:
        """Look around a density."""
        size = np.asarray(maps.voxel_size)
        margin = np.ceil(
            np.array([max(AXIAL_MARGIN_NM, size[0]), LATERAL_MARGIN_NM, LATERAL_MARGIN_NM]) / size
        )
        corners = density.voxels.min(axis=0), density.voxels.max(axis=0)
        box = box_with_margin(*corners, margin.astype(int), maps.labels.shape)
        outside = np.ones(maps.labels[box].shape, bool)
        outside[tuple((density.voxels - [s.start for s in box]).T)] = False
        away = ndimage.distance_transform_edt(outside, sampling=maps.voxel_size)
        fields = (maps.labels, maps.darkness, maps.texture, maps.boundary_distance)
        return cls(*(field[box] for field in fields), away)


def describe_candidate(
    density: Density,
    neighbourhood: Neighbourhood,
    maps: DensityMaps,
    classifier: SynapseClassifier,
    params: SynapseParams,
) -> dict | None:
    """Describe a density as a row of the table.

    Parameters
    ----------
    density, around, sight
        The density, what is around it, and the stack.
    judge : Judge
        Who says which neurite is presynaptic.
    params : SynapseParams
        Lengths in nm, and least shares.

    Returns
    -------
    dict or None
        By `COLUMNS`, not yet scored; None where no two neurites meet.
    """
    near = adjacent_neurites(neighbourhood, maps.voxel_um3, params)
    if len(near) < 2:
        return None
    chances = classifier.presynaptic_probability(near)
    pre = near[int(np.argmax(chances))]
    contact = _contact(neighbourhood, pre.id, maps.voxel_size, params)
    posts = _partners(contact, params)
    if not posts:
        return None
    facing = [each for each in near if each.id in posts] or [n for n in near if n is not pre]
    return {
        **_place(density, maps),
        "pre_id": pre.id,
        "post_id": posts[0],
        "score": 0.0,
        "post_ids": ";".join(map(str, posts)),
        "n_partners": len(posts),
        "direction": float(chances.max()),
        "peak": density.peak_darkness,
        **_core(neighbourhood),
        "vesicles_pre": pre.vesicle_texture,
        "vesicles_post": float(np.mean([each.vesicle_texture for each in facing])),
        "filling_pre": pre.cytoplasm_darkness,
        "filling_post": float(np.mean([each.cytoplasm_darkness for each in facing])),
        "contact_area_um2": float(sum(contact[post] for post in posts)),
    }


def adjacent_neurites(
    neighbourhood: Neighbourhood, voxel_um3: float, params: SynapseParams
) -> list[AdjacentNeurite]:
    """Describe the neurites that a density lies at, by rising id.

    Parameters
    ----------
    around : Surroundings
        Of the density.
    voxel_um3 : float
        Volume of a voxel in µm³.
    params : SynapseParams
        How near a neurite must be, and how much of it.
    """
    labels, away, darkness = (
        neighbourhood.labels,
        neighbourhood.density_distance,
        neighbourhood.darkness,
    )
    close = (away <= params.max_partner_distance_nm) & (labels > 0)
    ids, counts = np.unique(labels[close], return_counts=True)
    ids = ids[counts >= params.min_neighbour_fraction * counts.sum()]
    rim = np.exp(-0.5 * (away / params.rim_nm) ** 2) * np.clip(darkness, 0, 2)
    rim[~np.isin(labels, ids)] = 0
    inner = (neighbourhood.boundary_distance > params.rim_nm) & (away <= INNER_REACH_NM) & (rim > 0)
    inner = np.where(inner, np.clip(darkness - MIN_INNER_DARKNESS, 0, 1), 0)
    cytoplasm = neighbourhood.boundary_distance > CYTOPLASM_DISTANCE_NM
    parts = []
    for neurite in ids:
        mine = labels == neurite
        contents = mine & cytoplasm
        parts.append(
            AdjacentNeurite(
                int(neurite),
                float(rim[mine].sum() / max(rim.sum(), 1e-9)),
                float(inner[mine].sum() / max(inner.sum(), 1e-9)),
                float(np.count_nonzero(mine & (away <= LATERAL_MARGIN_NM)) * voxel_um3),
                _mean(neighbourhood.texture, contents, away, VESICLE_RING_NM, 1.0),
                _mean(darkness, contents, away, CYTOPLASM_RING_NM, DEFAULT_CYTOPLASM_DARKNESS),
            )
        )
    return parts


def _mean(field, where, away, ring, otherwise: float) -> float:
    """Average a field over a ring around the density; too few voxels tell nothing."""
    values = field[where & (away > ring[0]) & (away <= ring[1])]
    return float(values.mean()) if values.size >= MIN_CYTOPLASM_VOXELS else otherwise


def _core(neighbourhood: Neighbourhood) -> dict[str, float]:
    """Tell how dark a density is, in membranes, and how far it keeps from any."""
    core = neighbourhood.density_distance == 0
    dark = neighbourhood.darkness[core]
    rim = neighbourhood.darkness[
        ~core & (neighbourhood.density_distance <= RIM_NM) & (neighbourhood.labels > 0)
    ]
    return {
        "darkness": float(dark.mean()),
        "darkest": float(np.percentile(dark, 95)),
        "rim_darkness": float(rim.mean()) if rim.size else 0.0,
        "distance_nm": float(neighbourhood.boundary_distance[core].min()),
    }


def _contact(neighbourhood: Neighbourhood, pre: int, voxel_size, params) -> dict[int, float]:
    """Measure, in µm², the membrane near a density that its neurite shares with each other one."""
    area: dict[int, float] = {}
    for axis in (1, 2):
        a, b = (
            np.moveaxis(neighbourhood.labels, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:])
        )
        near = np.moveaxis(neighbourhood.density_distance, axis, 0)
        near = np.minimum(near[:-1], near[1:]) <= params.max_partner_distance_nm
        for mine, other in ((a, b), (b, a)):
            faces = other[near & (mine == pre) & (other != pre) & (other > 0)]
            face = voxel_size[0] * voxel_size[3 - axis] / 1e6
            for neurite, count in zip(*np.unique(faces, return_counts=True), strict=True):
                area[int(neurite)] = area.get(int(neurite), 0.0) + float(count * face)
    return area


def _partners(contact: dict[int, float], params: SynapseParams) -> list[int]:
    """List those with enough contact, most first."""
    least = params.min_contact_fraction * sum(contact.values())
    order = sorted(contact, key=lambda neurite: (-contact[neurite], neurite))
    return [neurite for neurite in order if contact[neurite] >= least][: params.max_partners]


def _place(density: Density, maps: DensityMaps) -> dict[str, float]:
    """Tell where a density lies in the stack, and how large it is."""
    scale = np.array([1, maps.binning, maps.binning])
    first = density.voxels.min(axis=0) * scale
    last = (density.voxels.max(axis=0) + 1) * scale - 1
    sections, per_section = np.unique(density.voxels[:, 0], return_counts=True)
    middle = density.central_voxel * scale + (scale - 1) // 2
    return {
        **{axis: int(at) for axis, at in zip("zyx", middle, strict=True)},
        "thickness_nm": _thickness(density, maps, sections[np.argmax(per_section)]),
        "volume_um3": len(density.voxels) * maps.voxel_um3,
        "n_sections": len(sections),
        **{f"{axis}_first": int(at) for axis, at in zip("zyx", first, strict=True)},
        **{f"{axis}_last": int(at) for axis, at in zip("zyx", last, strict=True)},
    }


def _thickness(density: Density, maps: DensityMaps, section: int) -> float:
    """Measure a core's smaller width in a section: four standard deviations across it."""
    pixels = density.voxels[density.voxels[:, 0] == section][:, 1:] * maps.voxel_size[1:]
    # Pixels have a width of their own, which keeps a single row from being infinitely thin.
    spread = np.cov(pixels.T, bias=True) if len(pixels) > 1 else np.zeros((2, 2))
    spread += np.diag(np.square(maps.voxel_size[1:])) / 12
    return float(4 * np.sqrt(np.linalg.eigvalsh(spread)[0]))
