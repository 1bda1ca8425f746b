"""What a proofreader should look at first: every join, what was nearly joined, every neurite.

Doubt is measured, not felt: its formulas are those that ranked truly wrong places highest on real
stacks and on phantoms, and ``benchmarks/doubt.py`` measures them again.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.cluster.hierarchy import DisjointSet

from connectome.core.region_adjacency import neighbour_slices, pair_keys

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
# Where doubt is even. Set such that over all stacks the mean doubt, of joins and of pairs left
# apart, is about the share of wrong ones.
EVEN_WIDTH = 30.0  # width of what is joined, in widths of its contact in a section
EVEN_NM = 4.0  # width per shared section of a pair that nothing speaks for or against
SCORE_UNIT = 0.08  # difference in score that makes a pair e times likelier to belong together
ENCLOSURE_DOUBT = 0.4  # share of wrong ones among joins of what lies within a neurite
MIN_DOUBT = 0.05  # pairs left apart are listed from here on
NM3_PER_UM3 = 1e9
POSITION_COLUMNS = ["z", "y", "x"]


def merge_log(stitched, pieces: np.ndarray, voxel_size: tuple[float, float, float]) -> pd.DataFrame:
    """List all joins in their order, then the pairs that were nearly joined.

    A join is doubtful where it joins much by little: two sides that run beside each other through
    many sections, rather than one going on where the other ends, and whose contact is narrow for
    their size. A pair left apart is doubtful where the evidence against it is weak, the more so
    if one goes on where the other ends, and if both are large. These formulas are the simplest
    that rank wrong joins and missed ones well on all stacks measured; total strength, place in
    the order of joins, and ends within the tissue rank worse or add little to them.
    O(V + E log E) time for V voxels and E contacts.

    Parameters
    ----------
    stitched : Agglomeration
        As `connectome.stitch.agglomerate` returns.
    pieces : ndarray of int32, shape (Z, Y, X)
        What it was given.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    DataFrame
        Columns `MERGE_COLUMNS`, as DATASHEET.md describes them. First the joins, by ``step``; then
        pairs of neurites left apart, by falling doubt.
    """
    size = np.bincount(pieces.ravel(), minlength=stitched.neurite_of.size)
    volume = size * np.prod(voxel_size)
    sections = _sections(pieces, stitched.neurite_of.size)
    joins = _joins(stitched, volume, sections, voxel_size)
    apart = _apart(stitched, volume, sections)
    apart = apart[apart["doubt"] >= MIN_DOUBT].sort_values(
        ["doubt", "neurite", "other"], ascending=[False, True, True]
    )
    table = pd.concat([joins, apart], ignore_index=True)
    table["volume_um3"] = table["volume_um3"].round(9)
    for name in ("strength", "score", "probability", "overlap", "doubt"):
        table[name] = table[name].round(4)
    return table[MERGE_COLUMNS]


def segment_table(
    labels: np.ndarray,
    voxel_size: tuple[float, float, float],
    stitched=None,
    log: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Describe every neurite, those to be looked at first on top.

    Doubt is the chance that a neurite is wrong, because it holds parts of another or is itself a
    part of one, weighed by how much there would be to put right. O(V + Z N) time for V voxels in
    Z sections and N neurites.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids from 1, without gaps; 0 outside the tissue.
    voxel_size : tuple of float
        (z, y, x) in nm.
    stitched : Agglomeration, optional
        How the neurites came about. Where that is not known, as on the road of the watershed,
        nobody has rated their boundaries: ``boundary`` and all about doubt stay empty.
    log : DataFrame, optional
        As `merge_log` returns it for ``stitched``.

    Returns
    -------
    DataFrame
        Columns `SEGMENT_COLUMNS`, as DATASHEET.md describes them, by falling doubt.
    """
    table = _measured(labels, voxel_size)
    if stitched is None:
        unknown = dict.fromkeys(("boundary", "doubt", "doubt_z", "doubt_y", "doubt_x"), np.nan)
        return table.assign(**unknown, reason="")[SEGMENT_COLUMNS]
    table["boundary"] = _boundary(stitched)[table["id"]]
    table = table.join(_doubted(log, table.set_index("id")["volume_um3"]), on="id")
    table = table.sort_values(["doubt", "id"], ascending=[False, True], ignore_index=True)
    return table.round({"boundary": 4, "doubt": 4})[SEGMENT_COLUMNS]


# --- joins, and what was nearly joined ----------------------------------------------------------


