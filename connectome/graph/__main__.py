"""Run ``python -m connectome.graph compare``, the same as ``connectome compare``."""

from functools import partial

from connectome.cli.arguments import run
from connectome.cli.main import dispatch
from connectome.cli.programs import COMMANDS

main = partial(dispatch, commands={"compare": COMMANDS["compare"]}, description="Compare graphs.")
run(main, prog="python -m connectome.graph")
