"""Run ``python -m connectome.figures``, the same as ``connectome redraw``."""

from connectome.cli.arguments import run
from connectome.cli.commands.redraw import main

run(main, prog="python -m connectome.figures")
