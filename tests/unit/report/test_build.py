"""The report: the same data as in the files, on one page that works offline."""

import base64
import io
import json
import re
import time
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from connectome.cli.reporter import Reporter
from connectome.core.errors import DataError
from connectome.core.params import RunConfig, Source
from connectome.core.volume import Volume
from connectome.figures import FIGURES
from connectome.io import paths
from connectome.io.run_folder import RunFolder
from connectome.io.volumes import write_volume
from connectome.report import encoding, write_report
from connectome.report.viewer import MAX_EDGES, MAX_NODES
from connectome.workflows import pipeline

CONFIG = RunConfig(Source("phantom://neuropil", (160, 160, 24), seed=7), fall_back_to_phantom=False)
NM = (30.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def outdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pipeline.run(replace(CONFIG, outdir=str(folder)), Reporter(quiet=True))
    return folder


@pytest.fixture(scope="module")
def page(outdir):
    return Page((outdir / paths.REPORT).read_text())


class Page(HTMLParser):
    """What is in a page: tags with their attributes, the text of scripts, and all other text."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.scripts, self.text = html, [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self.cdata_elem is None:
            self.text += data

    @property
    def data(self):
        return json.loads(next(text for tag, text in self.scripts if tag.get("id") == "data"))

    @property
    def tables(self):
        files = [tag["data-file"] for _, tag in self.tags if "data-file" in tag]
        typed = [text for tag, text in self.scripts if tag.get("type") == "application/json"]
        return dict(zip(files, map(json.loads, typed), strict=False))


def write_small(folder, labels, synapses=(), nodes=(), edges=(), source="stack.npy"):
    """Leave the least that a report can be made from."""
    rng = np.random.default_rng(0)
    volume = Volume(rng.random(labels.shape, np.float32), NM, source=source)
    write_volume(folder / paths.ALIGNED["float32"], volume)
    write_volume(folder / paths.LABELS, volume.with_data(labels.astype(np.int32)))
    columns = {
        paths.SYNAPSES: ["z", "y", "x", "pre_id", "post_id", "score", "post_ids"],
        paths.NODES: ["node", "n_pre", "n_post"],
        paths.EDGES: ["pre_id", "post_id", "n_synapses", "weight"],
    }
    (folder / "tables").mkdir(exist_ok=True)
    for (name, names), rows in zip(columns.items(), (synapses, nodes, edges), strict=True):
        pd.DataFrame(rows, columns=names).to_csv(folder / name, index=False)
    return folder


def report(folder):
    write_report(
        folder / paths.REPORT,
        RunFolder(folder),
        log_folder=folder,
        figures=list(FIGURES.values()),
    )
    return Page((folder / paths.REPORT).read_text())


# --- what is in it --------------------------------------------------------------------------------


def test_the_stack_in_the_page_is_that_of_the_files(outdir, page):
    data, labels = page.data, np.load(outdir / paths.LABELS)
    kind = {2: "<u2", 4: "<u4"}[data["bytes"]]
    index = np.frombuffer(zlib.decompress(base64.b64decode(data["labels"])), kind)
    np.testing.assert_array_equal(np.array(data["ids"])[index].reshape(labels.shape), labels)
    aligned = np.load(outdir / paths.ALIGNED["float32"]).astype(float)
    for section, packed in zip(aligned, data["sections"], strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(packed)))
        assert np.abs(np.asarray(image) / 255 - section).mean() < 0.03


def test_tables_in_the_page_are_the_files_byte_for_byte(outdir, page):
    assert {"synapse_candidates.csv", "graph_edges.csv", "segments.csv"} <= set(page.tables)
    for name, text in page.tables.items():
        assert text.encode() == (outdir / "tables" / name).read_bytes()


def test_synapses_and_graph_in_the_page_are_those_of_the_tables(outdir, page):
    data = page.data
    synapses = pd.read_csv(outdir / paths.SYNAPSES, dtype={"post_ids": str})
    assert [s[:4] for s in data["synapses"]] == synapses[["z", "y", "x", "pre_id"]].values.tolist()
    assert [";".join(map(str, s[4])) for s in data["synapses"]] == synapses["post_ids"].tolist()
    edges = pd.read_csv(outdir / paths.EDGES)
    assert {tuple(e[:2]) for e in data["graph"]["edges"]} == set(
        zip(edges["pre_id"], edges["post_id"], strict=True)
    )
    nodes = pd.read_csv(outdir / paths.NODES)["node"]
    assert {node for node, *_ in data["graph"]["nodes"]} == set(nodes)


def test_every_figure_is_in_the_page_with_its_caption_as_alternative_text(outdir, page):
    images = [tag for name, tag in page.tags if name == "img"]
    assert len(images) == len(FIGURES)
    for tag, figure in zip(images, FIGURES.values(), strict=True):
        kind, packed = tag["src"].split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(packed) == (outdir / f"{figure.stem}.png").read_bytes()
        assert tag["alt"] == figure.caption


def test_the_page_states_run_details_scores_and_limitations(outdir, page):
    scores = json.loads((outdir / paths.EVALUATION).read_text())
    for text in (
        *("Synthetic tissue", "160 × 160 × 24 voxels", "30 nm", "1.28 × 1.28 × 0.72 µm"),  # noqa: RUF001
        *(f"{scores['segmentation']['are']:.3f}", f"F1 {scores['synapses']['200']['f1']:.2f}"),
        *(f"numpy {np.__version__}", "graph 0."),
        *("heuristic", "leave the field of view", "Most uncertain neurites"),
    ):
        assert text in page.text, text


def test_the_page_contains_no_address_to_load_anything_from(page):
    loading = [
        value
        for _, tag in page.tags
        for name, value in tag.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert len(loading) > len(FIGURES)
    assert all(value.startswith(("data:", "#")) for value in loading)
    assert not re.search(r"url\(|@import", page.html.split("<style>")[1].split("</style>")[0])
    policy = next(tag["content"] for _, tag in page.tags if "http-equiv" in tag)
    assert "default-src 'none'" in policy and "http" not in policy


def test_without_ground_truth_the_page_states_that_nothing_was_evaluated(tmp_path):
    page = report(write_small(tmp_path, np.ones((3, 8, 8))))
    assert "Not evaluated" in page.text and "Synthetic" not in page.text


def test_names_cannot_break_out_of_the_page(tmp_path):
    evil = "</script><script>alert(1)</script><b>.npy"
    page = report(write_small(tmp_path, np.ones((3, 8, 8)), source=evil))
    assert "alert(1)" in page.text
    assert not [text for _, text in page.scripts if text.startswith("alert")]


def test_a_table_cannot_break_out_of_the_page_either(tmp_path):
    folder = write_small(tmp_path, np.ones((3, 8, 8)))
    text = "id,reason\n1,</script><!--<script>\n"
    (folder / paths.SEGMENTS).write_text(text)
    assert report(folder).tables["segments.csv"] == text


# --- what a stack becomes -------------------------------------------------------------------------


def test_ids_of_any_size_are_numbered_consecutively():
    labels = np.array([[[0, 5, 2**31 - 1], [5, 5, 7]]], np.int32)
    ids, index = encoding.renumber_ids(labels)
    assert ids.tolist() == [0, 5, 7, 2**31 - 1]
    np.testing.assert_array_equal(ids[index], labels)


def test_a_neurite_is_located_inside_its_largest_profile():
    labels = np.zeros((4, 9, 9), np.int32)
    labels[1, 4, 4], labels[2, 2:7, 2], labels[2, 2, 2:7] = 3, 3, 3
    ids, index = encoding.renumber_ids(labels)
    z, y, x = encoding.locate_neurites(index, len(ids))[1]
    assert z == 2 and labels[z, y, x] == 3


def test_large_stacks_are_shown_at_a_fraction_of_their_resolution():
    assert encoding.choose_step((48, 192, 192)) == 1
    step = encoding.choose_step((100, 1024, 1024))
    assert 100 * 1024 * 1024 / step**2 <= encoding.MAX_VOXELS
    stack, labels = np.random.default_rng(0).random((2, 1, 33, 50))
    _, index = encoding.renumber_ids((labels * 9).astype(int), 4)
    image = Image.open(io.BytesIO(base64.b64decode(encoding.encode_sections(stack, 4)[0])))
    assert image.size == index.shape[:0:-1] == (13, 9)


# --- much, little, and damaged --------------------------------------------------------------------


def many(count, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.arange(1, count + 1)
    labels = np.concatenate([ids, rng.integers(1, count, 4 * 160 * 160 - count)])
    pre, post = rng.integers(1, count + 1, (2, 2 * count))
    edges = pd.DataFrame({"pre_id": pre, "post_id": post}).drop_duplicates()
    edges = edges.assign(n_synapses=1, weight=rng.random(len(edges)))
    nodes = [(node, 1, 1) for node in ids]
    return labels.reshape(4, 160, 160), nodes, edges


def test_fifty_thousand_neurites_fit_into_a_page(tmp_path):
    labels, nodes, edges = many(50_000)
    folder = write_small(tmp_path, labels, nodes=nodes, edges=edges.to_numpy(object).tolist())
    began = time.process_time()
    page = report(folder)
    assert time.process_time() - began < 15
    assert (folder / paths.REPORT).stat().st_size < 15e6
    assert len(page.data["graph"]["nodes"]) == MAX_NODES
    assert 0 < len(page.data["graph"]["edges"]) <= MAX_EDGES
    assert re.search(r"[\d,]+ more rows are in tables/graph_edges.csv", page.text)


@pytest.mark.parametrize("name", [paths.SYNAPSES, paths.EDGES, paths.NODES, paths.LABELS])
def test_a_report_that_cannot_be_written_leaves_the_previous_one(tmp_path, name):
    folder = write_small(tmp_path, np.ones((3, 8, 8)))
    report(folder)
    before = (folder / paths.REPORT).read_bytes()
    (folder / name).unlink()
    with pytest.raises(DataError, match=name.split("/")[-1]):
        report(folder)
    assert (folder / paths.REPORT).read_bytes() == before


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def browser(chromium, outdir):
    chromium.open((outdir / paths.REPORT).as_uri())
    return chromium


@pytest.fixture(scope="module")
def strongest(outdir):
    """The connection that a reader would look at first."""
    return pd.read_csv(outdir / paths.EDGES).iloc[0]


def place_on_screen(browser, z, y, x, shape):
    """Bring a voxel into view and return where it is in the window."""
    browser.ask(f"document.getElementById('z').value = {z}")
    browser.ask("document.getElementById('z').dispatchEvent(new Event('input'))")
    browser.ask("document.getElementById('slice').scrollIntoView({behavior: 'instant'})")
    box = browser.ask(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.getElementById('slice').getBoundingClientRect())"
    )
    left, top, width, height = box
    return left + (x + 0.5) / shape[2] * width, top + (y + 0.5) / shape[1] * height


def a_voxel_of(labels, neurite):
    z, y, x = np.argwhere(labels == neurite).T
    middle = len(z) // 2
    return z[middle], y[middle], x[middle]


def text_of(browser, name):
    return browser.ask(f"document.getElementById('{name}').textContent")


def test_the_page_loads_without_errors_and_requests_nothing(browser):
    assert browser.complaints() == []
    assert {url.split(":")[0] for url in browser.requests()} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in browser.requests()) == 1


def test_keys_go_through_the_sections(browser):
    browser.ask("document.getElementById('slice').focus()")
    shown = []
    for key in ("Home", "ArrowDown", "ArrowRight", "ArrowUp", "PageDown", "End", "ArrowDown"):
        browser.key(key)
        shown.append(text_of(browser, "z-value").split(" / ")[0])
    assert shown == ["0", "1", "2", "1", "11", "23", "23"]


def test_tab_reaches_slider_switches_slice_and_search_in_order(browser):
    browser.ask("document.querySelector('#explore').setAttribute('tabindex', '-1')")
    browser.ask("document.querySelector('#explore').focus()")
    reached = []
    for _ in range(6):
        browser.key("Tab")
        reached.append(browser.ask("document.activeElement.id"))
    assert reached == ["z", "em", "labels", "synapses", "slice", "neurite-id"]


def test_hovering_shows_the_neurite(browser, outdir):
    labels = np.load(outdir / paths.LABELS)
    z, y, x = a_voxel_of(labels, labels[12, 80, 80])
    browser.mouse("mouseMoved", *place_on_screen(browser, z, y, x, labels.shape))
    assert f"Neurite {labels[z, y, x]} · x {x}, y {y}, z {z}" in text_of(browser, "hover")


def test_a_click_on_a_neurite_shows_its_partners_and_finds_it_in_the_graph(
    browser, outdir, strongest
):
    labels = np.load(outdir / paths.LABELS)
    pre, post = int(strongest["pre_id"]), int(strongest["post_id"])
    before = browser.ask("document.getElementById('slice').toDataURL()")
    browser.click(*place_on_screen(browser, *a_voxel_of(labels, pre), labels.shape))
    selection = text_of(browser, "selection")
    assert f"Neurite {pre}" in selection
    outputs = selection.split("Inputs from")[0].split("Outputs to: ")[1]
    assert str(post) in re.findall(r"\d+", outputs)
    selected = "document.getElementById('graph')._cyreg.cy.$('.selected').map((node) => node.id())"
    assert browser.ask(selected) == [str(pre)]
    assert browser.ask("document.getElementById('slice').toDataURL()") != before
    browser.wait(f"location.hash.includes('pick={pre}')")
    browser.key("Escape")
    assert "No neurite is selected" in text_of(browser, "selection")
    assert browser.ask(selected) == []


def test_a_click_in_the_graph_leads_to_the_neurite(browser, outdir, strongest):
    pre = int(strongest["pre_id"])
    browser.ask("document.getElementById('graph').scrollIntoView({behavior: 'instant'})")
    x, y = browser.ask(
        "(() => { const cy = document.getElementById('graph')._cyreg.cy;"
        f"const spot = cy.getElementById('{pre}').renderedPosition();"
        "const box = document.getElementById('graph').getBoundingClientRect();"
        "return [box.left + spot.x, box.top + spot.y]; })()"
    )
    browser.click(x, y)
    browser.wait(f"document.getElementById('selection').textContent.includes('Neurite {pre}')")
    labels = np.load(outdir / paths.LABELS)
    z = int(text_of(browser, "z-value").split(" / ")[0])
    sizes = (labels == pre).sum(axis=(1, 2))
    assert sizes[z] == sizes.max()


def test_switches_and_their_keys_change_the_picture(browser):
    picture = "document.getElementById('slice').toDataURL()"
    browser.ask("document.getElementById('slice').focus()")
    pixel = "document.getElementById('slice').getContext('2d').getImageData(300, 300, 1, 1).data[0]"
    browser.wait(f"{pixel} < 255")
    seen = {browser.ask(picture)}
    for key, name in (("n", "labels"), ("e", "em")):
        browser.key(key)
        pressed = f"document.getElementById('{name}').getAttribute('aria-pressed')"
        assert browser.ask(pressed) == "false"
        seen.add(browser.ask(picture))
        browser.ask(f"document.getElementById('{name}').click()")
        assert browser.ask(pressed) == "true"
    assert len(seen) == 3


def test_search_finds_a_neurite_or_states_that_there_is_none(browser, strongest):
    existing = int(strongest["post_id"])
    for neurite, text in ((existing, "Neurite"), (999999, "There is no neurite")):
        browser.ask(f"document.getElementById('neurite-id').value = '{neurite}'")
        browser.ask("document.getElementById('neurite-id').focus()")
        browser.key("Enter")
        assert f"{text} {neurite}" in text_of(browser, "selection")


def test_an_address_leads_to_a_place(chromium, outdir, strongest):
    pre = int(strongest["pre_id"])
    chromium.open((outdir / paths.REPORT).as_uri() + f"#z=3&pick={pre}&show=em")
    assert text_of(chromium, "z-value").startswith("3 ")
    assert f"Neurite {pre}" in text_of(chromium, "selection")
    pressed = "document.getElementById('labels').getAttribute('aria-pressed')"
    assert chromium.ask(pressed) == "false"


def test_a_table_sorts_by_numbers_and_filters(browser, outdir):
    table = "document.querySelector('[data-file=\"segments.csv\"]')"
    segments = pd.read_csv(outdir / paths.SEGMENTS)
    head = f"[...{table}.querySelectorAll('th button')].find((b) => b.textContent === 'voxels')"
    column = segments.columns.get_loc("voxels")
    shown = f"[...{table}.querySelectorAll('tbody tr')].map((r) => +r.cells[{column}].textContent)"
    for direction, ascending in (("descending", False), ("ascending", True)):
        browser.ask(f"{head}.click()")
        assert browser.ask(f"{head}.parentElement.getAttribute('aria-sort')") == direction
        expected = segments["voxels"].sort_values(ascending=ascending).tolist()
        assert browser.ask(shown) == expected[:200]
    browser.ask(f"{table}.querySelector('input').value = 'zzz'")
    browser.ask(f"{table}.querySelector('input').dispatchEvent(new Event('input'))")
    assert browser.ask(shown) == []


def test_the_z_of_a_synapse_shows_it(browser, outdir):
    browser.ask(
        "document.querySelector('[data-file=\"synapse_candidates.csv\"] td button').click()"
    )
    synapse = pd.read_csv(outdir / paths.SYNAPSES).iloc[0]
    assert text_of(browser, "z-value").startswith(f"{synapse['z']:.0f} ")
    assert f"Neurite {synapse['pre_id']}" in text_of(browser, "selection")


def test_a_downloaded_table_is_identical_to_its_file(browser, outdir, tmp_path):
    browser._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.ask("document.querySelector('[data-file=\"graph_edges.csv\"] .tools button').click()")
    end = time.monotonic() + 20
    while not list(tmp_path.glob("*.csv")) and time.monotonic() < end:
        time.sleep(0.05)
    saved = (tmp_path / "graph_edges.csv").read_bytes()
    assert saved == (outdir / paths.EDGES).read_bytes()


@pytest.mark.parametrize("contents", ["nothing", "one neurite", "no edges"])
def test_nearly_empty_results_are_shown_without_errors(chromium, tmp_path, contents):
    labels = np.full((3, 20, 30), contents != "nothing", np.int32)
    synapses = [(1, 5, 5, 1, 1, 0.5, "1")] if contents == "no edges" else []
    report(write_small(tmp_path, labels, synapses))
    chromium.open((tmp_path / paths.REPORT).as_uri())
    assert chromium.complaints() == []
    assert "The graph is empty" in text_of(chromium, "graph-note")


def test_a_page_of_fifty_thousand_neurites_opens(chromium, tmp_path):
    labels, nodes, edges = many(50_000)
    report(write_small(tmp_path, labels, nodes=nodes, edges=edges.to_numpy(object).tolist()))
    chromium.open((tmp_path / paths.REPORT).as_uri() + "#pick=77")
    assert chromium.complaints() == []
    assert "Neurite 77" in text_of(chromium, "selection")
    assert "1500 strongest" in text_of(chromium, "graph-note")


def test_a_tall_section_is_seen_whole_and_undistorted(chromium, tmp_path):
    report(write_small(tmp_path, np.ones((2, 400, 200), np.int32)))
    chromium.open((tmp_path / paths.REPORT).as_uri())
    box = "document.getElementById('slice').getBoundingClientRect()"
    width, height, window = chromium.ask(f"[{box}.width, {box}.height, innerHeight]")
    assert height <= 0.85 * window
    assert height / width == pytest.approx(2, rel=0.02)


def test_missing_figures_and_tables_are_listed(tmp_path):
    page = report(write_small(tmp_path, np.ones((2, 20, 30), np.int32)))
    assert "Missing: Figure 1, Figure 2" in page.text
    assert f"Missing: {paths.SEGMENTS}, {paths.CONTACTS}." in page.text
