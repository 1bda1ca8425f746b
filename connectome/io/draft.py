"""What a run left in its output folder, read again: the draft that people and refiners work on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectome.core.errors import DataError, UsageError
from connectome.core.volume import GroundTruth, Volume
from connectome.io import paths
from connectome.io.tables import read_table

MAX_ID = int(np.iinfo(np.int32).max)


@dataclass(frozen=True, eq=False)
class Draft:
    """The aligned EM of a run, its neurites, and what is known of them.

    Parameters
    ----------
    outdir : Path
        Folder they were read from.
    aligned : Volume of float32
        Preprocessed and aligned EM in [0, 1].
    labels : ndarray of int32, shape (Z, Y, X)
        Neurite ids of the main job; 0 outside the tissue.
    tissue : ndarray of bool, shape (Z, Y, X)
        Where ``aligned`` shows tissue.
    damaged : tuple of int
        Sections that were bridged.
    truth : Truth
        Carried into the aligned frame; empty where none is known.
    """

    outdir: Path
    aligned: Volume
    labels: np.ndarray
    tissue: np.ndarray
    damaged: tuple[int, ...]
    truth: GroundTruth


@dataclass(frozen=True, eq=False)
class ProofreadSections:
    """Sections that a person has gone through from edge to edge.

    Parameters
    ----------
    labels : ndarray of int32, shape (Z, Y, X)
        Corrected neurite ids, the same in every section of a neurite; 0 on membranes and outside
        the tissue.
    sections : tuple of int
        In which ``labels`` can be believed, in ascending order.
    """

    labels: np.ndarray
    sections: tuple[int, ...]


def read_draft(outdir: Path) -> Draft:
    """Read what the last run left.

    Parameters
    ----------
    outdir : Path
        Output folder of ``run_pipeline.py``.

    Raises
    ------
    UsageError
        If there is no such folder, or no run has finished in it.
    DataError
        If files are missing, damaged or of different cutouts.
    """
    stored = [outdir / name for name in paths.ALIGNED.values() if (outdir / name).exists()]
    if not stored:
        raise UsageError(
            f"{outdir} holds no aligned stack: no {paths.ALIGNED['float32']}",
            "there is nothing to work on",
            f"run_pipeline.py --outdir {outdir}",
        )
    aligned = paths.read_volume(stored[0])
    aligned = aligned.with_data(aligned.data.astype(np.float32))
    path = outdir / paths.LABELS
    labels = _ids(require_shape(paths.read_volume(path).data, aligned, paths.LABELS), path)
    table = outdir / paths.ALIGNMENT
    shifts = _read_json(table, "it is unknown which sections are damaged", "run_pipeline.py")
    # Preprocessing leaves nothing but the outside at 0, next to a stray voxel of the tissue.
    tissue = (aligned.data > 0) | (labels > 0)
    damaged = damaged_sections(shifts, len(labels), table)
    return Draft(outdir, aligned, labels, tissue, damaged, _read_truth(outdir, aligned))


def damaged_sections(told: dict, n_sections: int, path: Path) -> tuple[int, ...]:
    """Return which sections were bridged, as ``tables/alignment_shifts.json`` tells it.

    Parameters
    ----------
    told : dict
        What the file holds.
    n_sections : int
        Sections of the stack.
    path : Path
        The file, to be named.

    Raises
    ------
    DataError
        If it names what is no section of the stack.
    """
    damaged = told.get("damaged_sections", [])
    if not (_whole_numbers(damaged) and all(0 <= z < n_sections for z in damaged)):
        raise DataError(
            f"{path}: damaged_sections is {damaged}, of {n_sections} sections",
            "the file belongs to another stack, or is damaged",
            "run_pipeline.py",
        )
    return tuple(damaged)


def read_proofread(draft: Draft) -> ProofreadSections | None:
    """Read which sections were proofread, and as what; None where nobody has begun.

    The corrected labels may come from any program. They need no sidecar: an array of the draft's
    shape lies where the draft does.

    Raises
    ------
    DataError
        If one of the two files is there without the other, the labels are not whole numbers from
        0 or of another shape, or a section lies outside the stack.
    """
    table, path = draft.outdir / paths.PROOFREAD_SECTIONS, draft.outdir / paths.CORRECTED_LABELS
    if not table.exists():
        return None
    fault = ("it is unknown which sections can be believed", 'write {"slices": [z, ...]} to it')
    listed = _read_json(table, *fault).get("slices")
    n_sections = len(draft.labels)
    if not _whole_numbers(listed):
        raise DataError(f'{table} has no list of section numbers under "slices"', *fault)
    if outside := [z for z in listed if not 0 <= z < n_sections]:
        raise DataError(
            f"{table} names section {outside[0]}, and the stack has {n_sections}, counted from 0",
            "the corrections seem to belong to another cutout",
            f"another --outdir, or list no section beyond {n_sections - 1}",
        )
    if not listed:
        return None
    return ProofreadSections(read_labels(path, draft.aligned), tuple(sorted(set(listed))))


def read_labels(path: Path, aligned: Volume) -> np.ndarray:
    """Read ids of a stack: of the same place by their sidecar, or else of the same shape.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)

    Raises
    ------
    DataError
        If there is no such file, it is no array of ids from 0 of the stack's shape, or the file
        beside it names another place.
    """
    ids = {paths.CORRECTED_LABELS: "napari_proofread.py", paths.LABELS: "run_pipeline.py"}
    remedy = next((made for name, made in ids.items() if path.match(name)), "another path")
    if not path.exists():
        raise DataError(f"there is no {path}", "its neurite ids are needed", remedy)
    labels = paths.read_array(path, "its neurite ids are needed", f"{remedy}, or save it again")
    require_shape(labels, aligned, path)
    _check_place(path, aligned)
    return _ids(labels, path)


def read_probability(draft: Draft) -> np.ndarray | None:
    """Read the untrained neurite probability, float32 (Z, Y, X); None where none was saved."""
    path = draft.outdir / paths.PROBABILITY
    if not path.exists():
        return None
    stored = paths.read_volume(path).data
    return require_shape(stored, draft.aligned, path).astype(np.float32)


def _read_truth(outdir: Path, aligned: Volume) -> GroundTruth:
    """Read what a run knew to be true, in the aligned frame already."""
    labels, table = outdir / paths.TRUE_LABELS, outdir / paths.TRUE_SYNAPSES
    return GroundTruth(
        read_labels(labels, aligned) if labels.exists() else None,
        read_table(table, ("z", "y", "x")) if table.exists() else None,
    )


def _ids(labels: np.ndarray, path: Path) -> np.ndarray:
    """Refuse what are no neurite ids."""
    held = f"{path} holds {labels.dtype}"
    # Only of numbers is there a least and a largest.
    if whole := labels.dtype.kind in "iub":
        held += f" from {labels.min()} to {labels.max()}"
    if not whole or labels.min() < 0 or labels.max() > MAX_ID:
        raise DataError(
            held,
            f"neurite ids are whole numbers from 0 to {MAX_ID}, and 0 is no neurite",
            "save it as int32, of such ids",
        )
    return labels.astype(np.int32, copy=False)


def _whole_numbers(content: object) -> bool:
    """Tell whether content of a JSON file is a list of whole numbers; true and false are none."""
    return isinstance(content, list) and all(type(item) is int for item in content)


def require_shape(array: np.ndarray, aligned: Volume, name: str | Path) -> np.ndarray:
    """Refuse an array of another shape than the aligned stack; return it.

    Raises
    ------
    DataError
        If its shape differs.
    """
    if array.shape != aligned.shape:
        raise DataError(
            f"{name} has shape {array.shape}, and the aligned stack {aligned.shape}",
            "they belong to different cutouts",
            "run_pipeline.py, or move the file away",
        )
    return array


def _check_place(path: Path, aligned: Volume) -> None:
    """Refuse an array whose sidecar, where it has one, tells of another place."""
    beside = paths.sidecar(path)
    if not beside.exists():
        return
    unknown = f"it is unknown which place {path.name} belongs to"
    stored = _read_json(beside, unknown, f"save both again, or move {beside} away")
    place = {"origin": list(aligned.origin), "source": aligned.source}
    for key, here in place.items():
        if stored.get(key, here) != here:
            raise DataError(
                f"{path} belongs to {key} {stored[key]}, and the aligned stack to {here}",
                "ids would be laid over other tissue than they were drawn on",
                f"run_pipeline.py as before, another --outdir, or move {path.name} away",
            )


def _read_json(path: Path, consequence: str, remedy: str) -> dict:
    """Read a dictionary."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}", consequence, remedy) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object", consequence, remedy)
    return content
