"""Rebuild synapses, graph and figures from refined or corrected neurites."""

from connectome.cli.arguments import run
from connectome.cli.commands.rebuild import main

if __name__ == "__main__":
    run(main, prog="rebuild_graph_and_figures.py")
