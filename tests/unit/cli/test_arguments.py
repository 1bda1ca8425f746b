"""Command-line conventions: spellings, suggestions, messages and exit statuses."""

import argparse
import os
import re
import subprocess
import sys

import pytest
from helpers.locations import ROOT

from connectome import __version__
from connectome.cli import arguments
from connectome.cli.arguments import Parser
from connectome.cli.commands import compare, proofread, rebuild, refine, run
from connectome.core.errors import ConnectomeError, DataError, UsageError


@pytest.fixture
def parser():
    parser = Parser(prog="tool")
    parser.add_argument("--save_minimal", action="store_true")
    parser.add_argument("--no-align", action="store_true")
    parser.add_argument("--boss_host", default="")
    parser.add_argument("files", nargs="*")
    return parser


def exit_status(main, argv=(), prog=None):
    """Return the exit status of a program whose ``main`` this is."""
    with pytest.raises(SystemExit) as end:
        arguments.run(main, list(argv), prog)
    return end.value.code


def raising(error):
    def main(_argv, prog=None):
        raise error

    return main


# --- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--save_minimal", "--save-minimal"])
def test_flags_declared_with_underscores_take_both_spellings(parser, flag):
    assert parser.parse_args([flag]).save_minimal


@pytest.mark.parametrize("flag", ["--no-align", "--no_align"])
def test_flags_declared_with_hyphens_take_both_spellings(parser, flag):
    assert parser.parse_args([flag]).no_align


@pytest.mark.parametrize(
    "words", [["--boss-host=a-b_c=d"], ["--boss_host=a-b_c=d"], ["--boss-host", "a-b_c=d"]]
)
def test_values_keep_their_spelling(parser, words):
    assert parser.parse_args(words).boss_host == "a-b_c=d"


def test_values_without_a_flag_keep_their_spelling(parser):
    assert parser.parse_args(["my_file-1", "--", "--save-minimal"]).files == [
        *("my_file-1", "--save-minimal")
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--save_minimum", "--save_minimal"),
        ("--boss_hots=x", "--boss_host"),
        ("--noalign", "--no-align"),
        ("--save-minmal", "--save_minimal"),
    ],
)
def test_an_unknown_flag_is_an_error_that_suggests_the_nearest(parser, capsys, typed, meant):
    with pytest.raises(SystemExit) as end:
        parser.parse_args([typed])
    assert end.value.code == 2
    assert f"unknown argument {typed}; did you mean {meant}?" in capsys.readouterr().err


def test_a_flag_unlike_any_other_gets_no_suggestion(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--zzz"])
    message = capsys.readouterr().err
    assert "--zzz" in message
    assert "did you mean" not in message
    assert "tool --help" in message


def test_flags_are_never_completed_from_a_prefix(parser):
    with pytest.raises(SystemExit):
        parser.parse_args(["--save"])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (arguments.index, "0", 0),
        (arguments.seed, "4294967295", 2**32 - 1),
        (arguments.path, "a model.npz", "a model.npz"),
        (arguments.count, "12", 12),
        (arguments.length, "1e2", 100.0),
        (arguments.length, "4.6", 4.6),
    ],
)
def test_values_are_parsed(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (arguments.index, ["-1", "1.5", "x", ""]),
        (arguments.seed, ["-1", "1.5", "4294967296", "99999999999"]),
        (arguments.path, ["", " "]),
        (arguments.count, ["0", "-1", "1.5", "x"]),
        (arguments.length, ["0", "-8", "nan", "inf", "8nm"]),
    ],
)
def test_an_invalid_value_is_refused_and_named(kind, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(text))):
            kind(text)


