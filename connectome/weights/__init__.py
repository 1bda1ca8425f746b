"""Trained parameters of the membrane, synapse and U-Net models, as package data."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def weights_path(name: str) -> Path:
    """Return the path of a file of trained parameters.

    Parameters
    ----------
    name : str
        File name in this package, such as ``"membrane_networks.json"``.
    """
    return Path(str(files(__name__) / name))
