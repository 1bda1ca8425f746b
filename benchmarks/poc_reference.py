"""The steps of the published proof of concept, reimplemented from its description.

It is a reference for benchmarks, not for use: its constants are in pixels, its alignment applies
every shift with the wrong sign, and neurites merge wherever profiles overlap by 200 pixels. It uses
the library calls named in the description, neither slowed down nor improved. Arrays are (Z, Y, X).

    python benchmarks/poc_reference.py SOURCE.npy OUTDIR

Like the proof of concept, it first adds a random misalignment to every section. `compare.py`
switches this off for both programs (``--no-sim-misalignment``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.exposure import equalize_adapthist
from skimage.feature import blob_log, peak_local_max
from skimage.filters import gaussian, sobel
from skimage.morphology import disk, opening, remove_small_objects
from skimage.registration import phase_cross_correlation
from skimage.segmentation import find_boundaries, mark_boundaries, watershed

SEED = 7


def simulate_misalignment(stack: np.ndarray, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Displace every section by N(0, 1) px in y and x; return the stack and the (Z, 2) shifts."""
    shifts = np.random.default_rng(seed).normal(0, 1, (len(stack), 2))
    return _shifted(stack, shifts), shifts


def preprocess(stack: np.ndarray) -> np.ndarray:
    """Smooth (σ 0.7 px) and equalise (CLAHE, clip 0.01) every section; float32 in [0, 1]."""
    result = np.empty(stack.shape, np.float32)
    for z, section in enumerate(stack):
        smooth = gaussian(section / 255, sigma=0.7)
        result[z] = equalize_adapthist(smooth, clip_limit=0.01)
    return result


