"""Estimate how uncertain a segmentation is: every join, every rejected join, and every neurite.

Two columns are called ``doubt``. In the merge log it is the estimated probability that one decision
(to join two parts, or not to) is wrong. In the table of neurites it is the probability that the
neurite is wrong times its relative extent, the number that the report and the proofreading window
show. The formulas are those that ranked the wrong places highest on real stacks and on phantoms;
``benchmarks/doubt.py`` measures them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.cluster.hierarchy import DisjointSet

from connectome.core.region_adjacency import Contacts, pair_keys
from connectome.stitch import Agglomeration
from connectome.triage.measurements import NM3_PER_UM3, POSITION_COLUMNS, measure_segments

MERGE_COLUMNS = [
    *("step", "joined", "neurite", "other", "piece_a", "piece_b", "z", "y", "x", "reason"),
    *("strength", "score", "contact_voxels", "probability", "overlap"),
    *("shared_sections", "volume_um3", "doubt"),
]
SEGMENT_COLUMNS = [
    *("id", "voxels", "volume_um3", "n_sections", "first_section", "last_section"),
    *("y_min", "y_max", "x_min", "x_max", "z", "y", "x", "touches_border", "boundary"),
    *("doubt", "reason", "doubt_z", "doubt_y", "doubt_x"),
]
# Where the odds are even. Set such that over all stacks the mean doubt, of joins and of rejected
# joins, is about the fraction of wrong ones.
EVEN_WIDTH = 30.0  # width of the smaller side, in widths of its contact in a section
EVEN_NM = 4.0  # width per shared section of a pair with a score of 0
SCORE_UNIT = 0.08  # difference in score that changes the odds of belonging together by a factor e
ENCLOSURE_DOUBT = 0.4  # fraction of wrong joins among enclosed segments
MIN_DOUBT = 0.05  # rejected joins with less are not listed


def merge_log(
    agglomeration: Agglomeration,
    supervoxels: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> pd.DataFrame:
    """List all joins in order, then the pairs of neurites that were nearly joined.

    A join is doubtful if its contact is narrow for the size of the smaller side, and if the two
    sides run beside each other through many sections rather than end to end. A rejected join is
    doubtful if the evidence against it is weak, more so if the two run end to end, and if both are
    large. These are the simplest formulas that rank false merges and false splits well on all
    stacks measured; the total edge weight, the order of joins, and ends within the tissue rank
    worse or add little to them. O(V + E log E) time for V voxels and E contacts.

    Parameters
    ----------
    agglomeration : Agglomeration
        As `connectome.stitch.agglomerate` returns.
    supervoxels : ndarray of int32, shape (Z, Y, X)
        The supervoxels that were agglomerated.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        Columns `MERGE_COLUMNS`, as DATASHEET.md describes them. First the joins, by ``step``; then
        rejected joins, by falling doubt.
    """
    n = agglomeration.neurite_of.size
    volume = np.bincount(supervoxels.ravel(), minlength=n) * np.prod(voxel_size)
    sections = _section_bits(supervoxels, n)
    joins = _describe_joins(agglomeration, volume, sections, voxel_size)
    rejected = _describe_rejected(agglomeration, volume, sections)
    rejected = rejected[rejected["doubt"] >= MIN_DOUBT].sort_values(
        ["doubt", "neurite", "other"], ascending=[False, True, True]
    )
    table = pd.concat([joins, rejected], ignore_index=True)
    table["volume_um3"] = table["volume_um3"].round(9)
    for name in ("strength", "score", "probability", "overlap", "doubt"):
        table[name] = table[name].round(4)
    return table[MERGE_COLUMNS]


def segment_table(
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    agglomeration: Agglomeration | None = None,
    log: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Describe every neurite, most doubtful first.

    The doubt of a neurite is the probability that it is wrong, because it contains parts of others
    or is itself a part of one, times its relative extent. It is a rank: how much there may be to
    correct. O(V + Z N) time for V voxels in Z sections and N neurites.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    agglomeration : Agglomeration, optional
        How the neurites were agglomerated. Without it, as for the watershed baseline, ``boundary``
        and all columns about doubt are empty.
    log : DataFrame, optional
        As `merge_log` returns for ``agglomeration``; required with it.

    Returns
    -------
    DataFrame
        Columns `SEGMENT_COLUMNS`, as DATASHEET.md describes them, by falling doubt.
    """
    table = measure_segments(labels, voxel_size)
    if agglomeration is None:
        unknown = dict.fromkeys(("boundary", "doubt", "doubt_z", "doubt_y", "doubt_x"), np.nan)
        return table.assign(**unknown, reason="")[SEGMENT_COLUMNS]
    if log is None:
        raise ValueError("an agglomeration needs its merge log")
    table["boundary"] = _boundary_probability(agglomeration)[table["id"]]
    table = table.join(_estimate_doubt(log, table.set_index("id")["volume_um3"]), on="id")
    table = table.sort_values(["doubt", "id"], ascending=[False, True], ignore_index=True)
    return table.round({"boundary": 4, "doubt": 4})[SEGMENT_COLUMNS]


