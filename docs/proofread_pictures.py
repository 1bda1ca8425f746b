"""Make the pictures of proofreading from a real window and a real draft.

``xvfb-run -a -s "-screen 0 1280x1024x24" python docs/proofread_pictures.py FOLDER``, where the
folder contains ``isbi_dev.npz``. The most doubtful merge of the draft is corrected as a person
would: seeds are painted in two neurites of the ground truth.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent)]

from connectome.proofread.session import open_session
from connectome.proofread.viewer.actions import ACTION_BY_NAME
from connectome.proofread.viewer.window import Window
from connectome.triage.queue import build_queue

ISBI = ("--dataset", "isbi_dev.npz:raw", "--ground_truth", "isbi_dev.npz:labels")
COLOURS = 256
SEEDED = 3  # sections a person would seed
SEED_PX = 7
PANEL_PX = 390
GAP_PX = 8
FOOT_PX = 26


def main(folder: Path) -> None:
    """Run the pipeline, open the window, go to the worst false merge, and split it."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, str(DOCS.parent / "run_pipeline.py"), *ISBI, "--quiet"]
        subprocess.run([*command, "--outdir", scratch], cwd=folder, check=True)
        with open_session(Path(scratch), user="docs") as session:
            window = Window(session, build_queue(session.folder, session.editor.synapses))
            settle()
            while window.navigator.location is None or window.navigator.location.kind != "join":
                window.perform(ACTION_BY_NAME["Next"])
            settle()
            save(capture_window(window), DOCS / "proofread_window.png")
            steps = split_neurite(window)
            save(side_by_side(steps), DOCS / "proofread_split.png")
            window.close()


def split_neurite(window: Window) -> dict[str, Image.Image]:
    """Split the neurite at the current place; return a picture of each step."""
    (neurite,) = window.navigator.location.ids
    truth = window.session.folder.ground_truth.labels
    inside = window.session.editor.labels == neurite
    ids, n_voxels = np.unique(truth[inside & (truth > 0)], return_counts=True)
    parts = [inside & (truth == true) for true in ids[np.argsort(-n_voxels)][:2]]
    # A person seeds where both parts are large.
    sections = np.argsort(-np.min([part.sum(axis=(1, 2)) for part in parts], axis=0))[:SEEDED]
    seeds = {(z, n): innermost(part[z]) for n, part in enumerate(parts, 1) for z in sections}
    middle = np.mean([seeds[sections[0], 1], seeds[sections[0], 2]], axis=0)
    window.layers.ring.visible = window.viewer.canvas.overlays.scale_bar.visible = False
    window.layers.go_to((sections[0], *middle), ring=False)
    steps = {f"neurite {neurite}, as drafted": capture_canvas(window, middle)}
    rows, columns = np.indices(inside.shape[1:])
    for (z, number), (y, x) in seeds.items():
        disk = (rows - y) ** 2 + (columns - x) ** 2 <= SEED_PX**2
        window.layers.seeds.data[z][disk] = number
    window.layers.seeds.refresh()
    steps["a seed in each part (S)"] = capture_canvas(window, middle)
    window.perform(ACTION_BY_NAME["Split"])
    print(window.panel.message)
    steps["split (C)"] = capture_canvas(window, middle)
    return steps


def innermost(part: np.ndarray) -> tuple[int, int]:
    """Return the pixel of a profile that is farthest from its outline."""
    inner = ndimage.distance_transform_edt(part)
    return np.unravel_index(inner.argmax(), inner.shape)


def capture_canvas(window: Window, middle: np.ndarray) -> Image.Image:
    """Return the picture around a pixel of the section."""
    settle()
    image = Image.fromarray(window.viewer.screenshot(canvas_only=True)).convert("RGB")
    camera, em = window.viewer.scene.camera, window.session.folder.aligned
    pixel = np.array(em.voxel_size[1:]) * camera.zoom
    first = np.array([image.height, image.width]) / 2 - np.array(camera.center[-2:]) * camera.zoom
    # Crop within the tissue.
    last = first + em.shape[1:] * pixel - PANEL_PX
    top, left = np.clip(first + middle * pixel - PANEL_PX / 2, first, last).round().astype(int)
    return image.crop((left, top, left + PANEL_PX, top + PANEL_PX))


def side_by_side(steps: dict[str, Image.Image]) -> Image.Image:
    """Lay pictures beside each other, each with its caption below."""
    width = len(steps) * (PANEL_PX + GAP_PX) - GAP_PX
    page = Image.new("RGB", (width, PANEL_PX + FOOT_PX), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    for i, (caption, image) in enumerate(steps.items()):
        page.paste(image, (i * (PANEL_PX + GAP_PX), 0))
        pen.text((i * (PANEL_PX + GAP_PX), PANEL_PX + 4), caption, "black", font)
    return page


def capture_window(window: Window) -> Image.Image:
    """Return the whole window."""
    shown = window.viewer.screenshot(canvas_only=False)
    return Image.fromarray(shown).convert("RGB")


def settle() -> None:
    """Let Qt draw."""
    from qtpy.QtWidgets import QApplication

    for _ in range(40):
        QApplication.processEvents()
        time.sleep(0.01)


def save(picture: Image.Image, target: Path) -> None:
    """Write a picture with few colours: a third of the bytes, at the same size."""
    few = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
