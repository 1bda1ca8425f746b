"""Estimate the uncertainty of a segmentation and rank what to proofread."""
