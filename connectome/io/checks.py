"""Checks of the files in an output folder, which other programs may have written or damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.core.errors import DataError
from connectome.core.volume import Volume
from connectome.io import paths
from connectome.io.files import read_json
from connectome.io.volumes import read_array

MAX_ID = int(np.iinfo(np.int32).max)
# Scores that figures and the report show, by part of the evaluation.
SCORES = {"segmentation": ("are", "voi", "voi_split", "voi_merge"), "alignment": ("rms_px",)}
# Shape, per section, of the arrays in the alignment file.
ALIGNMENT_SHAPES: dict[str, tuple[int, ...]] = {
    "shifts": (2,),
    "true_shifts": (2,),
    "trend": (2,),
    "matrices": (2, 2),
    "confidence": (),
}


def require_shape(array: NDArray[Any], aligned: Volume, name: str | Path) -> NDArray[Any]:
    """Return an array if it has the shape of the aligned stack.

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


def require_ids(labels: NDArray[Any], path: Path) -> NDArray[np.int32]:
    """Return an array as int32 if its values are neurite ids.

    Raises
    ------
    DataError
        If its values are anything but whole numbers from 0 to `MAX_ID`.
    """
    found = f"{path} has values of type {labels.dtype}"
    # Only numbers have a minimum and a maximum.
    if is_whole := labels.dtype.kind in "iub":
        found += f" from {labels.min()} to {labels.max()}"
    if not is_whole or labels.min() < 0 or labels.max() > MAX_ID:
        raise DataError(
            found,
            f"neurite ids are whole numbers from 0 to {MAX_ID}, and 0 is no neurite",
            "save it as int32, of such ids",
        )
    return labels.astype(np.int32, copy=False)


def require_sections(content: Mapping[str, Any], n_sections: int, path: Path) -> tuple[int, ...]:
    """Return the damaged sections that the alignment file lists.

    Raises
    ------
    DataError
        If they are not sections of the stack.
    """
    damaged = content.get("damaged_sections", [])
    if not (_is_list_of_int(damaged) and all(0 <= z < n_sections for z in damaged)):
        raise DataError(
            f"{path}: damaged_sections is {damaged}, of {n_sections} sections",
            "the file belongs to another stack, or is damaged",
            "run_pipeline.py",
        )
    return tuple(damaged)


def read_labels(path: Path, aligned: Volume) -> NDArray[np.int32]:
    """Read neurite ids in the frame of an aligned stack (see `RunFolder.read_labels`)."""
    programs = {paths.CORRECTED_LABELS: "napari_proofread.py", paths.LABELS: "run_pipeline.py"}
    remedy = next((made for name, made in programs.items() if path.match(name)), "another path")
    if not path.exists():
        raise DataError(f"there is no {path}", "its neurite ids are needed", remedy)
    labels = read_array(path, "its neurite ids are needed", f"{remedy}, or save it again")
    require_shape(labels, aligned, path)
    _check_origin(path, aligned)
    return require_ids(labels, path)


def read_section_list(path: Path, n_sections: int) -> tuple[int, ...]:
    """Read the proofread sections, in ascending order.

    Raises
    ------
    DataError
        If the file lists anything but sections of the stack.
    """
    consequence = "it is unknown which sections are correct"
    remedy = 'write {"slices": [z, ...]} to it'
    listed: Any = read_json(path, consequence, remedy).get("slices")
    if not _is_list_of_int(listed):
        raise DataError(
            f'{path} has no list of section numbers under "slices"', consequence, remedy
        )
    if outside := [z for z in listed if not 0 <= z < n_sections]:
        raise DataError(
            f"{path} names section {outside[0]}, and the stack has {n_sections}, counted from 0",
            "the corrections seem to belong to another cutout",
            f"another --outdir, or list no section beyond {n_sections - 1}",
        )
    return tuple(sorted(set(listed)))


def check_alignment(
    content: Mapping[str, Any], n_sections: int, path: Path, remedy: str = ""
) -> None:
    """Raise `DataError` unless every array of the alignment file fits the stack."""
    for name, shape in ALIGNMENT_SHAPES.items():
        if name in content and not _is_finite_array(content[name], (n_sections, *shape)):
            raise DataError(
                f"{path}: {name} is not of {n_sections} sections",
                "the file belongs to another stack, or is damaged",
                remedy,
            )
    require_sections(content, n_sections, path)


def check_evaluation(content: Mapping[str, Any], path: Path, remedy: str = "") -> None:
    """Raise `DataError` unless the scores that are shown are finite numbers."""
    for part, names in SCORES.items():
        if content.get(part):
            _check_scores(content[part], names, f"{path}, {part}", remedy)
    synapses = content.get("synapses") or {}
    _check_scores(synapses, (), f"{path}, synapses", remedy)
    for distance, scores in synapses.items():
        names = ("precision", "recall", "f1")
        _check_scores(scores, names, f"{path}, synapses, {distance}", remedy)


def _check_scores(scores: object, names: Sequence[str], where: str, remedy: str) -> None:
    if not isinstance(scores, dict):
        raise DataError(f"{where} is no JSON object", "scores cannot be shown", remedy)
    for name in names:
        if not _is_finite_array(scores.get(name), ()):
            raise DataError(
                f"{where}: {name} is {scores.get(name)}", "scores cannot be shown", remedy
            )


def _is_finite_array(content: object, shape: tuple[int, ...]) -> bool:
    """Return whether nested lists are finite numbers of a shape."""
    try:
        array = np.asarray(content, float)
    except (TypeError, ValueError):
        return False
    return array.shape == shape and bool(np.isfinite(array).all())


def _is_list_of_int(content: object) -> bool:
    """Return whether JSON content is a list of integers; true and false are not."""
    return isinstance(content, list) and all(type(item) is int for item in content)


def _check_origin(path: Path, aligned: Volume) -> None:
    """Raise `DataError` if an array has a sidecar that names another origin or source."""
    sidecar = paths.sidecar_path(path)
    if not sidecar.exists():
        return
    consequence = f"it is unknown where in the source {path.name} lies"
    stored = read_json(sidecar, consequence, f"save both again, or move {sidecar} away")
    expected = {"origin": list(aligned.origin), "source": aligned.source}
    for key, here in expected.items():
        if stored.get(key, here) != here:
            raise DataError(
                f"{path} belongs to {key} {stored[key]}, and the aligned stack to {here}",
                "the ids would be applied to other tissue",
                f"run_pipeline.py as before, another --outdir, or move {path.name} away",
            )
