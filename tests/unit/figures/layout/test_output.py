"""Figures as files: print-ready, reproducible, whole or not at all."""

import hashlib
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from helpers.figure_checks import SOURCE, assert_fit_to_print, candidates, stacks
from helpers.locations import ROOT
from matplotlib.image import AxesImage
from PIL import Image

from connectome.figures.alignment import draw_alignment
from connectome.figures.layout.output import write_figure
from connectome.figures.overview import draw_overview
from connectome.figures.synapses import draw_synapse_overlay


def shifted(shifts):
    return draw_alignment({"shifts": shifts}, (30, 8, 8))


@pytest.mark.parametrize(
    "shape, voxel_size",
    [
        ((1, 16, 16), (30, 8, 8)),
        ((200, 16, 16), (160, 8, 8)),
        ((2, 200, 200), (10, 10, 10)),
        ((12, 64, 512), (30, 4, 4)),
        ((5, 256, 64), (50, 4, 4)),
    ],
)
def test_pages_are_fit_to_print_at_any_size(shape, voxel_size):
    cutout, preprocessed, aligned, labels = stacks(shape, voxel_size)
    half = aligned.with_data(aligned.data.astype(np.float16))
    assert_fit_to_print(draw_overview(cutout, preprocessed, half, labels))
    assert_fit_to_print(draw_synapse_overlay(half, labels, candidates(shape, 30)))
    shifts = np.random.default_rng(0).normal(0, 1.5, (shape[0], 2)).cumsum(axis=0)
    optional = {"true_shifts": shifts + 3, "damaged_sections": [0], "confidence": np.ones(shape[0])}
    assert_fit_to_print(draw_alignment({"shifts": shifts} | optional, voxel_size, SOURCE))


RENDER = """
import hashlib, sys
from pathlib import Path
import networkx as nx, numpy as np
from connectome.figures.alignment import draw_alignment
from connectome.figures.layout.output import write_figure
from connectome.figures.network import draw_graph
out = Path(sys.argv[1])
graph = nx.DiGraph([(a, b, {"weight": 1.0 + a}) for a in range(9) for b in (a + 1, 0) if a != b])
write_figure(draw_graph(graph, "phantom"), out / "graph")
shifts = {"shifts": np.arange(12.0).reshape(6, 2)}
write_figure(draw_alignment(shifts, (30, 8, 8), "phantom"), out / "shifts")
assert "matplotlib.pyplot" not in sys.modules
for name in sorted(out.iterdir()):
    print(name.name, hashlib.sha256(name.read_bytes()).hexdigest())
"""


def test_the_same_figure_gives_the_same_bytes_in_every_process_without_pyplot(tmp_path):
    printed = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        folder.mkdir()
        run = subprocess.run(
            [sys.executable, "-c", RENDER, str(folder)],
            env={"PYTHONHASHSEED": hash_seed, "HOME": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(run.stdout)
    assert printed[0] == printed[1]
    assert len(printed[0].splitlines()) == 4


def test_the_users_matplotlib_settings_are_neither_used_nor_changed(tmp_path):
    shifts = np.arange(8.0).reshape(4, 2)
    write_figure(shifted(shifts), tmp_path / "plain" / "figure")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "pdf.fonttype": 3}):
        before = dict(matplotlib.rcParams)
        write_figure(shifted(shifts), tmp_path / "odd" / "figure")
        assert dict(matplotlib.rcParams) == before
    for kind in ("pdf", "png"):
        plain, odd = ((tmp_path / name / f"figure.{kind}") for name in ("plain", "odd"))
        assert (
            hashlib.sha256(plain.read_bytes()).digest() == hashlib.sha256(odd.read_bytes()).digest()
        )


def test_the_pdf_embeds_truetype_fonts_and_has_no_date(tmp_path):
    write_figure(shifted(np.zeros((4, 2))), tmp_path / "figure.v1")
    pdf = (tmp_path / "figure.v1.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_large_stack_gives_a_small_file_of_full_resolution(tmp_path):
    cutout, _, aligned, labels = stacks((2, 1024, 1024), (30, 4, 4))
    smooth = np.linspace(0, 1, cutout.data.size, dtype=np.float32).reshape(cutout.shape)
    cutout.data[:], aligned.data[:] = 255 * smooth, smooth
    write_figure(draw_overview(cutout, smooth, aligned, labels), tmp_path / "figure")
    png = tmp_path / "figure.png"
    assert png.stat().st_size < 1.5e6
    with Image.open(png) as image:
        assert image.width == pytest.approx(178 / 25.4 * 200, abs=1)


def test_a_failed_write_leaves_the_previous_files(tmp_path):
    write_figure(shifted(np.zeros((4, 2))), tmp_path / "figure")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    broken = shifted(np.ones((4, 2)))
    broken.axes[0].add_artist(AxesImage(broken.axes[0]))  # cannot be drawn without data
    with pytest.raises((AttributeError, RuntimeError)):
        write_figure(broken, tmp_path / "figure")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
