"""Run ``python -m connectome.runlog``."""

from connectome.cli.arguments import run
from connectome.cli.commands.runs import main

run(main)