# --- joins and rejected joins -------------------------------------------------------------------


def _describe_joins(
    agglomeration: Agglomeration,
    volume: np.ndarray,
    sections: list[int],
    voxel_size: tuple[float, float, float],
) -> pd.DataFrame:
    """Describe every join by the contacts that it brought together."""
    joined = np.flatnonzero(agglomeration.join_step >= 0)
    table = _sum_contacts(agglomeration, joined, agglomeration.join_step[joined], attractive=True)
    smaller, shared = _replay_joins(table["piece_a"], table["piece_b"], volume, sections)
    is_enclosure = agglomeration.join_weight <= 0
    host_fraction = agglomeration.host_fraction
    is_mitochondrion = ~np.isnan(host_fraction)
    # Width of the smaller side, in widths of the contact as it is in each shared section.
    pixel = np.sqrt(voxel_size[1] * voxel_size[2])
    weight = np.where(is_enclosure, np.inf, agglomeration.join_weight)
    contact = weight * pixel / (1 + shared)
    doubt = _odds_to_probability(np.cbrt(smaller) / contact / EVEN_WIDTH)
    special = [is_mitochondrion, is_enclosure]
    return table.assign(
        step=pd.array(np.arange(len(table)), "Int64"),
        joined=True,
        neurite=agglomeration.neurite_of[table["piece_a"]],
        other=pd.array([pd.NA] * len(table), "Int64"),
        reason=np.select(special, ["organelle", "enclosure"], table["reason"]),
        strength=agglomeration.join_weight,
        score=np.where(is_mitochondrion, host_fraction, table["score"]),
        shared_sections=shared,
        volume_um3=smaller / NM3_PER_UM3,
        doubt=np.select(special, [(1 - host_fraction) ** 2, ENCLOSURE_DOUBT], doubt),
    )


def _describe_rejected(
    agglomeration: Agglomeration, volume: np.ndarray, sections: list[int]
) -> pd.DataFrame:
    """Describe all pairs of neurites that touch, by the contacts between them.

    Contacts of mitochondria carry no information on whether two neurites belong together.
    """
    contacts, neurite_of = agglomeration.contacts, agglomeration.neurite_of
    first, second = neurite_of[contacts.first], neurite_of[contacts.second]
    of_mitochondrion = agglomeration.is_mitochondrion[contacts.first]
    of_mitochondrion = of_mitochondrion | agglomeration.is_mitochondrion[contacts.second]
    between = np.flatnonzero((first != second) & ~of_mitochondrion)
    n = int(neurite_of.max(initial=0)) + 1
    keys, pair = np.unique(pair_keys(first[between], second[between], n), return_inverse=True)
    one, other = np.divmod(keys, n)
    neurite_volume = np.bincount(neurite_of, volume, minlength=n)
    neurite_sections = [0] * n
    for neurite, bits in zip(neurite_of.tolist(), sections, strict=True):
        neurite_sections[neurite] |= bits
    shared = np.array(
        [
            (neurite_sections[a] & neurite_sections[b]).bit_count()
            for a, b in zip(one, other, strict=True)
        ],
        int,
    )
    table = _sum_contacts(agglomeration, between, pair, attractive=False)
    smaller = np.minimum(neurite_volume[one], neurite_volume[other])
    width = np.cbrt(smaller) / (1 + shared)
    odds = np.exp(table["score"] / SCORE_UNIT) * np.sqrt(width / EVEN_NM)
    return table.assign(
        step=pd.array([pd.NA] * len(table), "Int64"),
        joined=False,
        neurite=one,
        other=pd.array(other, "Int64"),
        shared_sections=shared,
        volume_um3=smaller / NM3_PER_UM3,
        doubt=_odds_to_probability(odds),
    )


def _sum_contacts(
    agglomeration: Agglomeration, selected: np.ndarray, group: np.ndarray, *, attractive: bool
) -> pd.DataFrame:
    """Sum groups of contacts, numbered without gaps.

    The reason of a group is whichever evidence, overlap or boundary, contributes more to its weight
    if that is ``attractive``, or less if not.
    """
    contacts: Contacts = agglomeration.contacts
    n = int(group.max(initial=-1)) + 1
    size, weight = contacts.size[selected], agglomeration.edge_weight[selected]
    is_overlap = agglomeration.is_overlap[selected]

    def total(values):
        return np.bincount(group, values, minlength=n)

    voxels = total(size)
    overlap_weight = total(weight * is_overlap)
    strength = total(weight)
    sign = 1 if attractive else -1
    mainly_overlap = sign * (2 * overlap_weight - strength) > 0
    # The weight of a boundary is proportional to its size, that of an overlap to its square root.
    score = strength / total(np.where(is_overlap, np.sqrt(size), size))
    order = np.lexsort((-weight, group))
    strongest = selected[order[np.searchsorted(group[order], np.arange(n))]]
    position = np.column_stack([total(size * axis) for axis in contacts.position[selected].T])
    table = pd.DataFrame((position / voxels[:, None]).round(1), columns=POSITION_COLUMNS)
    return table.assign(
        piece_a=contacts.first[strongest],
        piece_b=contacts.second[strongest],
        reason=np.where(mainly_overlap, "overlap", "boundary"),
        strength=strength,
        score=score,
        contact_voxels=voxels.astype(int),
        probability=total(size * contacts.probability[selected]) / voxels,
        overlap=total(size * is_overlap) / voxels,
    )


