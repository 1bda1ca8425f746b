"""The distribution: its version, dependencies, data files and commands."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.resources import files

import pytest
from helpers.locations import ROOT

from connectome import __version__
from connectome.weights import weights_path

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
# Distributions whose import name differs, and toolkits that come with another library.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "blosc": "intern",
    "dask": "napari",
    "qtpy": "napari",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
EXTRAS_OF_PACKAGE = {
    "connectome/proofread/": ["proofread"],
    "connectome/refine/": ["rf", "unet"],
}


def names(requirements):
    return {re.split(r"[\[<>=;]", each)[0].lower() for each in requirements}


def imported_distributions(path):
    """Return the distributions that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    modules -= {"connectome", *sys.stdlib_module_names}
    return {DISTRIBUTIONS.get(module, module) for module in modules}


def allowed(path):
    """Return the distributions that a file of the package may import."""
    name = path.relative_to(ROOT).as_posix()
    declared = names(PROJECT["dependencies"])
    for package, extras in EXTRAS_OF_PACKAGE.items():
        for extra in extras if name.startswith(package) else ():
            declared |= names(PROJECT["optional-dependencies"][extra])
    return declared


@pytest.mark.parametrize("path", sorted((ROOT / "connectome").rglob("*.py")), ids=lambda p: p.name)
def test_everything_imported_is_declared(path):
    assert imported_distributions(path) - allowed(path) == set()


def test_the_version_is_in_one_place_and_cited():
    assert PROJECT["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "connectome.__version__"
    }
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_reading_the_version_imports_nothing_else():
    code = "import sys, connectome; print(*(m for m in sys.modules if m.startswith('connectome.')))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.strip() == ""


def test_the_command_is_importable():
    module, function = PROJECT["scripts"]["connectome"].split(":")
    assert callable(getattr(import_module(module), function))


def test_all_data_files_are_declared_and_found():
    declared = PYPROJECT["tool"]["setuptools"]["package-data"]
    found = {
        path.relative_to(ROOT)
        for package, patterns in declared.items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    present = {
        path.relative_to(ROOT)
        for path in (ROOT / "connectome").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found == present
    assert weights_path("membrane_networks.json").is_file()
    assert (files("connectome") / "py.typed").is_file()


@pytest.mark.parametrize(
    ("file", "requirement"),
    [
        ("requirements-core.txt", "-e ."),
        ("requirements.txt", "-e .[all]"),
        ("requirements-dev.txt", "-e .[dev]"),
    ],
)
def test_requirement_files_point_to_the_project(file, requirement):
    lines = (ROOT / file).read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [requirement]


def test_extras_contain_each_other():
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"{PROJECT['name']}[proofread,rf,unet]"]
    assert f"{PROJECT['name']}[all]" in extras["dev"]
