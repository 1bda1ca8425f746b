"""Correct the neurites and synapses of a run in napari."""

from connectome.cli.arguments import run
from connectome.cli.commands.proofread import main

if __name__ == "__main__":
    run(main, prog="napari_proofread.py")