def _section_bits(supervoxels: np.ndarray, n: int) -> list[int]:
    """Return the sections of each of n supervoxels as bits: bit z is set for section z."""
    bits = [0] * n
    # Supervoxels are connected, so that no section is missing in between.
    for supervoxel, box in enumerate(ndimage.find_objects(supervoxels), start=1):
        if box:
            bits[supervoxel] = (1 << box[0].stop) - (1 << box[0].start)
    return bits


def _replay_joins(
    piece_a: pd.Series, piece_b: pd.Series, volume: np.ndarray, sections: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the volume of the smaller side of every join, and the sections both sides share."""
    volumes, bits = volume.tolist(), list(sections)
    groups = DisjointSet(range(len(volumes)))
    smaller, shared = [], []
    for a, b in zip(piece_a.tolist(), piece_b.tolist(), strict=True):
        a, b = groups[a], groups[b]
        smaller.append(min(volumes[a], volumes[b]))
        shared.append((bits[a] & bits[b]).bit_count())
        groups.merge(a, b)
        joined = groups[a]
        volumes[joined] = volumes[a] + volumes[b]
        bits[joined] = bits[a] | bits[b]
    return np.array(smaller, float), np.array(shared, int)


def _odds_to_probability(odds: np.ndarray) -> np.ndarray:
    return odds / (1 + odds)


# --- neurites -----------------------------------------------------------------------------------


def _boundary_probability(agglomeration: Agglomeration) -> np.ndarray:
    """Return the mean neurite probability on the boundaries of every neurite; shape (N + 1,)."""
    contacts, neurite_of = agglomeration.contacts, agglomeration.neurite_of
    one, other = neurite_of[contacts.first], neurite_of[contacts.second]
    outer = (one != other) & ~agglomeration.is_overlap
    ids = np.concatenate([one[outer], other[outer]])
    size = np.tile(contacts.size[outer], 2)
    n = int(neurite_of.max(initial=0)) + 1
    total = np.bincount(ids, size * np.tile(contacts.probability[outer], 2), minlength=n)
    with np.errstate(invalid="ignore"):  # NaN for a neurite without neighbours
        return total / np.bincount(ids, size, minlength=n)


def _estimate_doubt(log: pd.DataFrame, volume: pd.Series) -> pd.DataFrame:
    """Return doubt, main reason and its position by id; the reason is empty without doubt."""
    joined = log["joined"]
    merged, merge_reason = _merge_error(log[joined], volume)
    split, split_reason = _split_error(log[~joined], volume)
    wrong = 1 - (1 - merged) * (1 - split)
    # Corrections are made along surfaces, hence the exponent of 2/3.
    extent = (volume / volume.max()) ** (2 / 3)
    reason = merge_reason.where(merged >= split, split_reason)
    reason = reason.rename(columns={axis: f"doubt_{axis}" for axis in POSITION_COLUMNS})
    return reason.assign(doubt=wrong * extent, reason=reason["reason"].fillna(""))


def _merge_error(joins: pd.DataFrame, volume: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """Return the expected fraction of every neurite that belongs to others, and its main join."""
    at_stake = (joins["doubt"] * joins["volume_um3"]).groupby(joins["neurite"])
    fraction = at_stake.sum().reindex(volume.index, fill_value=0.0) / volume
    worst = joins.loc[at_stake.idxmax()].set_index("neurite")
    reason = worst[POSITION_COLUMNS].assign(reason="may contain two neurites")
    return fraction.clip(upper=1), reason.reindex(volume.index)


def _split_error(rejected: pd.DataFrame, volume: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """Return the probability that every neurite is part of a larger one, and of which."""
    one, other = rejected["neurite"], rejected["other"].astype(int)
    smaller = one.where(one.map(volume) <= other.map(volume), other)
    larger = (one + other - smaller).astype(str)
    reason = rejected[[*POSITION_COLUMNS, "doubt"]].assign(
        id=smaller, reason="may be part of neurite " + larger
    )
    likeliest = reason.drop_duplicates("id").set_index("id").reindex(volume.index)
    return likeliest["doubt"].fillna(0.0), likeliest[[*POSITION_COLUMNS, "reason"]]
