"""The command ``connectome``, its subcommands, and the scripts that are the same commands."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from helpers.locations import ROOT

from connectome import __version__, runlog
from connectome.cli import arguments
from connectome.cli.main import dispatch, main
from connectome.cli.programs import COMMANDS

SCRIPTS = {name: command.script for name, command in COMMANDS.items() if command.script}
HEAVY = {
    *("numpy", "scipy", "pandas", "skimage", "networkx", "matplotlib", "torch", "sklearn"),
    *("napari", "intern", "requests", "h5py", "tqdm"),
}


def connectome(*words):
    """Run the command in this process; return its exit status."""
    with pytest.raises(SystemExit) as end:
        arguments.run(dispatch, list(words), prog="connectome")
    return end.value.code


def python(*words):
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_the_subcommands_are_those_that_are_documented():
    assert list(COMMANDS) == [
        *("run", "proofread", "refine-rf", "refine-unet", "rebuild"),
        *("runs", "evaluate", "compare", "redraw"),
    ]


def test_help_lists_every_command_with_its_summary(capsys):
    assert connectome("--help") == 0
    shown = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split()[:1] == [name] and command.summary in line for line in shown)
        assert len(command.summary) < 80


def test_without_a_command_the_list_is_shown_and_the_status_is_that_of_a_usage_error(capsys):
    assert connectome() == 2
    assert "refine-unet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "meant"), [("refine-fr", "refine-rf"), ("proof-read", "proofread"), ("rn", "run")]
)
def test_an_unknown_command_is_a_usage_error_that_suggests_the_nearest(typed, meant, capsys):
    assert connectome(typed) == 2
    shown = capsys.readouterr().err
    assert f"unknown command {typed}; did you mean {meant}?" in shown
    assert "try: connectome --help" in shown


def test_the_version_is_that_of_the_package(capsys):
    assert connectome("--version") == 0
    assert capsys.readouterr().out == f"connectome {__version__}\n"


@pytest.mark.parametrize("words", [["--debug"], ["--dataset", "x"]])
def test_flags_without_a_command_are_a_usage_error(words, capsys):
    assert connectome(*words) == 2
    assert "connectome --help" in capsys.readouterr().err


def test_flags_before_the_command_are_reported_with_the_right_order(capsys):
    assert connectome("--debug", "run") == 2
    assert "the command comes first: connectome run --debug" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_names_it_as_it_was_typed(name, capsys):
    assert connectome(name, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: connectome {name} ")
    assert ".py" not in shown.replace(".npy", "")
    assert "%(prog)" not in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_errors_name_the_command_as_it_was_typed(name, capsys):
    words = {"evaluate": ["a", "b"], "compare": ["a", "b"]}.get(name, [])
    assert connectome(name, *words, "--quit") == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"connectome {name}: error: unknown argument --quit")
    assert f"try: connectome {name} --help" in shown


def test_remedies_name_subcommands(tmp_path, capsys):
    assert connectome("rebuild", "--outdir", str(tmp_path)) == 2
    assert f"try: connectome run --outdir {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "evaluate"])
def test_python_runs_the_package_as_the_command(name):
    shown = python("-m", "connectome", name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: connectome {name} ")


def test_the_entry_point_reads_the_arguments_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["connectome", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert __version__ in capsys.readouterr().out


# --- scripts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "script"), SCRIPTS.items())
def test_a_script_is_the_same_code_as_its_command(name, script):
    module, function = COMMANDS[name].main.split(":")
    imported = importlib.import_module(script.removesuffix(".py"))
    assert imported.main is getattr(importlib.import_module(module), function)
    assert len((ROOT / script).read_text().splitlines()) < 10


@pytest.mark.parametrize("script", SCRIPTS.values())
def test_a_script_names_itself_and_other_scripts(script):
    shown = python(script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: {script} ")
    assert "connectome re" not in shown.stdout
    shown = python(script, "--quit")
    assert shown.returncode == 2
    assert shown.stderr.startswith(f"{script}: error: unknown argument --quit")


@pytest.mark.parametrize(
    ("prog", "recorded"),
    [("run_pipeline.py", ["run_pipeline.py"]), ("connectome run", ["connectome", "run"])],
)
def test_the_run_log_records_the_command_as_it_was_typed(prog, recorded, tmp_path):
    words = ["--dataset", str(tmp_path / "absent.npy"), "--outdir", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        if prog == "connectome run":
            arguments.run(dispatch, ["run", *words], prog="connectome")
        else:
            arguments.run(importlib.import_module("run_pipeline").main, words, prog=prog)
    (past,) = runlog.read_history(tmp_path / "out")
    config = tmp_path / "out" / "runs" / f"{past.run_id}_config.json"
    assert json.loads(config.read_text())["command"] == [*recorded, *words]


# --- speed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_imports_nothing_heavy(name):
    words = ["--help"] if name is None else [name, "--help"]
    code = (
        "import sys\nfrom connectome.cli.main import dispatch\n"
        f"try:\n    dispatch({words})\nexcept SystemExit:\n    print(*sys.modules)"
    )
    shown = python("-c", code)
    loaded = {module.split(".")[0] for module in shown.stdout.splitlines()[-1].split()}
    assert not loaded & HEAVY


@pytest.mark.parametrize("words", [("-m", "connectome", "run"), ("run_pipeline.py",)])
def test_help_answers_within_0_3_seconds(words):
    def child_seconds():
        times = os.times()
        return times.children_user + times.children_system

    # CPU time, as other tests may be running; it is not available on Windows.
    began = child_seconds()
    assert python(*words, "--help").returncode == 0
    assert child_seconds() - began < 0.3
