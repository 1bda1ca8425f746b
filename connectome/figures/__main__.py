"""Run ``python -m connectome.figures``."""

from connectome.cli.arguments import run
from connectome.cli.commands.redraw import main

run(main)
