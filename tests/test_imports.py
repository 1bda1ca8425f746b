"""Imports point down: scripts over conductor over stages over sources over ground."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the lowest floor to the highest. A module imports from floors below its own and, on its own
# floor, from modules of its own line only: a stage, with its helpers, never knows another stage.
FLOORS = {
    "ground": [
        [
            *("__init__", "errors", "params", "volume", "truth", "layout", "draft", "tones"),
            "tablefiles",
            *("commandline", "progress", "retry", "contacts", "features", "network"),
            *("resolution", "plausibility"),
            *("training", "models", "matching", "correction"),
        ],
    ],
    "sources": [
        ["bossdb", "bossremote", "bossaddress", "slabcache"],
        ["stackfiles"],
        ["graphfiles"],
        ["phantom", "phantom_tissue", "phantom_organelles", "phantom_imaging"],
    ],
    "stages": [
        ["fetch"],
        ["preprocess"],
        ["align", "registration", "deformation"],
        ["evidence"],
        ["forest", "trees"],
        ["unet", "selftrain", "planes"],
        ["segment"],
        ["stitch", "anchors", "contraction", "enclosure", "organelles"],
        ["watershed"],
        ["segments"],
        ["synapses", "densities"],
        ["graph", "topology", "rewiring"],
        ["reviews"],
        ["changes"],
        ["proofread", "division", "voxelruns"],
        ["doubts"],
        ["brush"],
        [
            *("figures", "graph_figure", "style", "colouring", "graph_layout"),
            *("refine_figures", "comparison_figure"),
            *("figure_parts", "neurite_figures", "summary_figures"),
        ],
        ["evaluate"],
        ["runlog"],
    ],
    "conductor": [
        [
            *("console", "drawing", "road", "wiring", "known", "pipeline", "refine", "rebuild"),
            *("proofreading", "audit", "guide", "screen", "panel", "picture", "window"),
            *("comparison", "results", "redraw", "report", "sprites"),
        ],
    ],
    "scripts": [
        *(["run_pipeline"], ["rebuild_graph_and_figures"], ["napari_proofread"]),
        ["train_refine_rf"],
        ["train_unet2d_selftrain"],
    ],
}
FLOOR_OF = {
    module: floor
    for floor, lines in enumerate(FLOORS.values())
    for line in lines
    for module in line
}
HEAVY = {
    "torch": {"unet"},
    "napari": {"picture", "window"},
    "qtpy": {"panel", "window"},
    "sklearn": {"forest", "trees"},
    "matplotlib": {
        *("figures", "graph_figure", "style", "refine_figures", "comparison_figure"),
        *("figure_parts", "neurite_figures", "summary_figures"),
    },
    "intern": {"bossremote"},
    "h5py": {"stackfiles"},
    "tifffile": {"stackfiles"},
}


def sources():
    scripts = sorted(ROOT.glob("*.py"))
    return [*sorted((ROOT / "connectome").glob("*.py")), *scripts]


def is_program(statement):
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def imported(path, as_program=False):
    """Yield the full name of everything a file imports, wherever in it.

    What a file does only when it is run as a program is a script's business.
    """
    body = ast.parse(path.read_text()).body
    parts = [part for part in body if is_program(part) == as_program]
    for node in (node for part in parts for node in ast.walk(part)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Return the modules of the package that importing a file imports."""
    return inside(imported(path))


def inside(names):
    """Return the modules of the package among full names of imported things."""
    names = [name.split(".") for name in names]
    found = {parts[1] for parts in names if parts[0] == "connectome" and len(parts) > 1}
    return {name if name in FLOOR_OF else "__init__" for name in found}


def allowed(module):
    below = {other for other, floor in FLOOR_OF.items() if floor < FLOOR_OF[module]}
    lines = [line for floor in FLOORS.values() for line in floor if module in line]
    return below.union(*lines)


def test_every_module_has_a_floor():
    assert {path.stem for path in sources()} == set(FLOOR_OF)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_imports_point_down(path):
    assert ours(path) <= allowed(path.stem)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_a_module_run_as_a_program_hands_over_to_the_conductor(path):
    scripts = {module for line in FLOORS["scripts"] for module in line}
    assert not inside(imported(path, as_program=True)) & scripts


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_heavy_libraries_are_imported_only_where_they_are_used(path):
    packages = {name.split(".")[0] for name in imported(path)}
    for library, users in HEAVY.items():
        assert library not in packages or path.stem in users


@pytest.mark.parametrize(
    "module",
    # The log is a file, and figures end in files.
    [module for line in FLOORS["stages"] for module in line if module not in ("runlog", "figures")],
)
def test_stages_print_nothing_and_open_no_file(module):
    tree = ast.parse((ROOT / "connectome" / f"{module}.py").read_text())
    # A stage may be a small program of its own; what its main() does is a script's business.
    tree.body = [node for node in tree.body if getattr(node, "name", "") != "main"]
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"print", "open", "input", "np.save", "np.load", "Path"}


def loaded_by(code):
    """Return the top-level packages that are loaded after some code has run."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name.split(".")[0] for name in shown.splitlines()[-1].split()}


def test_the_conductor_loads_nothing_that_draws_learns_or_downloads():
    loaded = loaded_by("import connectome.pipeline")
    assert not loaded & {*HEAVY, "requests", "imageio", "IPython"}


def test_the_ground_the_command_line_stands_on_is_the_standard_library():
    loaded = loaded_by("import connectome.commandline, connectome.params, connectome.errors")
    assert not loaded & {"numpy", "scipy", "pandas", "skimage", "networkx", "tqdm"}
