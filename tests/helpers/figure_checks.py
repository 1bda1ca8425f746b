"""Small stacks and tables to draw, and what every page must satisfy."""

from itertools import combinations

import matplotlib
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from connectome.core.volume import Volume

SOURCE = "phantom://neuropil?seed=7"
CANDIDATES = ["z", "y", "x", "pre_id", "post_id", "score"]


def stacks(shape=(6, 48, 64), voxel_size=(30, 8, 8), seed=0):
    """Return a cutout, its preprocessed and aligned stacks, and labels of 8 x 8 px squares."""
    rng = np.random.default_rng(seed)
    cutout = Volume(rng.integers(0, 255, shape, dtype=np.uint8), voxel_size, (0, 0, 0), SOURCE)
    preprocessed, aligned = rng.random((2, *shape), dtype=np.float32)
    rows, columns = np.mgrid[: shape[1], : shape[2]] // 8
    labels = np.tile((1 + columns + 100 * rows).astype(np.int32), (shape[0], 1, 1))
    return cutout, preprocessed, cutout.with_data(aligned), labels


def candidates(shape, count, seed=0):
    rng = np.random.default_rng(seed)
    table = {axis: rng.integers(0, size, count) for axis, size in zip("zyx", shape, strict=True)}
    table |= {"pre_id": rng.integers(1, 9, count), "post_id": rng.integers(1, 9, count)}
    return pd.DataFrame({**table, "score": rng.random(count)})


def random_graph(nodes, edges, seed=0):
    rng = np.random.default_rng(seed)
    graph = nx.DiGraph()
    for pre, post in zip(*rng.integers(0, nodes, (2, edges)), strict=True):
        graph.add_edge(int(pre), int(post), weight=float(rng.gamma(2, 0.3)), count=1)
    return graph


def images(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def visible_texts(figure):
    """Return the texts that are drawn, without tick labels beyond the ends of an axis."""
    FigureCanvasAgg(figure).draw()
    beyond = set()
    for axes in figure.findobj(matplotlib.axes.Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden = not (axes.axison and axis.get_visible())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if hidden or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    beyond |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text not in beyond]
    return [text for text in texts if text.get_text().strip()]


def texts(figure):
    return [text.get_text() for text in visible_texts(figure)]


def assert_fit_to_print(figure):
    """No text leaves the page, is smaller than 6 pt, or lies on another or on a foreign panel."""
    boxes = []
    for text in visible_texts(figure):
        box = text.get_window_extent()
        page = figure.bbox
        assert page.x0 <= box.x0 <= box.x1 <= page.x1, text
        assert page.y0 <= box.y0 <= box.y1 <= page.y1, text
        assert text.get_fontsize() >= 6, text
        boxes.append((box.padded(-1.5), text))  # text extents include the room for descenders
    for (box, text), (other, second) in combinations(boxes, 2):
        assert not box.overlaps(other), (text, second)
    panels = [axes for axes in figure.findobj(matplotlib.axes.Axes) if axes.axison]
    for box, text in boxes:
        for axes in panels:
            assert text.axes is axes or not box.overlaps(axes.bbox), (text, axes)
