"""What the documents promise exists: commands, flags, links, files, columns."""

import re
import shlex
import subprocess
from importlib.util import find_spec

import include_scores
import pytest
from helpers.locations import ROOT

from connectome import graph, synapses
from connectome.cli.commands import proofread, rebuild, refine, run
from connectome.cli.programs import COMMANDS
from connectome.figures import FIGURES, REFINER_FIGURES
from connectome.graph import diff
from connectome.io import paths
from connectome.triage import uncertainty

PARSERS = {
    "run_pipeline.py": run.build_parser,
    "napari_proofread.py": proofread.build_parser,
    "train_refine_rf.py": refine.build_rf_parser,
    "train_unet2d_selftrain.py": refine.build_unet_parser,
    "rebuild_graph_and_figures.py": rebuild.build_parser,
}
DOCUMENTS = [str(path.relative_to(ROOT)) for path in include_scores.DOCUMENTS]
KNOWN_PROGRAMS = (
    "python3",
    "git",
    "cd",
    ".ci/run",
    "xvfb-run",
    ".venv/bin/ruff",
    ".venv/bin/mypy",
    ".venv/bin/pre-commit",
)
PYTHON = (".venv/bin/python", "python")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def commands(name: str) -> list[list[str]]:
    """Return the words of every command in a document's shell blocks and of those quoted inline."""
    blocks = re.findall(r"```bash\n(.*?)```", read(name), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", read(name), flags=re.DOTALL).replace("\n", " ")
    lines += re.findall(rf"`((?:python -m |{'|'.join(PARSERS)})[^`]*)`", prose)
    return [shlex.split(command, comments=True) for line in lines for command in line.split("&&")]


@pytest.mark.parametrize(
    "words", [w for name in DOCUMENTS for w in commands(name) if w], ids=" ".join
)
def test_a_command_in_the_documents_names_what_exists(words):
    program, *rest = words
    if program in PYTHON:
        program, *rest = rest
    if program in PARSERS:
        if not {"--help", "--version"} & set(rest):
            PARSERS[program](program).parse_args(rest)
    elif program.endswith("connectome"):
        assert rest[0] in {*COMMANDS, "--help", "--version"}
    elif program == "-m":
        assert find_spec(rest[0])
    elif program.endswith("pip"):
        assert "-r" not in rest or (ROOT / rest[rest.index("-r") + 1]).is_file()
    elif program.startswith("benchmarks/") or program.startswith("docs/"):
        source = read(program) + read("benchmarks/scores.py")  # which adds --save
        assert all(f'"{word}"' in source for word in rest if word.startswith("--"))
    else:
        assert program in KNOWN_PROGRAMS, program


@pytest.mark.parametrize("name", DOCUMENTS)
def test_flags_in_the_documents_are_those_of_the_programs(name):
    programs = [*PARSERS, *ROOT.glob("connectome/cli/**/*.py"), *ROOT.glob("benchmarks/*.py")]
    known = {flag for path in programs for flag in re.findall(r'"(--[\w-]+)"', read(path))}
    assert set(re.findall(r"`(--[\w-]+)", read(name))) - known - {"--help"} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", read(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        document = (ROOT / name).parent / path if path else ROOT / name
        assert document.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_the_documents_exist(name):
    named = re.findall(r"`((?:connectome|tests|benchmarks|docs)/[\w./-]+)`", read(name))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_imports_in_the_documents_work(name):
    for block in re.findall(r"```python\n(.*?)```", read(name), re.DOTALL):
        imports = [line for line in block.splitlines() if re.match("(from|import) ", line)]
        exec("\n".join(imports), {})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_of_scores_are_as_measured(name):
    assert read(name) == include_scores.include(read(name)), "run python docs/include_scores.py"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_scores_are_typed_nowhere_else(name):
    prose = include_scores.INCLUDED.sub("", read(name))
    assert re.findall(r"\d\.\d\d+ / \d\.\d", prose) == []


def test_the_drawing_of_the_architecture_shows_every_package():
    drawn = set(re.findall(r">([\w.]+)</text>", read("docs/architecture.svg")))
    modules = (ROOT / "connectome").glob("[!_]*")
    packages = {path.stem for path in modules if path.is_dir() or path.suffix == ".py"}
    assert packages <= {name.split(".")[0] for name in drawn}
    for package in packages - {"cli"}:
        assert f"`{package}`" in read("docs/architecture.md")


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 200


def test_the_datasheet_describes_the_files_of_the_layout():
    pattern = r"`((?:(?:data|tables|figures|runs)/|report)[^`*]+)`"
    described = set(re.findall(pattern, read("DATASHEET.md")))
    named = [value for name, value in vars(paths).items() if name.isupper()]
    files = {value for value in named if isinstance(value, str)}
    files |= {file for value in named if isinstance(value, dict) for file in value.values()}
    files |= {figure.stem for figure in (*FIGURES.values(), *REFINER_FIGURES.values())}
    runs = {"runs/<run_id>_config.json", f"{paths.MODELS}/"}
    assert described == (files - {paths.MODELS}) | runs


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        (paths.SEGMENTS, uncertainty.SEGMENT_COLUMNS),
        (paths.MERGE_LOG, uncertainty.MERGE_COLUMNS),
        (paths.SYNAPSES, synapses.COLUMNS),
        (paths.NODES, graph.NODE_COLUMNS),
        (paths.EDGES, graph.EDGE_COLUMNS),
        (paths.CONTACTS, graph.CONTACT_COLUMNS),
        (paths.REBUILD_CHANGES, diff.COLUMNS),
    ],
)
def test_the_datasheet_describes_every_column_in_order(file, columns):
    section = read("DATASHEET.md").split(f"`{file}`:")[1].split("`tables/")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*columns, "source"]


def test_continuous_integration_runs_the_commands_of_the_readme():
    patterns = re.findall(r"from_readme '(.+)'", read(".ci/run"))
    found = [
        subprocess.run(
            ["grep", "-E", pattern, ROOT / "README.md"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for pattern in patterns
    ]
    assert [len(lines) for lines in found] == [1, 1]
    (job,), (tests,) = found
    assert "run_pipeline.py --preset safe8gb --dataset phantom://neuropil" in job
    assert tests.endswith("-m pytest -n auto")
