"""Training data of the forest: labelled voxels of proofread sections, and voxel features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from connectome.core.progress import map_sections
from connectome.core.volume import has_thin_sections
from connectome.membranes.features import (
    compute_stack_features,
    feature_names,
    fill_damaged_sections,
    standardise_sections,
)
from connectome.refine.data import TrainingStack, mask_interiors

# Features beyond those of the untrained prediction, and the Gaussian sigmas in nm that the image or
# the untrained probability ("evidence") is smoothed with; 0 is unsmoothed. Their names are stored
# in models.
WIDTHS_NM = {
    "grey": (0, 5, 20, 80),
    "Sobel edge": (0, 12),
    "deviation": (12, 80),
    "evidence": (0, 8, 15, 30, 60, 120),
}
TRUNCATE = 2.5  # sigma at which Gaussians end
MAX_MEMBRANE_DISTANCE_NM = 60.0  # from the nearest neurite; unlabelled voxels beyond are not used


@dataclass(frozen=True, eq=False)
class LabelledSections:
    """Voxels of proofread sections, labelled as neurite or membrane.

    Parameters
    ----------
    sections : list of int
        S sections.
    is_neurite : ndarray of bool, shape (S, Y, X)
        False on the midlines of membranes.
    is_labelled : ndarray of bool, shape (S, Y, X)
        Voxels to train or score on.
    """

    sections: list[int]
    is_neurite: np.ndarray
    is_labelled: np.ndarray

    def select(self, sections: Sequence[int]) -> LabelledSections:
        """Return some of the sections."""
        rows = [self.sections.index(z) for z in sections]
        return LabelledSections(list(sections), self.is_neurite[rows], self.is_labelled[rows])

    @property
    def has_both_classes(self) -> bool:
        """Whether both neurite and membrane are present."""
        return np.unique(self.is_neurite[self.is_labelled]).size == 2

    def select_features(self, features: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Return the features of some voxels.

        Parameters
        ----------
        features : ndarray of float, shape (F, Z, Y, X)
            Features of the whole stack.
        indices : ndarray of int, shape (N,)
            Indices into ``is_neurite.ravel()``.

        Returns
        -------
        ndarray of float32, shape (F, N)
        """
        row, pixel = np.divmod(indices, self.is_neurite[0].size)
        flat = features.reshape(*features.shape[:2], -1)
        return flat[:, np.asarray(self.sections)[row], pixel].astype(np.float32)


def collect_labels(stack: TrainingStack) -> LabelledSections | None:
    """Label the voxels of all undamaged proofread sections; return None if there are none.

    Different programs and people leave membranes of different widths, or none. Neurites are
    therefore grown until they meet, and the membrane is where they meet.
    """
    proofread, damaged = stack.proofread, set(stack.damaged_sections)
    if proofread is None:
        return None
    sections = [z for z in proofread.sections if z not in damaged]
    if not sections:
        return None
    grown, near = zip(
        *(_grow_labels(proofread.labels[z], stack.voxel_size) for z in sections), strict=True
    )
    is_neurite = mask_interiors(np.stack(grown), stack.voxel_size)
    return LabelledSections(sections, is_neurite, np.stack(near) & stack.mask[sections])


def _grow_labels(
    labels: np.ndarray, voxel_size: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Grow the neurites of a section over all of it.

    Returns
    -------
    grown : ndarray of int, shape (Y, X)
    near : ndarray of bool, shape (Y, X)
        Where they grew no further than `MAX_MEMBRANE_DISTANCE_NM`.
    """
    if not labels.any():
        return labels, np.zeros(labels.shape, bool)
    distance, nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=voxel_size[1:], return_indices=True
    )
    return labels[tuple(nearest)], distance <= MAX_MEMBRANE_DISTANCE_NM


def forest_feature_names(voxel_size: tuple[float, float, float]) -> list[str]:
    """List the features of `compute_forest_features`, in order."""
    smoothed = [
        f"{kind}, {nm} nm" if nm else f"{kind} as it is"
        for kind, widths in WIDTHS_NM.items()
        for nm in widths
    ]
    return [*feature_names(_n_axes(voxel_size)), *smoothed]


def compute_forest_features(stack: TrainingStack, threads: int) -> np.ndarray:
    """Compute the features of all voxels.

    These are the features of the untrained prediction, and grey values, edges (Sobel), standard
    deviations and the untrained probability at the widths of `WIDTHS_NM`: in 3D where sections are
    thin, otherwise within each section.

    Returns
    -------
    ndarray of float16, shape (F, Z, Y, X)
        In the order of `forest_feature_names`.
    """
    n_axes = _n_axes(stack.voxel_size)
    image = standardise_sections(stack.em, stack.mask)
    if n_axes == 3:
        fill_damaged_sections(image, stack.damaged_sections)

    def smooth(field: np.ndarray, nm: float) -> np.ndarray:
        sigma = nm / np.asarray(stack.voxel_size) * [n_axes == 3, 1, 1]
        return ndimage.gaussian_filter(field, sigma, truncate=TRUNCATE) if nm else field

    def edge(field: np.ndarray, nm: float) -> np.ndarray:
        blurred = smooth(field, nm)
        return np.sqrt(sum(ndimage.sobel(blurred, axis) ** 2 for axis in range(3 - n_axes, 3)))

    def deviation(field: np.ndarray, nm: float) -> np.ndarray:
        mean = smooth(field, nm)
        return np.sqrt(np.maximum(smooth(field * field, nm) - mean * mean, 0))

    filters: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], np.ndarray]] = {
        "grey": (smooth, image),
        "Sobel edge": (edge, image),
        "deviation": (deviation, image),
        "evidence": (smooth, stack.untrained_probability),
    }
    tasks = [(*filters[kind], nm) for kind, widths in WIDTHS_NM.items() for nm in widths]
    names = forest_feature_names(stack.voxel_size)
    features = np.empty((len(names), *image.shape), np.float16)
    n_shared = len(names) - len(tasks)
    features[:n_shared] = compute_stack_features(image, stack.voxel_size, n_axes, threads)
    computed = map_sections(lambda task: task[0](task[1], task[2]), tasks, threads)
    for out, feature in zip(features[n_shared:], computed, strict=True):
        out[...] = feature
    return features


def _n_axes(voxel_size: tuple[float, float, float]) -> int:
    return 3 if has_thin_sections(voxel_size) else 2
