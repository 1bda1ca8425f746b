"""Run ``python -m connectome.graph``."""

from connectome.cli.arguments import run
from connectome.cli.commands.compare import main

run(main)
