"""Refine the neurite probability of a stack by training on proofread sections."""
