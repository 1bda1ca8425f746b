"""Where a person's time is spent best: places to look at, and sections to proofread whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

MIN_SEPARATION_NM = 200.0  # two places nearer than this are seen in one look
MIN_DOUBT = 0.05  # what is less doubtful than this is no place to look at
MAX_LOCATIONS = 200  # more than anybody looks at in a day
# What a wrong synapse weighs, against neurite given to the wrong cell: about a bouton.
SYNAPSE_VOLUME_UM3 = 0.004
CONTACT_RADIUS_NM = 150.0  # reach of a doubtful contact in the doubt map
MIN_TISSUE_FRACTION = 0.5  # a section with less than this share of the usual tissue is blank
AXES = ["z", "y", "x"]


@dataclass(frozen=True)
class Location:
    """A place to look at, and why.

    Parameters
    ----------
    z, y, x : int
        Voxel.
    kind : str
        ``join`` (may hold two neurites), ``apart`` (may be one neurite), ``neurite`` (doubtful as a
        whole) or ``synapse``.
    ids : tuple of int
        Neurites of the draft it is about; of a synapse the presynaptic one, then the postsynaptic.
    reason : str
        What may be wrong with them, as the rest of a sentence.
    synapse_row : int or None
        Of a synapse, its row among the candidates.
    expected_error_um3 : float
        Volume that is probably wrong, µm³; orders places of all kinds.
    """

    z: int
    y: int
    x: int
    kind: str
    ids: tuple[int, ...]
    reason: str
    expected_error_um3: float
    synapse_row: int | None = None

    def describe(self, ids: Sequence[int] = ()) -> str:
        """Tell in a sentence what may be wrong, with the ids that the neurites have now."""
        names = " → " if self.kind == "synapse" else " and "
        named = names.join(map(str, ids or self.ids))
        return f"{'synapse ' if self.kind == 'synapse' else ''}{named} {self.reason}"


def rank_locations(
    segments: pd.DataFrame,
    log: pd.DataFrame,
    synapses: pd.DataFrame,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    max_locations: int = MAX_LOCATIONS,
) -> list[Location]:
    """List the places to look at, those where most is probably wrong first.

    Parameters
    ----------
    segments, log, synapses : DataFrame
        ``segments.csv``, ``merge_log.csv`` and ``synapse_candidates.csv`` as DATASHEET.md describes
        them; any may be empty.
    shape : tuple of int
        Of the stack, (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.
    most : int
        Places at most.

    Returns
    -------
    list of Place
        By falling weight, doubt times the volume at stake; no two within `MIN_SEPARATION_NM`.
    """
    contacts = _of_contacts(log)
    tables = [contacts, _of_neurites(segments, contacts), _of_synapses(synapses)]
    found = pd.concat(tables, ignore_index=True).sort_values(
        "expected_error_um3", ascending=False, kind="stable", ignore_index=True
    )
    voxels = np.rint(found[AXES].to_numpy(float)).astype(int)
    voxels = np.clip(voxels, 0, np.array(shape) - 1)
    chosen = _apart(voxels * np.asarray(voxel_size, float), max_locations)
    rows = zip(voxels[chosen].tolist(), found.loc[chosen].itertuples(), strict=True)
    return [
        Location(*voxel, row.kind, row.ids, row.reason, row.expected_error_um3, row.synapse_row)
        for voxel, row in rows
    ]


def uncertainty_map(
    labels: np.ndarray,
    segments: pd.DataFrame,
    log: pd.DataFrame,
    voxel_size: tuple[float, float, float],
) -> np.ndarray:
    """Tell for every voxel how doubtful its neurite is, sharpened where two of them meet.

    O(V + n) for V voxels and n doubtful contacts.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Neurite ids of the draft; ids the tables do not name are without doubt.
    segments, log : DataFrame
        As `rank_locations` takes them.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of float16, shape (Z, Y, X)
        0 to 1: the doubt of the neurite, raised within `CONTACT_RADIUS_NM` of
        uncertain contacts.
    """
    known = segments.dropna(subset="doubt") if len(segments) else segments
    ids = known["id"].to_numpy(int) if len(known) else np.zeros(0, int)
    table = np.zeros(max(int(labels.max(initial=0)), int(ids.max(initial=0))) + 1, np.float16)
    if len(known):
        table[ids] = known["doubt"].clip(0, 1)
    doubt = np.take(table, labels)
    if len(log):
        worst_last = log[log["doubt"] >= MIN_DOUBT].sort_values("doubt", kind="stable")
        for row in worst_last.itertuples():
            sides = [row.neurite] if pd.isna(row.other) else [row.neurite, row.other]
            _add_blob(doubt, labels, sides, (row.z, row.y, row.x), row.doubt, voxel_size)
    return doubt


def choose_training_sections(
    uncertainty: np.ndarray,
    mask: np.ndarray,
    n_sections: int,
    damaged_sections: Collection[int] = (),
) -> tuple[int, ...]:
    """Choose the few sections that teach most when proofread from edge to edge.

    The stack is cut into ``n`` equal parts; the most doubtful section of the middle half of each
    is taken, so that they lie apart. What a refiner learns holds for the tissue around it, and
    neighbouring sections would teach the same twice.

    Parameters
    ----------
    doubt : ndarray, shape (Z, Y, X)
        As `uncertainty_map` returns it.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where there is tissue.
    n : int
        How many.
    damaged : collection of int
        Sections nobody can proofread.

    Returns
    -------
    tuple of int
        Ascending; fewer than ``n`` where the stack has fewer sound sections.
    """
    covered = mask.mean(axis=(1, 2))
    sound = [
        z
        for z in np.flatnonzero(
            (covered > 0) & (covered >= MIN_TISSUE_FRACTION * np.median(covered))
        ).tolist()
        if z not in set(damaged_sections)
    ]
    if not sound:
        return ()
    # Voids hold no doubt: per tissue, so that a half-covered section is not thought a sure one.
    rich = uncertainty.mean(axis=(1, 2), dtype=np.float32) / np.where(covered > 0, covered, 1)
    parts = np.array_split(sound, min(n_sections, len(sound)))
    return tuple(int(max(_middle_half(part), key=lambda z: rich[z])) for part in parts)


def current_ids(
    location: Location,
    before: np.ndarray,
    after: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> tuple[int, ...]:
    """Follow the neurites of a place through what a person has done since.

    Parameters
    ----------
    place : Place
        Ids of ``before``.
    before, after : ndarray of int, shape (Z, Y, X)
        Labels of the draft, and as they are now.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    tuple of int
        For each id of the location, the one that most of its voxels within
        `MIN_SEPARATION_NM` have now;
        0 where it has none there.
    """
    box = tuple(
        slice(max(0, p - r), p + r + 1)
        for p, r in zip(
            (location.z, location.y, location.x),
            (int(MIN_SEPARATION_NM // length) for length in voxel_size),
            strict=True,
        )
    )
    now = []
    for neurite in location.ids:
        heirs, n_voxels = np.unique(after[box][before[box] == neurite], return_counts=True)
        now.append(int(heirs[n_voxels.argmax()]) if len(heirs) else 0)
    return tuple(now)


# --- places -------------------------------------------------------------------------------------


def _of_contacts(log: pd.DataFrame) -> pd.DataFrame:
    """Doubtful joins, and pairs that were nearly joined."""
    if not len(log):
        return _table([])
    return _table(
        (
            *(row.z, row.y, row.x, "join" if row.joined else "apart"),
            (row.neurite,) if row.joined else (row.neurite, int(row.other)),
            _why_joined(row) if row.joined else _why_apart(row),
            *(row.doubt * row.volume_um3, None),
        )
        for row in log[log["doubt"] >= MIN_DOUBT].itertuples()
    )


def _why_joined(row) -> str:
    how = {
        "boundary": f"through a boundary of {row.probability:.2f}",
        "overlap": "from section to section",
        "enclosure": "because one lies within the other",
        "organelle": "as a mitochondrion",
    }.get(row.reason, f"by {row.reason}")
    return f"may hold two neurites, joined here {how} (doubt {row.doubt:.2f})"


def _why_apart(row) -> str:
    return (
        "may be one neurite, left apart here"
        f" at a boundary of {row.probability:.2f} (doubt {row.doubt:.2f})"
    )


def _of_neurites(segments: pd.DataFrame, contacts: pd.DataFrame) -> pd.DataFrame:
    """Doubtful neurites, where the doubt is greatest: mostly at a contact, whose reason says more.

    A neurite weighs at least what its worst contact does, and is what is doubted.
    """
    if not len(segments):
        return _table([])
    known = {(*row[:3],): row for row in contacts.itertuples(index=False)}
    rows = []
    for row in segments[segments["doubt"] >= MIN_DOUBT].itertuples():
        place = (row.doubt_z, row.doubt_y, row.doubt_x)
        at = known.get(place)
        kind, ids, reason = (
            (at.kind, at.ids, at.reason) if at else ("neurite", (row.id,), row.reason)
        )
        rows.append((*place, kind, ids, reason, row.doubt * row.volume_um3, None))
    return _table(rows)


def _of_synapses(synapses: pd.DataFrame) -> pd.DataFrame:
    """Candidates of middling score: the best are right, and the weakest say so themselves."""
    if not len(synapses):
        return _table([])
    rank = (synapses["score"].rank() - 0.5) / len(synapses)
    unsure = 4 * rank * (1 - rank)  # 1 for the middle one, 0 at the ends
    rows = synapses.assign(
        expected_error_um3=SYNAPSE_VOLUME_UM3 * unsure, synapse_row=range(len(synapses))
    )
    return _table(
        (
            *(row.z, row.y, row.x, "synapse", (row.pre_id, row.post_id)),
            *(f"has a middling score ({row.score:.2f})", row.expected_error_um3, row.synapse_row),
        )
        for row in rows[unsure >= MIN_DOUBT].itertuples()
    )


def _table(rows) -> pd.DataFrame:
    table = pd.DataFrame(
        rows, columns=[*AXES, "kind", "ids", "reason", "expected_error_um3", "synapse_row"]
    )
    return table.astype(dict.fromkeys((*AXES, "expected_error_um3"), float))


def _apart(points: np.ndarray, most: int) -> list[int]:
    """Keep points (N, 3) in nm, in order, none within `MIN_SEPARATION_NM` of an earlier one."""
    left = np.arange(len(points))
    chosen = []
    while len(left) and len(chosen) < most:
        first = left[0]
        chosen.append(int(first))
        left = left[np.linalg.norm(points[left] - points[first], axis=1) > MIN_SEPARATION_NM]
    return chosen


# --- map and sections ---------------------------------------------------------------------------


def _add_blob(doubt, labels, ids: Sequence[int], place, height, voxel_size) -> None:
    """Raise the map around a contact, within the neurites it is about."""
    reach = CONTACT_RADIUS_NM / np.asarray(voxel_size, float)
    low = np.maximum(np.ceil(np.subtract(place, reach)), 0).astype(int)
    high = np.floor(np.add(place, reach)).astype(int) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    around, ids_there = doubt[box], labels[box]
    away = [
        (np.arange(a, a + n) - centre) / r
        for a, n, centre, r in zip(low, around.shape, place, reach, strict=True)
    ]
    distance = np.sqrt(sum(each**2 for each in np.ix_(*away)))
    peak = height * np.clip(1 - distance, 0, None)
    concerned = ids_there == ids[0]
    for other in ids[1:]:
        concerned |= ids_there == other
    around[concerned] = np.maximum(around, peak.astype(np.float16))[concerned]


def _middle_half(part: np.ndarray) -> np.ndarray:
    edge = len(part) // 4
    return part[edge : len(part) - edge]
