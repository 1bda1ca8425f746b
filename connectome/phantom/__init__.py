"""A synthetic *C. elegans* neuropil with complete ground truth.

The same seed, shape and voxel size give the same bytes on every machine: random numbers are taken
from raw generator output, and voxels are computed with +, −, ×, ÷, √ and comparisons alone, which
IEEE 754 rounds identically everywhere. ``exp``, ``sin``, BLAS and compiled filters, whose last bit
depends on the processor, are not used.
"""

from connectome.phantom.neuropil import (
    Phantom,
    check_phantom,
    make_phantom,
    parse_phantom_uri,
    phantom_uri,
)
from connectome.phantom.params import PhantomParams

__all__ = [
    "Phantom",
    "PhantomParams",
    "check_phantom",
    "make_phantom",
    "parse_phantom_uri",
    "phantom_uri",
]