@pytest.mark.parametrize(
    "build_parser",
    [
        run.build_parser,
        refine.build_rf_parser,
        refine.build_unet_parser,
        compare.build_parser,
    ],
)
def test_every_command_refuses_seeds_that_are_too_large_for_some_generator(build_parser, capsys):
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(["--seed", "99999999999"])
    assert end.value.code == 2
    assert "from 0 to 4294967295" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build_parser", "flags"),
    [
        (run.build_parser, ["outdir", "ground_truth"]),
        (rebuild.build_parser, ["outdir", "ground_truth"]),
        (proofread.build_parser, ["outdir"]),
        (refine.build_rf_parser, ["outdir", "ground_truth", "apply"]),
        (refine.build_unet_parser, ["outdir", "ground_truth", "apply"]),
    ],
)
def test_every_command_expands_the_home_folder_in_a_path(build_parser, flags, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    args = build_parser().parse_args([f"--{flag}=~/a/b" for flag in flags])
    assert {getattr(args, flag) for flag in flags} == {"/home/ada/a/b"}


def test_the_version_is_printed(parser, capsys):
    assert exit_status(parser.parse_args, ["--version"]) == 0
    assert capsys.readouterr().out == f"connectome {__version__}\n"


# --- exit statuses and messages -----------------------------------------------------------------


def test_exit_statuses():
    assert exit_status(lambda _argv: None) == 0
    assert exit_status(lambda _argv: 3) == 3
    assert exit_status(raising(ConnectomeError("no"))) == 1
    assert exit_status(raising(DataError("no"))) == 1
    assert exit_status(raising(UsageError("no"))) == 2
    assert exit_status(raising(KeyboardInterrupt())) == 130
    assert exit_status(raising(ValueError("no"))) == 1


def test_a_known_error_is_reported_without_a_traceback(capsys):
    exit_status(raising(DataError("the file is damaged", "it was not read", "another --file")))
    assert capsys.readouterr().err == (
        "error: the file is damaged\n  it was not read\n  try: another --file\n"
    )


@pytest.mark.parametrize("error", [DataError("the file is damaged"), ZeroDivisionError("by zero")])
def test_the_traceback_is_shown_with_debug_only(capsys, error):
    exit_status(raising(error))
    assert "Traceback" not in capsys.readouterr().err
    exit_status(raising(error), ["--debug"])
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "in main" in shown
    assert "error:" in shown


def test_remedies_name_other_commands_as_this_one_was_typed(capsys):
    error = DataError("there is no run", remedy="run_pipeline.py --outdir x")
    exit_status(raising(error), prog="train_refine_rf.py")
    assert "try: run_pipeline.py --outdir x" in capsys.readouterr().err
    exit_status(raising(error), prog="connectome refine-rf")
    assert "try: connectome run --outdir x" in capsys.readouterr().err


def test_an_unexpected_error_names_its_type_and_asks_for_a_report(capsys):
    exit_status(raising(ZeroDivisionError("by zero")))
    message = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in message
    assert "--debug" in message


def test_an_out_of_memory_error_suggests_a_smaller_cutout(capsys):
    exit_status(raising(MemoryError()))
    assert "--preset safe8gb" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_is_named(capsys, tmp_path):
    exit_status(lambda _argv: (tmp_path / "nowhere" / "x.csv").write_text(""))
    message = capsys.readouterr().err
    assert "nowhere/x.csv: No such file" in message
    assert "permissions" in message


def test_an_interruption_reports_that_earlier_results_are_unchanged(capsys):
    exit_status(raising(KeyboardInterrupt()))
    assert "earlier results are unchanged" in capsys.readouterr().err


def test_an_interruption_may_have_a_message_of_its_own(capsys):
    assert exit_status(raising(KeyboardInterrupt("2 corrections are in the log"))) == 130
    assert capsys.readouterr().err == "\ninterrupted; 2 corrections are in the log\n"


def test_a_closed_pipe_is_not_a_failure():
    code = (
        "from connectome.cli import arguments\n"
        "arguments.run(lambda argv: [print('x' * 100) for _ in range(10_000)] and None, [])"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0
