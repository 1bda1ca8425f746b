"""The napari window for proofreading."""
