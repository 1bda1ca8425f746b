"""The benchmark of the targets: what it says of numbers, and what it scores against what."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.locations import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import cases
import quality

from connectome.io import paths


def two_halves(shape=(3, 12, 20)):
    """Return a stack of two neurites side by side."""
    labels = np.ones(shape, np.int32)
    labels[:, :, 10:] = 2
    return labels


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    labels = two_halves()
    np.savez(folder / "stack.npz", labels=labels, labels_2d=labels)
    return cases.Case("case", folder, ())


@pytest.fixture
def leave(tmp_path):
    """Leave what a program leaves: labels and shifts."""

    def leave(labels, shifts=None):
        outdir = tmp_path / "out"
        for name in (paths.LABELS, paths.ALIGNMENT):
            (outdir / name).parent.mkdir(parents=True, exist_ok=True)
        shifts = np.zeros((len(labels), 2)) if shifts is None else shifts
        np.save(outdir / paths.LABELS, labels)
        (outdir / paths.ALIGNMENT).write_text(json.dumps({"shifts": np.asarray(shifts).tolist()}))
        return outdir

    return leave


def test_a_target_is_met_only_if_every_number_is_within_it():
    assert quality.Row("", (0.2, 1.9), (), (0.2, 1.9)).met == "yes"
    assert quality.Row("", (0.2, 1.9), (), (0.1, 2.0)).met == "no"
    assert quality.Row("", (), (), (0.1, 2.0)).met == ""


def test_a_line_shows_targets_and_numbers_and_leaves_empty_what_was_not_measured():
    row = quality.Row("what", (0.2, 1.9), (), (0.1234, 2.0))
    assert row.cells() == ("what", "0.2 / 1.9", "", "0.123 / 2.00", "no")


def test_truth_is_carried_through_the_shifts_that_were_applied(case, leave):
    shifted = np.roll(two_halves(), 4, axis=2)
    shifted[:, :, :4] = 1
    outdir = leave(shifted, [(0, 4)] * 3)
    assert quality.score_neurites(case, outdir) == pytest.approx((0, 0))
    assert quality.score_neurites(case, leave(shifted))[1] > 0.5


def test_sections_scored_by_themselves_do_not_mind_what_happens_across_them(case, leave):
    swapped = two_halves()
    swapped[1] = 3 - swapped[1]
    outdir = leave(swapped)
    assert quality.score_neurites(case, outdir)[1] > 0.5
    assert quality.score_sections(case, outdir) == pytest.approx((0, 0))


def test_profiles_apart_in_a_section_are_no_merger_where_the_truth_knows_profiles_only(case, leave):
    with np.load(case.folder / "stack.npz") as archive:
        true = archive["labels_2d"].copy()
    true[:, :, 9:11] = 0
    np.savez(case.folder / "stack.npz", labels_2d=true)
    outdir = leave((true > 0).astype(np.int32))
    assert quality.score_sections(case, outdir, "labels_2d")[1] > 0.5
    assert quality.score_sections(case, outdir, "labels_2d", True) == pytest.approx((0, 0))


def test_sections_that_were_all_moved_alike_were_not_moved(case, leave):
    assert quality.measure_displacement(case, leave(two_halves(), [(2, 5)] * 3)) == pytest.approx(
        (0,)
    )
    zigzag = [(0, 1), (0, -1), (0, 1), (0, -1)]
    assert quality.measure_displacement(
        case, leave(np.ones((4, 5, 5), int), zigzag)
    ) == pytest.approx((1,))


def test_known_shifts_are_added_to_a_stack(tmp_path):
    raw = np.random.default_rng(0).integers(1, 255, (4, 32, 32)).astype(np.uint8)
    case = cases._write_stack("noise", tmp_path, raw, (30, 8, 8), {})
    moved = cases.prepare_displaced(case, 5.0)
    with np.load(moved.folder / "stack.npz") as archive:
        assert archive["raw"].shape == raw.shape
        assert 2 < archive["shifts"].std() < 10
        # Shifts that undo what was added leave nothing of it.
        assert cases._residual(np.zeros((4, 2)), -archive["shifts"], moved.folder) < 1e-9
        assert cases._residual(np.zeros((4, 2)), np.zeros((4, 2)), moved.folder) > 2


def test_a_lean_is_left_over_and_next_to_no_jitter_between_neighbours(leave, tmp_path):
    outdir = leave(np.ones((60, 5, 5), int))

    def left(shifts):
        np.savez(tmp_path / "stack.npz", shifts=shifts)
        measures = (cases.residual_jitter, cases.residual_between_neighbours)
        return [measure(outdir, outdir, tmp_path) for measure in measures]

    whole, between = left(np.linspace((-3, 0), (3, 0), 60))
    assert whole > 1.7 and between < 0.08
    jitter = np.random.default_rng(0).normal(0, 1, (60, 2))
    assert left(jitter) == pytest.approx([2**0.5, 2**0.5], rel=0.15)


def test_stacks_that_are_not_there_are_skipped_with_a_word(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/quality.py"), "--data", str(tmp_path)]
    command += ["--only", "fib25", "isbi", "vnc", "--without-reference"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name in ("fib25_dev.npz", "isbi_dev.npz", "vnc_dev.npz"):
        assert f"{name} is not in {tmp_path}: skipped" in shown
    assert "| defaults | at most | this pipeline | met |" in shown
