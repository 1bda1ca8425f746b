"""The commands: parse arguments, call one workflow."""
