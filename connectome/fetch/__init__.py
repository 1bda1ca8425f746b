"""Fetch a cutout of volume EM: from BossDB, from local files, or of the phantom."""

from connectome.fetch.cutout import (
    CutoutPlan,
    FetchedCutout,
    check_ground_truth,
    fetch_cutout,
    plan_cutout,
    read_ground_truth,
)

__all__ = [
    "CutoutPlan",
    "FetchedCutout",
    "check_ground_truth",
    "fetch_cutout",
    "plan_cutout",
    "read_ground_truth",
]
