"""The command line all scripts share: spellings, near misses, messages and exit codes."""

import argparse
import importlib
import os
import re
import subprocess
import sys

import pytest
from locations import ROOT

from connectome import __version__
from connectome.cli import arguments
from connectome.cli.arguments import Parser
from connectome.core.errors import ConnectomeError, DataError, UsageError


@pytest.fixture
def parser():
    parser = Parser(prog="tool")
    parser.add_argument("--save_minimal", action="store_true")
    parser.add_argument("--no-align", action="store_true")
    parser.add_argument("--boss_host", default="")
    parser.add_argument("files", nargs="*")
    return parser


def ending(main, argv=()):
    """Return the exit status of a program whose ``main`` this is."""
    with pytest.raises(SystemExit) as end:
        arguments.run(main, list(argv))
    return end.value.code


def raising(error):
    def main(_argv):
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


def test_words_that_are_no_flags_keep_their_spelling(parser):
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


def test_a_flag_like_no_other_gets_no_suggestion(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["--zzz"])
    message = capsys.readouterr().err
    assert "--zzz" in message
    assert "did you mean" not in message
    assert "tool --help" in message


def test_flags_are_never_guessed_from_their_beginning(parser):
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
def test_numbers_are_read(kind, text, value):
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
def test_what_is_no_such_number_is_refused_by_name(kind, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(text))):
            kind(text)


@pytest.mark.parametrize(
    "script",
    [
        "run_pipeline",
        "train_refine_rf",
        "train_unet2d_selftrain",
        "connectome.cli.commands.compare",
    ],
)
def test_every_script_refuses_a_seed_that_not_everything_takes(script, capsys):
    words = ["compare", "a", "b"] if script == "connectome.cli.commands.compare" else []
    with pytest.raises(SystemExit) as end:
        importlib.import_module(script).main([*words, "--seed", "99999999999"])
    assert end.value.code == 2
    assert "from 0 to 4294967295" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("run_pipeline", ["outdir", "ground_truth"]),
        ("rebuild_graph_and_figures", ["outdir", "ground_truth"]),
        ("napari_proofread", ["outdir"]),
        ("train_refine_rf", ["outdir", "ground_truth", "apply"]),
        ("train_unet2d_selftrain", ["outdir", "ground_truth", "apply"]),
    ],
)
def test_every_script_finds_the_home_of_a_path_that_the_shell_left_as_typed(
    script, flags, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    parser = importlib.import_module(script)._parser()
    args = parser.parse_args([f"--{flag}=~/a/b" for flag in flags])
    assert {getattr(args, flag) for flag in flags} == {"/home/ada/a/b"}


def test_the_version_is_told(parser, capsys):
    assert ending(parser.parse_args, ["--version"]) == 0
    assert capsys.readouterr().out == f"connectome {__version__}\n"


# --- endings ------------------------------------------------------------------------------------


def test_exit_statuses():
    assert ending(lambda _argv: None) == 0
    assert ending(lambda _argv: 3) == 3
    assert ending(raising(ConnectomeError("no"))) == 1
    assert ending(raising(DataError("no"))) == 1
    assert ending(raising(UsageError("no"))) == 2
    assert ending(raising(KeyboardInterrupt())) == 130
    assert ending(raising(ValueError("no"))) == 1


def test_a_known_error_is_told_in_words_without_a_traceback(capsys):
    ending(raising(DataError("it is torn", "nothing was sewn", "needle --and thread")))
    assert capsys.readouterr().err == (
        "error: it is torn\n  nothing was sewn\n  try: needle --and thread\n"
    )


@pytest.mark.parametrize("error", [DataError("it is torn"), ZeroDivisionError("by zero")])
def test_the_traceback_is_shown_with_debug_only(capsys, error):
    ending(raising(error))
    assert "Traceback" not in capsys.readouterr().err
    ending(raising(error), ["--debug"])
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "in main" in shown
    assert "error:" in shown


def test_an_unforeseen_error_names_its_type_and_asks_for_a_report(capsys):
    ending(raising(ZeroDivisionError("by zero")))
    message = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in message
    assert "--debug" in message


def test_too_little_memory_suggests_a_smaller_cutout(capsys):
    ending(raising(MemoryError()))
    assert "--preset safe8gb" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_is_named(capsys, tmp_path):
    ending(lambda _argv: (tmp_path / "nowhere" / "x.csv").write_text(""))
    message = capsys.readouterr().err
    assert "nowhere/x.csv: No such file" in message
    assert "permissions" in message


def test_an_interruption_says_that_earlier_results_stand(capsys):
    ending(raising(KeyboardInterrupt()))
    assert "earlier results are as they were" in capsys.readouterr().err


def test_an_interruption_may_say_what_it_leaves(capsys):
    assert ending(raising(KeyboardInterrupt("2 corrections are in the log"))) == 130
    assert capsys.readouterr().err == "\ninterrupted; 2 corrections are in the log\n"


def test_a_reader_that_goes_away_is_no_failure():
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
