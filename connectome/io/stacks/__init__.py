"""Read stacks from local files: their shape and voxel size at once, any box of voxels on demand.

A format is a module of this package with a `StackFormat`, listed in `formats.FORMATS`.
"""

from connectome.io.stacks.formats import SUPPORTED_FORMATS, open_stack
from connectome.io.stacks.stack import EM, LABELS, Stack, StackFormat, StackKind

__all__ = ["EM", "LABELS", "SUPPORTED_FORMATS", "Stack", "StackFormat", "StackKind", "open_stack"]
