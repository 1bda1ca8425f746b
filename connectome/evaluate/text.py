"""Scores as text for a terminal."""

from __future__ import annotations

from typing import Any


def format_scores(evaluation: dict[str, Any]) -> str:
    """Format scores as lines of text.

    Parameters
    ----------
    evaluation : dict
        As in ``tables/evaluation.json``; each of its three parts may be missing.
    """
    lines = []
    if segmentation := evaluation.get("segmentation"):
        lines.append(
            "neurites   ARE {are:.3f}   VOI {voi:.2f} bits"
            " (split {voi_split:.2f}, merge {voi_merge:.2f})".format(**segmentation)
        )
        lines.append(
            "           {fraction_scored:.1%} of voxels scored,"
            " {unassigned:.1%} of those unassigned".format(**segmentation)
        )
    for limit_nm, score in evaluation.get("synapses", {}).items():
        line = "precision {precision:.2f}   recall {recall:.2f}   F1 {f1:.2f}".format(**score)
        if "partners" in score:
            line += "   partners {partners:.0%}, direction {direction:.0%} correct".format(**score)
        lines.append(f"synapses   within {limit_nm:>3} nm: {line}")
    if alignment := evaluation.get("alignment"):
        reference = alignment.get("reference", "the true positions")
        lines.append(f"alignment  {alignment['rms_px']:.2f} px RMS from {reference}")
    return "\n".join(lines)
