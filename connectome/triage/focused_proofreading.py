"""Rank the locations to proofread first, and choose sections to proofread whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

MIN_SEPARATION_NM = 200.0  # locations nearer than this are inspected together
MIN_DOUBT = 0.05  # less doubtful decisions are not listed
MAX_LOCATIONS = 200  # more than a person inspects in a day
# Weight of a wrong synapse against neurite volume given to the wrong cell: about a bouton.
SYNAPSE_VOLUME_UM3 = 0.004
CONTACT_RADIUS_NM = 150.0  # reach of a doubtful contact in the uncertainty map
MIN_TISSUE_FRACTION = 0.5  # of the median tissue area; sections with less count as blank


@dataclass(frozen=True)
class Location:
    """A location to inspect, and the reason.

    Parameters
    ----------
    z, y, x : float
        Position in voxels.
    kind : str
        ``join`` (may be a false merge), ``apart`` (may be a false split), ``neurite`` (doubtful as
        a whole) or ``synapse``.
    ids : tuple of int
        Neurites concerned, as in the baseline labels; of a synapse the presynaptic one, then the
        postsynaptic.
    reason : str
        What was found there, with numbers and units.
    expected_error_um3 : float
        Volume that is probably wrong, in µm³; ranks locations of all kinds.
    doubt : float or None
        Doubt of the neurites, as in ``segments.csv``, the highest of them; None for synapses, and
        where it is unknown.
    synapse_row : int or None
        For synapses, the row among the candidates.
    """

    z: float
    y: float
    x: float
    kind: str
    ids: tuple[int, ...]
    reason: str
    expected_error_um3: float
    doubt: float | None = None
    synapse_row: int | None = None

    @property
    def position(self) -> tuple[float, float, float]:
        """(z, y, x) in voxels."""
        return self.z, self.y, self.x

    def describe(self, ids: Sequence[int] = ()) -> str:
        """Describe in a sentence what may be wrong.

        Parameters
        ----------
        ids : sequence of int
            Current ids of the neurites, if they have changed.
        """
        ids = tuple(ids or self.ids)
        if self.kind == "synapse":
            return f"{name_synapse(ids).capitalize()}: {self.reason}."
        doubt = "" if self.doubt is None else f" (doubt {self.doubt:.2f})"
        if self.kind == "join":
            return f"Neurite {ids[0]} may contain two neurites: {self.reason}{doubt}."
        if self.kind == "neurite":
            return f"Neurite {ids[0]} {self.reason}{doubt}."
        if ids[0] == ids[1]:
            return f"Neurite {ids[0]}: the two parts that meet here have been merged."
        return f"Neurites {ids[0]} and {ids[1]} may be one neurite: {self.reason}{doubt}."


def name_synapse(ids: Sequence[int]) -> str:
    """Name a synapse by its presynaptic and its main postsynaptic neurite."""
    return f"synapse {ids[0]} → {ids[1]}"


def rank_locations(
    segments: pd.DataFrame,
    log: pd.DataFrame,
    synapses: pd.DataFrame,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    max_locations: int = MAX_LOCATIONS,
) -> list[Location]:
    """List the locations to inspect, largest expected error first.

    Parameters
    ----------
    segments, log, synapses : DataFrame
        ``segments.csv``, ``merge_log.csv`` and ``synapse_candidates.csv`` as DATASHEET.md describes
        them; any may be empty.
    shape : tuple of int
        Of the stack, (Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in nm.
    max_locations : int
        Largest number of locations.

    Returns
    -------
    list of Location
        In whole voxels, by falling `Location.expected_error_um3`: doubt times the volume at stake.
        No two are within `MIN_SEPARATION_NM`.
    """
    contacts = list(_contact_locations(log, _doubt_by_id(segments)))
    locations = [*contacts, *_neurite_locations(segments, contacts), *_synapse_locations(synapses)]
    locations.sort(key=lambda location: location.expected_error_um3, reverse=True)
    positions = np.array([location.position for location in locations], float).reshape(-1, 3)
    voxels = np.clip(np.rint(positions).astype(int), 0, np.array(shape) - 1)
    selected = _select_separate(voxels * np.asarray(voxel_size, float), max_locations)
    return [
        replace(locations[i], **dict(zip("zyx", voxels[i].tolist(), strict=True))) for i in selected
    ]


def uncertainty_map(
    labels: np.ndarray,
    segments: pd.DataFrame,
    log: pd.DataFrame,
    voxel_size: tuple[float, float, float],
) -> np.ndarray:
    """Map the uncertainty of the segmentation, highest at doubtful contacts.

    O(V + n) for V voxels and n doubtful contacts.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        Baseline neurite ids; ids without a row in the tables have no uncertainty.
    segments, log : DataFrame
        As in `rank_locations`.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    ndarray of float16, shape (Z, Y, X)
        0 to 1: the doubt of the neurite, raised within `CONTACT_RADIUS_NM` of a doubtful contact
        up to the probability that the decision there is wrong.
    """
    doubt = _doubt_by_id(segments)
    ids = np.array(list(doubt), int)
    table = np.zeros(max(int(labels.max(initial=0)), int(ids.max(initial=0))) + 1, np.float16)
    table[ids] = np.clip(list(doubt.values()), 0, 1)
    uncertainty = np.take(table, labels)
    if len(log):
        worst_last = log[log["doubt"] >= MIN_DOUBT].sort_values("doubt", kind="stable")
        for row in worst_last.itertuples():
            sides = [row.neurite] if pd.isna(row.other) else [row.neurite, row.other]
            _raise_around(uncertainty, labels, sides, (row.z, row.y, row.x), row.doubt, voxel_size)
    return uncertainty


def choose_training_sections(
    uncertainty: np.ndarray,
    mask: np.ndarray,
    n_sections: int,
    damaged_sections: Collection[int] = (),
) -> tuple[int, ...]:
    """Choose the sections that are most useful for retraining when proofread completely.

    The stack is divided into ``n_sections`` equal parts, and the most uncertain section in the
    middle half of each is taken, so that they are spread over the stack: corrections improve the
    tissue around them, and adjacent sections are redundant.

    Parameters
    ----------
    uncertainty : ndarray, shape (Z, Y, X)
        As `uncertainty_map` returns.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue.
    n_sections : int
        Number of sections.
    damaged_sections : collection of int
        Sections that cannot be proofread.

    Returns
    -------
    tuple of int
        Ascending; fewer than ``n_sections`` where the stack has fewer sound sections.
    """
    covered = mask.mean(axis=(1, 2))
    has_tissue = (covered > 0) & (covered >= MIN_TISSUE_FRACTION * np.median(covered))
    damaged = set(damaged_sections)
    sound = [z for z in np.flatnonzero(has_tissue).tolist() if z not in damaged]
    if not sound:
        return ()
    # Per area of tissue, so that half-covered sections are not taken for certain ones.
    mean = uncertainty.mean(axis=(1, 2), dtype=np.float32) / np.where(covered > 0, covered, 1)
    parts = np.array_split(sound, min(n_sections, len(sound)))
    return tuple(int(max(_middle_half(part), key=lambda z: mean[z])) for part in parts)


def current_ids(
    ids: Sequence[int],
    position: Sequence[float],
    before: np.ndarray,
    after: np.ndarray,
    voxel_size: tuple[float, float, float],
) -> tuple[int, ...]:
    """Return the current ids of the neurites at a position.

    Parameters
    ----------
    ids : sequence of int
        Ids in ``before``.
    position : sequence of float
        (z, y, x) in voxels.
    before, after : ndarray of int, shape (Z, Y, X)
        Labels that the ids refer to, and the current ones.
    voxel_size : tuple of float
        (z, y, x) in nm.

    Returns
    -------
    tuple of int
        For each id, the one that most of its voxels within `MIN_SEPARATION_NM` have now; 0 where
        it has no voxels there.
    """
    radius = [int(MIN_SEPARATION_NM // length) for length in voxel_size]
    box = tuple(
        slice(max(0, int(at) - r), int(at) + r + 1) for at, r in zip(position, radius, strict=True)
    )
    now = []
    for neurite in ids:
        successors, n_voxels = np.unique(after[box][before[box] == neurite], return_counts=True)
        now.append(int(successors[n_voxels.argmax()]) if len(successors) else 0)
    return tuple(now)


# --- locations ----------------------------------------------------------------------------------


def _doubt_by_id(segments: pd.DataFrame) -> dict[int, float]:
    """Return the doubt of every neurite that has one."""
    if not len(segments):
        return {}
    rated = segments.dropna(subset="doubt")
    return dict(zip(rated["id"].astype(int).tolist(), rated["doubt"].tolist(), strict=True))


def _contact_locations(log: pd.DataFrame, doubt_by_id: dict[int, float]) -> Iterable[Location]:
    """Yield doubtful joins and doubtful rejected joins."""
    if not len(log):
        return
    for row in log[log["doubt"] >= MIN_DOUBT].itertuples():
        ids = (row.neurite,) if row.joined else (row.neurite, int(row.other))
        yield Location(
            *(row.z, row.y, row.x),
            kind="join" if row.joined else "apart",
            ids=ids,
            reason=_explain_join(row) if row.joined else _explain_rejection(row),
            expected_error_um3=row.doubt * row.volume_um3,
            doubt=max((doubt_by_id[i] for i in ids if i in doubt_by_id), default=None),
        )


def _explain_join(row: Any) -> str:
    volume = f"{row.volume_um3:.3g} µm³"
    explanations = {
        "boundary": f"{volume} joined here across a boundary with a neurite probability of"
        f" {row.probability:.2f}",
        "overlap": f"{volume} joined here by overlap between sections",
        "enclosure": f"{volume} joined here because the rest encloses it",
        "organelle": f"{volume} joined here as a mitochondrion",
    }
    return explanations.get(row.reason, f"{volume} joined here by {row.reason}")


def _explain_rejection(row: Any) -> str:
    return (
        f"they meet here at a boundary with a neurite probability of {row.probability:.2f},"
        f" and the smaller has {row.volume_um3:.3g} µm³"
    )


def _neurite_locations(segments: pd.DataFrame, contacts: Sequence[Location]) -> Iterable[Location]:
    """Yield doubtful neurites, where they are most doubtful.

    That is mostly at a contact, which is then described instead. Its expected error is that of the
    neurite, which is at least that of its worst contact.
    """
    if not len(segments):
        return
    contact_at = {contact.position: contact for contact in contacts}
    for row in segments[segments["doubt"] >= MIN_DOUBT].itertuples():
        expected_error_um3 = row.doubt * row.volume_um3
        position = (row.doubt_z, row.doubt_y, row.doubt_x)
        if position in contact_at:
            yield replace(contact_at[position], expected_error_um3=expected_error_um3)
        else:
            yield Location(
                *position,
                kind="neurite",
                ids=(row.id,),
                reason=row.reason,
                expected_error_um3=expected_error_um3,
                doubt=row.doubt,
            )


def _synapse_locations(synapses: pd.DataFrame) -> Iterable[Location]:
    """Yield candidates with scores near the median.

    Candidates with the highest scores are mostly right, and with the lowest ones mostly wrong.
    """
    if not len(synapses):
        return
    rank = (synapses["score"].rank() - 0.5) / len(synapses)
    uncertain = 4 * rank * (1 - rank)  # 1 at the median, 0 at both ends
    rows = synapses.assign(
        expected_error_um3=SYNAPSE_VOLUME_UM3 * uncertain, synapse_row=range(len(synapses))
    )
    for row in rows[uncertain >= MIN_DOUBT].itertuples():
        yield Location(
            *(row.z, row.y, row.x),
            kind="synapse",
            ids=(row.pre_id, row.post_id),
            reason=f"its score of {row.score:.2f} is near the median of all candidates",
            expected_error_um3=row.expected_error_um3,
            synapse_row=row.synapse_row,
        )


def _select_separate(points_nm: np.ndarray, max_points: int) -> list[int]:
    """Select points (N, 3), in order, that are not within `MIN_SEPARATION_NM` of earlier ones."""
    left = np.arange(len(points_nm))
    selected: list[int] = []
    while len(left) and len(selected) < max_points:
        first = left[0]
        selected.append(int(first))
        distance = np.linalg.norm(points_nm[left] - points_nm[first], axis=1)
        left = left[distance > MIN_SEPARATION_NM]
    return selected


# --- map and sections ---------------------------------------------------------------------------


def _raise_around(
    uncertainty: np.ndarray,
    labels: np.ndarray,
    ids: Sequence[int],
    position: Sequence[float],
    height: float,
    voxel_size: tuple[float, float, float],
) -> None:
    """Raise the map, in place, in a cone around a contact within the neurites concerned."""
    radius = CONTACT_RADIUS_NM / np.asarray(voxel_size, float)
    low = np.maximum(np.ceil(np.subtract(position, radius)), 0).astype(int)
    high = np.floor(np.add(position, radius)).astype(int) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside, ids_inside = uncertainty[box], labels[box]
    offsets = [
        (np.arange(a, a + n) - centre) / r
        for a, n, centre, r in zip(low, inside.shape, position, radius, strict=True)
    ]
    distance = np.sqrt(sum(offset**2 for offset in np.ix_(*offsets)))
    cone = height * np.clip(1 - distance, 0, None)
    concerned = ids_inside == ids[0]
    for other in ids[1:]:
        concerned |= ids_inside == other
    inside[concerned] = np.maximum(inside, cone.astype(np.float16))[concerned]


def _middle_half(part: np.ndarray) -> np.ndarray:
    edge = len(part) // 4
    return part[edge : len(part) - edge]
