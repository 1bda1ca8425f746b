"""What the documents promise exists: commands, flags, links, files, columns."""

import re
import shlex
import subprocess
from importlib.util import find_spec

import pytest
from locations import ROOT

import napari_proofread
import rebuild_graph_and_figures
import run_pipeline
import train_refine_rf
import train_unet2d_selftrain
from connectome import graph, synapses
from connectome.graph import diff
from connectome.io import paths
from connectome.triage import uncertainty

SCRIPTS = {
    f"{script.__name__}.py": script
    for script in (
        *(run_pipeline, napari_proofread, train_refine_rf, train_unet2d_selftrain),
        rebuild_graph_and_figures,
    )
}
DOCUMENTS = ("README.md", "MODEL_CARD.md", "DATASHEET.md")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def commands(name: str) -> list[list[str]]:
    """Return the words of every command in a document's shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", read(name), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(command, comments=True) for line in lines for command in line.split("&&")]


@pytest.mark.parametrize("words", [w for name in DOCUMENTS for w in commands(name)], ids=" ".join)
def test_a_command_in_the_documents_names_what_exists(words):
    program, *rest = words
    if program == ".venv/bin/pip":
        assert (ROOT / rest[rest.index("-r") + 1]).is_file()
    elif rest[0] == "-m":
        assert find_spec(rest[1])
    elif rest[0] in SCRIPTS:
        SCRIPTS[rest[0]]._parser().parse_args(rest[1:])
    else:
        source = read(rest[0])
        assert all(f'"{word}"' in source for word in rest if word.startswith("--"))


def test_flags_in_the_readme_are_those_of_the_program():
    named = set(re.findall(r"`(--[\w-]+)", read("README.md")))
    known = {
        flag for script in SCRIPTS.values() for flag in script._parser()._option_string_actions
    }
    assert named - known == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", read(name)):
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", read(path or name), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]


def test_the_datasheet_describes_the_files_of_the_layout():
    pattern = r"`((?:(?:data|tables|figures|runs)/|report)[^`*]+)`"
    described = set(re.findall(pattern, read("DATASHEET.md")))
    named = [value for name, value in vars(paths).items() if name.isupper()]
    files = {value for value in named if isinstance(value, str)}
    files |= {file for value in named if isinstance(value, dict) for file in value.values()}
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
        (paths.CHANGES, diff.COLUMNS),
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
    assert job.endswith("run_pipeline.py --preset safe8gb --dataset phantom://neuropil")
    assert tests.endswith("-m pytest")
