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
from connectome.core.progress import Progress, silent
from connectome.synapses.densities import (
    INSIDE_NM,
    Density,
    Sight,
    box_around,
    find_densities,
    look,
)
from connectome.synapses.scoring import Judge, default_judge, no_denser

# What speaks for a candidate, beside its size.
EVIDENCE = [
    *("peak", "darkness", "darkest", "rim_darkness", "distance_nm"),
    *("vesicles_pre", "vesicles_post", "filling_pre", "filling_post"),
]
COLUMNS = [
    *("z", "y", "x", "pre_id", "post_id", "score", "post_ids", "n_partners", "direction"),
    *EVIDENCE,
    *("thickness_nm", "contact_area_um2", "volume_um3", "n_sections"),
    *("z_first", "z_last", "y_first", "y_last", "x_first", "x_last"),
]
DECIMALS = dict.fromkeys(["score", "direction", *EVIDENCE], 4)
DECIMALS |= {"thickness_nm": 1, "contact_area_um2": 6, "volume_um3": 6}
# How far around a density its surroundings are looked at, in nm.
AROUND_NM, ABOVE_NM, RIM_NM = 200.0, 60.0, 40.0
VESICLES_NM, FILLING_NM = (20.0, 200.0), (50.0, 150.0)
INNER_NM = 50.0  # how far from a density what is dark inside a neurite still belongs to it
BLURRED = 0.6  # darkness of a membrane free of grain: what is lighter is none of a density
FEWEST = 10  # voxels that tell anything of a neurite's contents
USUAL_FILLING = 0.15  # darkness of cytoplasm where there are fewer


