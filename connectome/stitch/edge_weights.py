"""The supervoxel graph: contacts between supervoxels, and the signed weights of its edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from connectome.core.params import StitchParams
from connectome.core.region_adjacency import Contacts, face_contacts, section_overlaps
from connectome.stitch.mitochondria import Brightness


@dataclass(frozen=True, eq=False)
class SupervoxelGraph:
    """Contacts between supervoxels, and what their edge weights depend on.

    Parameters
    ----------
    contacts : Contacts
        Shared boundaries first, then overlaps between sections.
    is_overlap : ndarray of bool, shape (E,)
        Which contacts are overlaps.
    overlap_fraction : ndarray of float, shape (E,)
        Mean fraction of the area of the two supervoxels that overlaps; 0 for shared boundaries.
    size : ndarray of int, shape (P,)
        Voxels of every supervoxel.
    brightness : Brightness
        Of every supervoxel.
    thin_sections : bool
        Whether boundaries are surfaces in 3D rather than lines within sections.
    """

    contacts: Contacts
    is_overlap: np.ndarray
    overlap_fraction: np.ndarray
    size: np.ndarray
    brightness: Brightness
    thin_sections: bool

    @cached_property
    def contact_width(self) -> np.ndarray:
        """Size of a boundary, or the root of the area of an overlap, which is a length as well."""
        return np.where(self.is_overlap, np.sqrt(self.contacts.size), self.contacts.size)

    @cached_property
    def relative_width(self) -> np.ndarray:
        """Size of a contact relative to the width of the smaller of its two supervoxels."""
        smaller = np.minimum(self.size[self.contacts.first], self.size[self.contacts.second])
        return self.contacts.size / smaller ** (2 / 3 if self.thin_sections else 1 / 2)

    @cached_property
    def brightness_difference(self) -> np.ndarray:
        """Absolute difference in brightness between the two supervoxels of a contact."""
        return self.brightness.difference(self.contacts.first, self.contacts.second)

    def edge_weights(
        self, probability: np.ndarray, params: StitchParams, threshold_offset: float = 0.0
    ) -> np.ndarray:
        """Compute the signed weight of every edge.

        The weight is the neurite probability at the contact relative to a threshold, times the
        width of the contact: a boundary that looks like membrane is repulsive, one that looks like
        cytoplasm attractive. Narrow contacts count less, overlaps count more the larger the
        fraction that overlaps, and differences in brightness count against an edge, as the
        cytoplasm of a neurite is equally bright everywhere. Unlike the 200 pixels of the published
        pipeline, overlap fractions mean the same at every pixel size and calibre.

        Parameters
        ----------
        probability : ndarray of float, shape (E,)
            Mean neurite probability at every contact.
        params : StitchParams
        threshold_offset : float
            Added to the threshold.

        Returns
        -------
        ndarray of float, shape (E,)
        """
        threshold = (
            params.min_probability_thin if self.thin_sections else params.min_probability_thick
        )
        margin = probability - threshold - threshold_offset
        return np.where(
            self.is_overlap,
            self._overlap_weights(margin, params),
            self._boundary_weights(margin, params),
        ) - self._brightness_penalty(params)

    def _boundary_weights(self, margin: np.ndarray, params: StitchParams) -> np.ndarray:
        """Weigh shared boundaries, narrow ones less.

        Large supervoxels of one neurite meet across its whole calibre. A narrow window between two
        is more often a gap in a membrane.
        """
        narrowness = np.maximum(0, 1 - self.relative_width / params.min_relative_width)
        return (margin - params.narrow_contact_penalty * narrowness) * self.contacts.size

    def _overlap_weights(self, margin: np.ndarray, params: StitchParams) -> np.ndarray:
        """Weigh overlaps: profiles of two neurites overlap on the membrane and little elsewhere."""
        excess = params.overlap_weight * (self.overlap_fraction - params.min_overlap)
        return (excess + margin) * self.contact_width

    def _brightness_penalty(self, params: StitchParams) -> np.ndarray:
        excess = np.maximum(self.brightness_difference - params.brightness_tolerance, 0)
        return params.brightness_weight * excess * self.contact_width


def build_supervoxel_graph(
    supervoxels: np.ndarray,
    probability: np.ndarray,
    *,
    brightness: Brightness,
    excluded_sections: Sequence[int],
    thin_sections: bool,
) -> SupervoxelGraph:
    """Find all contacts between supervoxels.

    Thick sections: boundaries within each section, and overlaps between adjacent ones. Thin
    sections: boundaries in 3D, and overlaps only across excluded sections.

    Parameters
    ----------
    supervoxels : ndarray of int32, shape (Z, Y, X)
        Supervoxel ids; 0 outside the tissue and in excluded sections.
    probability : ndarray of float, shape (Z, Y, X)
        Neurite probability in [0, 1].
    brightness : Brightness
        Of every supervoxel.
    excluded_sections : sequence of int
        Sections to leave out; those before and after are then adjacent.
    thin_sections : bool
        Whether the supervoxels extend through sections.

    Returns
    -------
    SupervoxelGraph
    """
    n = brightness.level.size
    boundaries = face_contacts(supervoxels, probability, (0, 1, 2) if thin_sections else (1, 2), n)
    overlaps, fractions = [], [np.zeros(boundaries.size.size)]
    for below, above in _adjacent_sections(len(supervoxels), excluded_sections, thin_sections):
        overlap = section_overlaps(supervoxels, probability, below, above, n)
        area = np.bincount(supervoxels[[below, above]].ravel(), minlength=n)
        overlaps.append(overlap)
        fractions.append((overlap.size / area[[overlap.first, overlap.second]]).mean(axis=0))
    contacts = Contacts.concatenate([boundaries, *overlaps])
    return SupervoxelGraph(
        contacts=contacts,
        is_overlap=np.arange(contacts.size.size) >= boundaries.size.size,
        overlap_fraction=np.concatenate(fractions),
        size=np.bincount(supervoxels.ravel(), minlength=n),
        brightness=brightness,
        thin_sections=thin_sections,
    )


def _adjacent_sections(
    n_sections: int, excluded_sections: Sequence[int], thin_sections: bool
) -> list[tuple[int, int]]:
    """List the pairs of sections between which overlaps are measured."""
    used = [z for z in range(n_sections) if z not in set(excluded_sections)]
    # Supervoxels of thin sections are in contact from section to section, except across a gap.
    return [(a, b) for a, b in pairwise(used) if not thin_sections or b - a > 1]
