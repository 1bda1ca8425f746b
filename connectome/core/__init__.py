"""Shared foundations: volumes, parameters, errors, progress, region adjacency."""
