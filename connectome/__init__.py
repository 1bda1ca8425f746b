"""Draft wiring diagrams from small volume-EM cutouts, on a laptop."""

__version__ = "0.1.0"
