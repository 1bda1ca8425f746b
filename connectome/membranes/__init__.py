"""Predict the probability of each voxel to lie inside a neurite."""

from connectome.membranes.predict import predict_neurite_probability

__all__ = ["predict_neurite_probability"]
