"""Imports point down between packages, heavy libraries load only where they are used."""

import ast
import subprocess
import sys

import pytest
from helpers.locations import ROOT

# From the lowest floor to the highest. A package imports from the floors below its own, and from
# itself; the longest name that fits a module is its package.
FLOORS = [
    ["core", "weights"],
    ["io", "phantom", "preprocess", "align", "membranes", "segment", "stitch", "synapses"],
    ["runlog", "graph", "evaluate", "triage", "refine"],
    ["cli", "fetch", "figures", "report", "proofread"],
    ["workflows"],
    ["proofread.session"],
    ["proofread.viewer"],
    ["cli.commands", "cli.main"],
]
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
HEAVY = {
    "torch": {"refine"},
    "napari": {"proofread.viewer"},
    "qtpy": {"proofread.viewer"},
    "sklearn": {"refine"},
    "matplotlib": {"figures"},
    "intern": {"fetch"},
    "h5py": {"io"},
    "tifffile": {"io"},
}
STAGES = ["preprocess", "align", "membranes", "segment", "stitch", "synapses", "graph"]
MODULES = {
    ".".join(path.relative_to(ROOT / "connectome").with_suffix("").parts): path
    for path in sorted((ROOT / "connectome").rglob("*.py"))
    if path.stem != "__main__"  # entry points may import from any floor
}


def package_of(name):
    """Return the package of a module, named without ``connectome.``."""
    fitting = [package for package in FLOOR_OF if f"{name}.".startswith(f"{package}.")]
    return max(fitting, key=len, default="")


def imported(path):
    """Return the full name of everything that importing a file may import, wherever in it."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path):
    """Return the modules of the package that a file imports, named without ``connectome.``."""
    return {
        name.removeprefix("connectome.")
        for name in imported(path)
        if name.startswith("connectome.") and package_of(name.removeprefix("connectome."))
    }


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    package = package_of(module)
    assert package or module == "__init__", f"{module} is on no floor"
    for name in ours(MODULES[module]):
        other = package_of(name)
        assert other == package or FLOOR_OF[other] < FLOOR_OF[package], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_imported_only_where_they_are_used(module):
    libraries = {name.split(".")[0] for name in imported(MODULES[module])}
    for library in libraries & set(HEAVY):
        assert package_of(module) in HEAVY[library], f"{module} imports {library}"


def test_packages_are_small_and_the_house_has_about_twenty_entries():
    folders = {path.parent for path in MODULES.values()} - {ROOT / "connectome"}
    for folder in folders:
        files = [path for path in folder.glob("*.py") if not path.stem.startswith("__")]
        assert len(files) <= 8, f"{folder.name} has {len(files)} modules"
    entries = [path for path in (ROOT / "connectome").iterdir() if not path.name.startswith("__")]
    assert len(entries) <= 22
    long = {m: n for m, p in MODULES.items() if (n := len(p.read_text().splitlines())) > 450}
    assert not long


def test_no_circles():
    """A module is reached from itself by no chain of imports at the top of modules."""
    graph = {
        module: {other for name in ours(path) for other in MODULES if leads_to(name, other)}
        for module, path in MODULES.items()
    }
    done = set()
    while len(done) < len(graph):
        free = {
            module for module in graph if module not in done and graph[module] - {module} <= done
        }
        assert free, f"in a circle: {sorted(set(graph) - done)}"
        done |= free


def leads_to(name, module):
    """Tell whether importing a name runs a module."""
    return name == module or name.rpartition(".")[0] == module


@pytest.mark.parametrize("stage", STAGES)
def test_stages_print_nothing_and_open_no_file(stage):
    for module, path in MODULES.items():
        if package_of(module) != stage or module in FILES:
            continue
        tree = ast.walk(ast.parse(path.read_text()))
        calls = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
        assert not calls & {"print", "open", "input", "np.save", "np.load", "Path"}, module


FILES = {"graph.formats"}


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


def test_the_pipeline_loads_nothing_that_draws_learns_or_downloads():
    loaded = loaded_by("import connectome.workflows.pipeline")
    assert not loaded & {*HEAVY, "requests", "imageio", "IPython"}


def test_the_command_line_stands_on_the_standard_library():
    loaded = loaded_by("import connectome.cli.arguments, connectome.core.params")
    assert not loaded & {"numpy", "scipy", "pandas", "skimage", "networkx", "tqdm"}


def test_every_stage_of_the_published_pipeline_has_its_name():
    stages = [
        "fetch",
        "preprocess",
        "align",
        "segment",
        "stitch",
        "synapses",
        "graph",
        "figures",
        "runlog",
    ]
    loaded_by("\n".join(f"import connectome.{stage}" for stage in stages))
