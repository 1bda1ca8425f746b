"""Turn a small volume-EM cutout of C. elegans into a draft connectivity graph."""

from connectome.cli.arguments import run
from connectome.cli.commands.run import main

if __name__ == "__main__":
    run(main, prog="run_pipeline.py")
