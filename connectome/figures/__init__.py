"""Draw the figures of a run as PDF and PNG."""

from connectome.figures.registry import FIGURES, REFINER_FIGURES, FigureSpec

__all__ = ["FIGURES", "REFINER_FIGURES", "FigureSpec"]
