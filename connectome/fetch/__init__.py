"""Fetch a cutout of volume EM from BossDB, from local files, or of the phantom.

A further source takes one module with a function that plans a cutout, and one line in
`connectome.fetch.cutout.SOURCES`.
"""

from connectome.fetch.cutout import FetchedCutout, fetch_cutout, plan_cutout
from connectome.fetch.ground_truth import check_ground_truth, read_ground_truth
from connectome.fetch.plan import CutoutPlan

__all__ = [
    "CutoutPlan",
    "FetchedCutout",
    "check_ground_truth",
    "fetch_cutout",
    "plan_cutout",
    "read_ground_truth",
]