def find_synapses(
    aligned: np.ndarray,
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    damaged: Sequence[int] = (),
    params: SynapseParams | None = None,
    threads: int = 1,
    progress: Progress = silent,
    judge: Judge | None = None,
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
    judge = judge or default_judge()
    sight = look(aligned, labels, voxel_size, damaged, params, threads, progress)
    rows = []
    for density in find_densities(sight, params):
        around = Surroundings.of(density, sight)
        rows.append(described(density, around, sight, judge, params))
    table = pd.DataFrame([row for row in rows if row], columns=COLUMNS)
    table["score"] = judge.score(table)
    if not judge.taught:  # a person's verdicts tell more of this stack
        tissue_um3 = np.count_nonzero(sight.labels) * sight.voxel_um3
        table["score"] = no_denser(table["score"], params.usual_per_um3 * tissue_um3)
    table = table[table["score"] >= params.least_score].copy()
    for axis, n in zip("yx", aligned.shape[1:], strict=True):
        table[f"{axis}_last"] = table[f"{axis}_last"].clip(
            upper=n - 1
        )  # the last pixel of an odd row
    table = table.sort_values(["score", "z", "y", "x"], ascending=[False, True, True, True])
    return table.round(DECIMALS).reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Neighbour:
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
    share: float
    deep: float
    volume_um3: float
    vesicles: float
    filling: float


@dataclass(frozen=True, eq=False)
class Surroundings:
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
    depth: np.ndarray
    away: np.ndarray

    @classmethod
    def of(cls, density: Density, sight: Sight) -> Surroundings:
        """Look around a density."""
        size = np.asarray(sight.voxel_size)
        margin = np.ceil(np.array([max(ABOVE_NM, size[0]), AROUND_NM, AROUND_NM]) / size)
        corners = density.voxels.min(axis=0), density.voxels.max(axis=0)
        box = box_around(*corners, margin.astype(int), sight.labels.shape)
        outside = np.ones(sight.labels[box].shape, bool)
        outside[tuple((density.voxels - [s.start for s in box]).T)] = False
        away = ndimage.distance_transform_edt(outside, sampling=sight.voxel_size)
        fields = (sight.labels, sight.darkness, sight.texture, sight.distance)
        return cls(*(field[box] for field in fields), away)


def described(
    density: Density, around: Surroundings, sight: Sight, judge: Judge, params: SynapseParams
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
    near = neighbours(around, sight.voxel_um3, params)
    if len(near) < 2:
        return None
    chances = judge.presynaptic(near)
    pre = near[int(np.argmax(chances))]
    contact = _contact(around, pre.id, sight.voxel_size, params)
    posts = _partners(contact, params)
    if not posts:
        return None
    facing = [each for each in near if each.id in posts] or [n for n in near if n is not pre]
    return {
        **_place(density, sight),
        "pre_id": pre.id,
        "post_id": posts[0],
        "score": 0.0,
        "post_ids": ";".join(map(str, posts)),
        "n_partners": len(posts),
        "direction": float(chances.max()),
        "peak": density.height,
        **_core(around),
        "vesicles_pre": pre.vesicles,
        "vesicles_post": float(np.mean([each.vesicles for each in facing])),
        "filling_pre": pre.filling,
        "filling_post": float(np.mean([each.filling for each in facing])),
        "contact_area_um2": float(sum(contact[post] for post in posts)),
    }


def neighbours(around: Surroundings, voxel_um3: float, params: SynapseParams) -> list[Neighbour]:
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
    labels, away, darkness = around.labels, around.away, around.darkness
    close = (away <= params.partner_nm) & (labels > 0)
    ids, counts = np.unique(labels[close], return_counts=True)
    ids = ids[counts >= params.least_presence * counts.sum()]
    rim = np.exp(-0.5 * (away / params.rim_nm) ** 2) * np.clip(darkness, 0, 2)
    rim[~np.isin(labels, ids)] = 0
    inner = (around.depth > params.rim_nm) & (away <= INNER_NM) & (rim > 0)
    inner = np.where(inner, np.clip(darkness - BLURRED, 0, 1), 0)
    cytoplasm = around.depth > INSIDE_NM
    parts = []
    for neurite in ids:
        mine = labels == neurite
        contents = mine & cytoplasm
        parts.append(
            Neighbour(
                int(neurite),
                float(rim[mine].sum() / max(rim.sum(), 1e-9)),
                float(inner[mine].sum() / max(inner.sum(), 1e-9)),
                float(np.count_nonzero(mine & (away <= AROUND_NM)) * voxel_um3),
                _mean(around.texture, contents, away, VESICLES_NM, 1.0),
                _mean(darkness, contents, away, FILLING_NM, USUAL_FILLING),
            )
        )
    return parts


def _mean(field, where, away, ring, otherwise: float) -> float:
    """Average a field over a ring around the density; too few voxels tell nothing."""
    values = field[where & (away > ring[0]) & (away <= ring[1])]
    return float(values.mean()) if values.size >= FEWEST else otherwise


def _core(around: Surroundings) -> dict[str, float]:
    """Tell how dark a density is, in membranes, and how far it keeps from any."""
    core = around.away == 0
    dark = around.darkness[core]
    rim = around.darkness[~core & (around.away <= RIM_NM) & (around.labels > 0)]
    return {
        "darkness": float(dark.mean()),
        "darkest": float(np.percentile(dark, 95)),
        "rim_darkness": float(rim.mean()) if rim.size else 0.0,
        "distance_nm": float(around.depth[core].min()),
    }


def _contact(around: Surroundings, pre: int, voxel_size, params) -> dict[int, float]:
    """Measure, in µm², the membrane near a density that its neurite shares with each other one."""
    area: dict[int, float] = {}
    for axis in (1, 2):
        a, b = (np.moveaxis(around.labels, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
        near = np.moveaxis(around.away, axis, 0)
        near = np.minimum(near[:-1], near[1:]) <= params.partner_nm
        for mine, other in ((a, b), (b, a)):
            faces = other[near & (mine == pre) & (other != pre) & (other > 0)]
            face = voxel_size[0] * voxel_size[3 - axis] / 1e6
            for neurite, count in zip(*np.unique(faces, return_counts=True), strict=True):
                area[int(neurite)] = area.get(int(neurite), 0.0) + float(count * face)
    return area


def _partners(contact: dict[int, float], params: SynapseParams) -> list[int]:
    """List those with enough contact, most first."""
    least = params.least_contact * sum(contact.values())
    order = sorted(contact, key=lambda neurite: (-contact[neurite], neurite))
    return [neurite for neurite in order if contact[neurite] >= least][: params.most_partners]


def _place(density: Density, sight: Sight) -> dict[str, float]:
    """Tell where a density lies in the stack, and how large it is."""
    scale = np.array([1, sight.binning, sight.binning])
    first = density.voxels.min(axis=0) * scale
    last = (density.voxels.max(axis=0) + 1) * scale - 1
    sections, per_section = np.unique(density.voxels[:, 0], return_counts=True)
    middle = density.middle * scale + (scale - 1) // 2
    return {
        **{axis: int(at) for axis, at in zip("zyx", middle, strict=True)},
        "thickness_nm": _thickness(density, sight, sections[np.argmax(per_section)]),
        "volume_um3": len(density.voxels) * sight.voxel_um3,
        "n_sections": len(sections),
        **{f"{axis}_first": int(at) for axis, at in zip("zyx", first, strict=True)},
        **{f"{axis}_last": int(at) for axis, at in zip("zyx", last, strict=True)},
    }


def _thickness(density: Density, sight: Sight, section: int) -> float:
    """Measure a core's smaller width in a section: four standard deviations across it."""
    pixels = density.voxels[density.voxels[:, 0] == section][:, 1:] * sight.voxel_size[1:]
    # Pixels have a width of their own, which keeps a single row from being infinitely thin.
    spread = np.cov(pixels.T, bias=True) if len(pixels) > 1 else np.zeros((2, 2))
    spread += np.diag(np.square(sight.voxel_size[1:])) / 12
    return float(4 * np.sqrt(np.linalg.eigvalsh(spread)[0]))
