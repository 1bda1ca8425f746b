"""Refine by self-training a small U-Net on the labels of a run and on proofread sections."""
