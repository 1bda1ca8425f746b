"""The command line: arguments, reporter output and commands."""
