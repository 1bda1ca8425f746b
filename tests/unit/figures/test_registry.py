"""The registry is complete: every figure can be drawn from what a run leaves."""

import inspect
import subprocess
import sys

import pytest
from helpers.locations import ROOT

from connectome.figures import FIGURES, REFINER_FIGURES
from connectome.io.run_folder import RunFolder

SPECS = [*FIGURES.values(), *REFINER_FIGURES.values()]


@pytest.mark.parametrize("figure", SPECS, ids=lambda figure: figure.name)
def test_every_function_takes_what_its_figure_needs(figure):
    parameters = inspect.signature(figure.import_function()).parameters
    required = {
        name for name, each in parameters.items() if each.default is inspect.Parameter.empty
    }
    assert required <= set(figure.needs) <= set(parameters)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=lambda figure: figure.name)
def test_everything_needed_can_be_read_from_an_output_folder(figure):
    assert all(hasattr(RunFolder, name) for name in set(figure.needs) - {"labels"})


def test_names_and_files_are_unique_and_agree():
    assert len({figure.stem for figure in SPECS}) == len(SPECS)
    for name, figure in FIGURES.items():
        assert figure.name == name
        assert figure.stem.startswith(f"figures/{name}_")


def test_captions_of_undirected_graphs_name_no_direction():
    for figure in FIGURES.values():
        caption = figure.caption_for(directed=False)
        assert "arrow" not in caption.lower() and "synaptic" not in caption


def test_the_registry_does_not_import_matplotlib():
    code = "import connectome.figures, sys; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
