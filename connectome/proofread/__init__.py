"""Edit neurites and synapses."""

from connectome.proofread.editor import LabelEditor
from connectome.proofread.history import EditResult

__all__ = ["EditResult", "LabelEditor"]
