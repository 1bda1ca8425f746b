"""A synthetic *C. elegans* neuropil with complete ground truth."""
