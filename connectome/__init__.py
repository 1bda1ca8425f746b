"""Turn volume EM of *C. elegans* into a draft connectivity graph, on a laptop CPU."""

__version__ = "0.2.0"
