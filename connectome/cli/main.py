"""The command ``connectome``: choose a subcommand and run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from connectome.cli.arguments import Parser, run, suggest
from connectome.cli.programs import COMMANDS, Command

DESCRIPTION = "Turn volume EM of C. elegans into a draft connectivity graph, on a laptop CPU."


def main() -> None:
    """Run the command line ``connectome``."""
    run(dispatch, prog="connectome")


def dispatch(
    argv: Sequence[str],
    *,
    prog: str = "connectome",
    commands: Mapping[str, Command] = COMMANDS,
    description: str = DESCRIPTION,
) -> int | None:
    """Run the subcommand that the arguments name first.

    Parameters
    ----------
    argv : sequence of str
        A subcommand and its arguments, or flags such as ``--help``.
    prog : str
        Name of the program, for messages and the run log.
    commands : mapping of str to Command
        Subcommands by name.
    description : str
        What the program does, for its help.

    Returns
    -------
    int or None
        Exit status of the subcommand.
    """
    name = argv[0] if argv else ""
    if name in commands:
        module, function = commands[name].main.split(":")
        command: Callable[..., int | None] = getattr(import_module(module), function)
        return command(argv[1:], prog=f"{prog} {name}")
    parser = _build_parser(prog, commands, description)
    if not name.startswith("-"):
        if name:
            parser.error(f"unknown command {name}{suggest(name, commands)}")
        parser.print_help()
        return 2
    later = [word for word in argv if word in commands]
    if later:
        parser.error(f"the command comes first: {prog} {later[0]} {name}")
    parser.parse_args(argv)  # ends here for --help and --version
    parser.error("no command given")


def _build_parser(prog: str, commands: Mapping[str, Command], description: str) -> Parser:
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:<{width}}  {each.summary}" for name, each in commands.items())
    return Parser(
        prog=prog,
        usage=f"{prog} COMMAND [flags]",
        description=f"{description}\n\ncommands:\n{listed}",
        epilog=f"help on a command: {prog} COMMAND --help",
    )