def _joins(stitched, volume, sections, voxel_size) -> pd.DataFrame:
    """Describe every join by the contacts that it brought together."""
    together = np.flatnonzero(stitched.join_step >= 0)
    table = _summed(stitched, together, stitched.join_step[together], favour=1)
    smaller, shared = _sides(table["piece_a"], table["piece_b"], volume, sections)
    within = stitched.join_weight <= 0
    dark = ~np.isnan(stitched.host_fraction)
    # The width of what was joined, in widths of the contact as it is in each shared section.
    pixel = np.sqrt(voxel_size[1] * voxel_size[2])
    contact = np.where(within, np.inf, stitched.join_weight) * pixel / (1 + shared)
    doubt = _share(np.cbrt(smaller) / contact / EVEN_WIDTH)
    return table.assign(
        step=pd.array(np.arange(len(table)), "Int64"),
        joined=True,
        neurite=stitched.neurite_of[table["piece_a"]],
        other=pd.array([pd.NA] * len(table), "Int64"),
        reason=np.select([dark, within], ["organelle", "enclosure"], table["reason"]),
        strength=stitched.join_weight,
        score=np.where(dark, stitched.host_fraction, table["score"]),
        shared_sections=shared,
        volume_um3=smaller / NM3_PER_UM3,
        doubt=np.select(
            [dark, within], [(1 - stitched.host_fraction) ** 2, ENCLOSURE_DOUBT], doubt
        ),
    )


def _apart(stitched, volume, sections) -> pd.DataFrame:
    """Describe all pairs of neurites that touch, by the contacts between them that tell."""
    contacts, neurite = stitched.contacts, stitched.neurite_of
    first, second = neurite[contacts.first], neurite[contacts.second]
    telling = (
        ~stitched.is_mitochondrion[contacts.first] & ~stitched.is_mitochondrion[contacts.second]
    )
    between = np.flatnonzero((first != second) & telling)
    n = int(neurite.max(initial=0)) + 1
    keys, pair = np.unique(pair_keys(first[between], second[between], n), return_inverse=True)
    one, other = np.divmod(keys, n)
    whole = np.bincount(neurite, volume, minlength=n)
    present = [0] * n
    for number, where in zip(neurite.tolist(), sections, strict=True):
        present[number] |= where
    shared = [(present[a] & present[b]).bit_count() for a, b in zip(one, other, strict=True)]
    shared = np.array(shared, int)
    table = _summed(stitched, between, pair, favour=-1)
    smaller = np.minimum(whole[one], whole[other])
    width = np.cbrt(smaller) / (1 + shared)
    odds = np.exp(table["score"] / SCORE_UNIT) * np.sqrt(width / EVEN_NM)
    return table.assign(
        step=pd.array([pd.NA] * len(table), "Int64"),
        joined=False,
        neurite=one,
        other=pd.array(other, "Int64"),
        shared_sections=shared,
        volume_um3=smaller / NM3_PER_UM3,
        doubt=_share(odds),
    )


def _summed(stitched, which: np.ndarray, group: np.ndarray, favour: int) -> pd.DataFrame:
    """Sum up groups of contacts, numbered without gaps; favour +1 for joins, -1 for pairs apart."""
    contacts, n = stitched.contacts, int(group.max(initial=-1)) + 1
    size, pull = contacts.size[which], stitched.edge_weight[which]
    overlap = stitched.is_overlap[which]

    def total(values):
        return np.bincount(group, values, minlength=n)

    voxels = total(size)
    by_overlap = total(pull * overlap)
    strength = total(pull)
    more_overlap = favour * (2 * by_overlap - strength) > 0
    # Boundaries pull in proportion to their size, overlaps to its root.
    score = strength / total(np.where(overlap, np.sqrt(size), size))
    order = np.lexsort((-pull, group))
    strongest = which[order[np.searchsorted(group[order], np.arange(n))]]
    place = np.column_stack([total(size * axis) for axis in contacts.position[which].T])
    table = pd.DataFrame((place / voxels[:, None]).round(1), columns=POSITION_COLUMNS)
    return table.assign(
        piece_a=contacts.first[strongest],
        piece_b=contacts.second[strongest],
        reason=np.where(more_overlap, "overlap", "boundary"),
        strength=strength,
        score=score,
        contact_voxels=voxels.astype(int),
        probability=total(size * contacts.probability[which]) / voxels,
        overlap=total(size * overlap) / voxels,
    )


def _sections(pieces: np.ndarray, n: int) -> list[int]:
    """Tell in which sections each of n pieces lies: bit z is set for section z."""
    present = [0] * n
    # A piece is connected, so there is no section missing in between.
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        if box:
            present[piece] = (1 << box[0].stop) - (1 << box[0].start)
    return present


def _sides(piece_a, piece_b, volume, sections) -> tuple[np.ndarray, np.ndarray]:
    """Go through the joins again: the smaller side's volume, and the sections both sides share."""
    volume, sections = volume.tolist(), list(sections)
    groups = DisjointSet(range(len(volume)))
    smaller, shared = [], []
    for a, b in zip(piece_a.tolist(), piece_b.tolist(), strict=True):
        a, b = groups[a], groups[b]
        smaller.append(min(volume[a], volume[b]))
        shared.append((sections[a] & sections[b]).bit_count())
        groups.merge(a, b)
        joined = groups[a]
        volume[joined] = volume[a] + volume[b]
        sections[joined] = sections[a] | sections[b]
    return np.array(smaller, float), np.array(shared, int)