def align(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate every section with the aligned one before it; the shift is applied negated."""
    aligned = stack.copy()
    shifts = np.zeros((len(stack), 2))
    for z in range(1, len(stack)):
        found, _, _ = phase_cross_correlation(aligned[z - 1], stack[z], upsample_factor=10)
        shifts[z] = -found
        aligned[z] = ndi.shift(stack[z], shifts[z], order=1, mode="reflect")
    return aligned, shifts


def segment(aligned: np.ndarray) -> np.ndarray:
    """Segment every section by watershed from distance peaks of bright pixels; unique ids."""
    labels = np.zeros(aligned.shape, np.int32)
    largest = 0
    for z, section in enumerate(aligned):
        mask = opening(section > np.quantile(section, 0.55), disk(1))
        mask = remove_small_objects(mask, max_size=127)
        distance = ndi.distance_transform_edt(mask)
        peaks = peak_local_max(distance, min_distance=8, labels=mask.astype(int))
        markers = np.zeros(section.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        profiles = watershed(sobel(section), markers, mask=mask)
        labels[z] = np.where(profiles > 0, profiles + largest, 0)
        largest += len(peaks)
    return labels


def stitch(labels: np.ndarray) -> np.ndarray:
    """Merge profiles of adjacent sections that overlap by 200 px or more."""
    count = int(labels.max()) + 1
    pairs = []
    for upper, lower in pairwise(labels):
        both = (upper > 0) & (lower > 0)
        keys, overlap = np.unique(
            upper[both].astype(np.int64) * count + lower[both], return_counts=True
        )
        pairs.append(keys[overlap >= 200])
    upper, lower = np.divmod(np.concatenate(pairs or [np.empty(0, np.int64)]), count)
    links = coo_array((np.ones(len(upper)), (upper, lower)), shape=(count, count))
    body = connected_components(links, directed=False)[1]
    # Only ids with voxels are counted, and background stays 0.
    present = np.unique(labels)
    present = present[present > 0]
    table = np.zeros(count, np.int32)
    table[present] = np.unique(body[present], return_inverse=True)[1] + 1
    return table[labels]


def find_synapses(aligned: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Detect dark blobs near boundaries and the two ids around each; the darker id is pre."""
    rows = []
    seen = set()
    for z, (section, ids) in enumerate(zip(aligned, labels, strict=True)):
        dark = 1 - section
        blobs = blob_log(dark, min_sigma=1, max_sigma=4, num_sigma=6, threshold=0.08)
        to_boundary = ndi.distance_transform_edt(~find_boundaries(ids))
        for y, x in blobs[:, :2].astype(int):
            if to_boundary[y, x] > 3:
                continue
            window = (slice(max(y - 3, 0), y + 4), slice(max(x - 3, 0), x + 4))
            near, count = np.unique(ids[window][ids[window] > 0], return_counts=True)
            if len(near) < 2:
                continue
            first, second = near[np.argsort(-count, kind="stable")[:2]]
            darkness = [dark[window][ids[window] == i].mean() for i in (first, second)]
            pre, post = (first, second) if darkness[0] >= darkness[1] else (second, first)
            place = (z, y // 4, x // 4, pre, post)
            if place not in seen:
                seen.add(place)
                rows.append((z, y, x, pre, post, dark[window].mean()))
    return pd.DataFrame(rows, columns=["z", "y", "x", "pre_id", "post_id", "score"])


def build_graph(synapses: pd.DataFrame) -> tuple[nx.DiGraph, pd.DataFrame]:
    """Sum candidates scored 0.10 or more into directed edges; weighted degrees and PageRank."""
    graph = nx.DiGraph()
    kept = synapses[synapses["score"] >= 0.10]
    for (pre, post), number in kept.groupby(["pre_id", "post_id"]).size().items():
        graph.add_edge(int(pre), int(post), weight=int(number))
    rank = nx.pagerank(graph, weight="weight") if len(graph) else {}
    nodes = pd.DataFrame(
        [
            (n, graph.in_degree(n, weight="weight"), graph.out_degree(n, weight="weight"), rank[n])
            for n in graph
        ],
        columns=["node", "in_degree", "out_degree", "pagerank"],
    )
    return graph, nodes


def draw_figures(products: dict, outdir: Path) -> None:
    """Draw the four figures, each as PNG and PDF."""
    outdir.mkdir(parents=True, exist_ok=True)
    figures = {
        "Figure1_EM_preprocess_align_segment": _draw_stages(products),
        "Figure2_synapse_candidates_overlay": _draw_synapses(products),
        "Figure3_graph": _draw_graph(products["graph"]),
        "Figure4_alignment_shifts": _draw_shifts(products["shifts"]),
    }
    for name, figure in figures.items():
        figure.savefig(outdir / f"{name}.png", dpi=200)
        figure.savefig(outdir / f"{name}.pdf")


def _draw_stages(products: dict) -> Figure:
    figure = Figure(figsize=(12, 3.4))
    middle = len(products["cutout"]) // 2
    overlay = mark_boundaries(products["aligned"][middle], products["labels"][middle])
    images = [products[name][middle] for name in ("cutout", "preprocessed", "aligned")]
    titles = ("EM", "Preprocessed", "Aligned", "Segmented")
    for axes, image, title in zip(figure.subplots(1, 4), [*images, overlay], titles, strict=True):
        axes.imshow(image, cmap="gray")
        axes.set_title(title)
        axes.set_axis_off()
    return figure


def _draw_synapses(products: dict) -> Figure:
    figure = Figure(figsize=(6, 6))
    axes = figure.subplots()
    middle = len(products["cutout"]) // 2
    here = products["synapses"].query("z == @middle")
    axes.imshow(products["aligned"][middle], cmap="gray")
    axes.scatter(here["x"], here["y"], s=12, facecolors="none", edgecolors="red")
    axes.set_title(f"Synapse candidates, section {middle}")
    axes.set_axis_off()
    return figure


def _draw_graph(graph: nx.DiGraph) -> Figure:
    figure = Figure(figsize=(8, 8))
    axes = figure.subplots()
    layout = nx.spring_layout(graph, seed=SEED)
    nx.draw_networkx(graph, layout, ax=axes, with_labels=False, node_size=8, width=0.3, arrowsize=4)
    axes.set_title(f"{graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges")
    axes.set_axis_off()
    return figure


def _draw_shifts(shifts: np.ndarray) -> Figure:
    figure = Figure(figsize=(6, 3.5))
    axes = figure.subplots()
    axes.plot(shifts[:, 0], label="dy")
    axes.plot(shifts[:, 1], label="dx")
    axes.set(xlabel="section", ylabel="shift (px)", title="Alignment shifts")
    axes.legend()
    return figure


def run(stack: np.ndarray, outdir: Path, simulate: bool = True) -> tuple[dict, dict[str, float]]:
    """Run all steps.

    Parameters
    ----------
    stack : ndarray of uint8, shape (Z, Y, X)
        Cutout.
    outdir : Path
        Where the figures go.
    simulate : bool
        Misalign the sections first.

    Returns
    -------
    products : dict
        ``cutout, preprocessed, aligned, labels`` (Z, Y, X); ``simulated`` and ``shifts`` (Z, 2),
        px, both as applied with ``scipy.ndimage.shift``; ``synapses, nodes`` tables; ``graph``.
    seconds : dict
        Wall time of each step.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable, *args):
        began = time.perf_counter()
        result = step(*args)
        seconds[name] = time.perf_counter() - began
        return result

    products = {"cutout": stack, "simulated": np.zeros((len(stack), 2))}
    clear = timed("preprocess", preprocess, stack)
    if simulate:
        clear, products["simulated"] = timed("simulate", simulate_misalignment, clear)
    products["preprocessed"] = clear
    products["aligned"], products["shifts"] = timed("align", align, clear)
    profiles = timed("segment", segment, products["aligned"])
    products["labels"] = timed("stitch", stitch, profiles)
    products["synapses"] = timed("synapses", find_synapses, products["aligned"], products["labels"])
    products["graph"], products["nodes"] = timed("graph", build_graph, products["synapses"])
    timed("figures", draw_figures, products, outdir / "figures")
    return products, seconds


def save(products: dict, outdir: Path) -> None:
    """Write the arrays and tables as the proof of concept does."""
    for folder in ("data", "tables"):
        (outdir / folder).mkdir(parents=True, exist_ok=True)
    np.save(outdir / "data/em_cutout_u8_zyx.npy", products["cutout"])
    np.save(outdir / "data/em_preprocessed_f32_zyx.npy", products["preprocessed"])
    np.save(outdir / "data/em_aligned_float16_zyx.npy", products["aligned"].astype(np.float16))
    np.save(outdir / "data/neurite_labels_i32_zyx.npy", products["labels"])
    products["synapses"].to_csv(outdir / "tables/synapse_candidates.csv", index=False)
    products["nodes"].to_csv(outdir / "tables/graph_node_stats.csv", index=False)
    shifts = {name: products[name].tolist() for name in ("shifts", "simulated")}
    (outdir / "tables/alignment_shifts.json").write_text(json.dumps(shifts))


def _shifted(stack: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    moved = [
        ndi.shift(section, shift, order=1, mode="reflect")
        for section, shift in zip(stack, shifts, strict=True)
    ]
    return np.stack(moved)


def main() -> None:
    """Run on an array file; ``OUTDIR/seconds.json`` has the seconds of each step."""
    parser = argparse.ArgumentParser(description="The proof of concept's steps, for comparison.")
    parser.add_argument("source", help=".npy of 8-bit sections, (Z, Y, X)")
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--no-sim-misalignment", action="store_true", help="leave sections alone")
    args = parser.parse_args()
    products, seconds = run(np.load(args.source), args.outdir, not args.no_sim_misalignment)
    began = time.perf_counter()
    save(products, args.outdir)
    seconds["save"] = time.perf_counter() - began
    (args.outdir / "seconds.json").write_text(json.dumps(seconds, indent=2) + "\n")


if __name__ == "__main__":
    main()
