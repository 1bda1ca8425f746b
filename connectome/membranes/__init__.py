"""Predict the probability of each voxel to lie inside a neurite."""
