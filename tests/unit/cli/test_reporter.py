"""Messages, progress bars and the run log behind one interface."""

import io
from contextlib import redirect_stderr

import pytest

from connectome import runlog
from connectome.cli.programs import COMMANDS, name_programs
from connectome.cli.reporter import Reporter


class Terminal(io.StringIO):
    """A stream that progress bars take for a terminal."""

    def isatty(self):
        return True


def stderr_of_a_stage(reporter, stream, total=4):
    """Return what a stage of four steps writes to standard error."""
    with redirect_stderr(stream), reporter.stage("align", total, "sections") as stage:
        stage.progress(4)
    return stream.getvalue()


def test_messages_go_to_standard_output_and_warnings_to_standard_error(capsys):
    reporter = Reporter()
    reporter.message("source      phantom://neuropil")
    reporter.warn("section 3 is blank")
    shown = capsys.readouterr()
    assert shown.out == "source      phantom://neuropil\n"
    assert shown.err == "note: section 3 is blank\n"


def test_a_quiet_reporter_prints_warnings_only(capsys):
    reporter = Reporter(quiet=True)
    reporter.message("source      phantom://neuropil")
    reporter.warn("section 3 is blank")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "section 3 is blank" in shown.err


def test_long_warnings_are_wrapped(capsys):
    Reporter().warn("word " * 60)
    assert max(map(len, capsys.readouterr().err.splitlines())) <= 100


def test_a_stage_is_timed_and_its_counts_are_in_the_log(tmp_path):
    with runlog.record_run(tmp_path, {}, "phantom://neuropil", (1, 1, 1)) as run:
        reporter = Reporter(quiet=True).for_run(run)
        with reporter.stage("synapses", total=3) as stage:
            stage.progress(3)
            stage.counts["candidates"] = 5
        reporter.metric("segmentation/are", 0.25)
    (past,) = runlog.read_history(tmp_path)
    assert [(stage.name, stage.counts) for stage in past.stages] == [
        ("synapses", {"candidates": 5})
    ]
    assert past.stages[0].seconds > 0
    assert past.metrics == {"segmentation/are": 0.25}


def test_a_stage_that_fails_is_in_the_log(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        runlog.record_run(tmp_path, {}, "phantom://neuropil", (1, 1, 1)) as run,
        Reporter(quiet=True).for_run(run).stage("synapses"),
    ):
        raise ZeroDivisionError
    (past,) = runlog.read_history(tmp_path)
    assert (past.status, [stage.name for stage in past.stages]) == ("failed", ["synapses"])


def test_without_a_run_stages_and_metrics_are_not_recorded():
    reporter = Reporter(quiet=True)
    with reporter.stage("synapses") as stage:
        stage.counts["candidates"] = 5
        stage.progress(1)
    reporter.metric("segmentation/are", 0.25)


def test_progress_is_shown_on_a_terminal():
    shown = stderr_of_a_stage(Reporter(), Terminal())
    assert "align" in shown
    assert "sections" in shown


def test_no_progress_is_shown_when_quiet_or_without_a_terminal_or_a_total():
    assert stderr_of_a_stage(Reporter(quiet=True), Terminal()) == ""
    assert stderr_of_a_stage(Reporter(), io.StringIO()) == ""
    assert stderr_of_a_stage(Reporter(), Terminal(), total=None) == ""


def test_timings_name_every_stage(tmp_path, capsys):
    with runlog.record_run(tmp_path, {}, "phantom://neuropil", (1, 1, 1)) as run:
        reporter = Reporter().for_run(run)
        for name in ("fetch", "align"):
            with reporter.stage(name):
                pass
        reporter.report_timings()
    assert "(fetch 0.0, align 0.0); peak memory" in capsys.readouterr().out


# --- names of commands --------------------------------------------------------------------------


def test_messages_name_scripts_in_a_checkout_and_subcommands_in_an_installation(capsys):
    message = "next: rebuild_graph_and_figures.py --outdir outputs --labels rf"
    Reporter(prog="train_refine_rf.py").message(message)
    Reporter(prog="connectome refine-rf").message(message)
    first, second = capsys.readouterr().out.splitlines()
    assert first == message
    assert second == "next: connectome rebuild --outdir outputs --labels rf"


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].script])
def test_every_script_has_the_name_of_its_subcommand(name):
    script = COMMANDS[name].script
    assert (
        name_programs(f"try: {script} again", "connectome run") == f"try: connectome {name} again"
    )
    assert name_programs(f"try: {script} again", script) == f"try: {script} again"


def test_an_installation_is_completed_from_the_index():
    remedy = "pip install -r requirements.txt"
    assert name_programs(remedy, "train_refine_rf.py") == remedy
    assert "connectome-draft[all]" in name_programs(remedy, "connectome refine-rf")


def test_paths_of_scripts_are_left_as_they_are():
    text = "python /src/run_pipeline.py"
    assert name_programs(text, "connectome run") == text
