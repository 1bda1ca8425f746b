"""Predict the neurite probability of each voxel from EM alone, without training on the stack."""

from connectome.membranes.predict import predict_neurite_probability

__all__ = ["predict_neurite_probability"]