def _share(odds: np.ndarray) -> np.ndarray:
    return odds / (1 + odds)


# --- neurites -----------------------------------------------------------------------------------


def _measured(labels: np.ndarray, voxel_size) -> pd.DataFrame:
    """Measure size, place and extent of every neurite."""
    n = int(labels.max(initial=0)) + 1
    voxels, n_sections, sums = np.zeros(n, int), np.zeros(n, int), np.zeros((3, n))
    rows, columns = (axis.ravel().astype(float) for axis in np.indices(labels.shape[1:]))
    for z, section in enumerate(labels):
        ids = section.ravel()
        count = np.bincount(ids, minlength=n)
        voxels += count
        n_sections += count > 0
        # A section at a time: its coordinates stay in the processor's cache.
        sums += z * count, np.bincount(ids, rows, n), np.bincount(ids, columns, n)
    boxes = [[(s.start, s.stop - 1) for s in box] for box in ndimage.find_objects(labels)]
    boxes = np.array(boxes, int).reshape(-1, 6)
    table = pd.DataFrame((sums / np.maximum(voxels, 1)).T.round(1), columns=POSITION_COLUMNS)
    table = table.assign(
        id=np.arange(n),
        voxels=voxels,
        volume_um3=(voxels * np.prod(voxel_size) / NM3_PER_UM3).round(9),
        n_sections=n_sections,
        touches_border=_at_border(labels, n),
    ).iloc[1:]
    extent = ["first_section", "last_section", "y_min", "y_max", "x_min", "x_max"]
    table[extent] = boxes
    return table.reset_index(drop=True)


def _at_border(labels: np.ndarray, n: int) -> np.ndarray:
    """Tell which ids reach the faces of the stack, or of the tissue."""
    touches = np.zeros(n, bool)
    for axis in range(labels.ndim):
        for face in (0, -1):
            touches[labels.take(face, axis)] = True
        low, high = neighbour_slices(axis)
        for here, there in ((low, high), (high, low)):
            touches[labels[here][labels[there] == 0]] = True
    return touches


def _boundary(stitched) -> np.ndarray:
    """Mean neurite probability on every neurite's boundaries with others; shape (N + 1,)."""
    contacts, neurite = stitched.contacts, stitched.neurite_of
    one, other = neurite[contacts.first], neurite[contacts.second]
    outer = (one != other) & ~stitched.is_overlap
    ids = np.concatenate([one[outer], other[outer]])
    size = np.tile(contacts.size[outer], 2)
    n = int(neurite.max(initial=0)) + 1
    bright = np.bincount(ids, size * np.tile(contacts.probability[outer], 2), minlength=n)
    with np.errstate(invalid="ignore"):  # a neurite without neighbours has no boundary
        return bright / np.bincount(ids, size, minlength=n)


def _doubted(log: pd.DataFrame, volume: pd.Series) -> pd.DataFrame:
    """Tell for every id how doubtful it is, why, and where; without reason where it is not."""
    joined = log["joined"]
    foreign, why_foreign = _foreign(log[joined], volume)
    missed, why_missed = _missed(log[~joined], volume)
    wrong = 1 - (1 - foreign) * (1 - missed)
    # What there is to put right shows on the surface: that is what is looked at and painted.
    extent = (volume / volume.max()) ** (2 / 3)
    why = why_foreign.where(foreign >= missed, why_missed)
    why = why.rename(columns={axis: f"doubt_{axis}" for axis in POSITION_COLUMNS})
    return why.assign(doubt=wrong * extent, reason=why["reason"].fillna(""))


def _foreign(joins: pd.DataFrame, volume: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """Which share of every neurite may belong to another, and by which join most of it came."""
    stake = (joins["doubt"] * joins["volume_um3"]).groupby(joins["neurite"])
    share = stake.sum().reindex(volume.index, fill_value=0.0) / volume
    worst = joins.loc[stake.idxmax()].set_index("neurite")
    why = worst[POSITION_COLUMNS].assign(reason="may hold two neurites")
    return share.clip(upper=1), why.reindex(volume.index)


def _missed(apart: pd.DataFrame, volume: pd.Series) -> tuple[pd.Series, pd.DataFrame]:
    """How likely every neurite is a part of a larger one, and of which."""
    one, other = apart["neurite"], apart["other"].astype(int)
    smaller = one.where(one.map(volume) <= other.map(volume), other)
    larger = (one + other - smaller).astype(str)
    why = apart[[*POSITION_COLUMNS, "doubt"]].assign(
        id=smaller, reason="may be a part of " + larger
    )
    likeliest = why.drop_duplicates("id").set_index("id").reindex(volume.index)
    return likeliest["doubt"].fillna(0.0), likeliest[[*POSITION_COLUMNS, "reason"]]
