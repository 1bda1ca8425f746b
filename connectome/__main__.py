"""Run ``python -m connectome``, the same as the command ``connectome``."""

from connectome.cli.main import main

main()
