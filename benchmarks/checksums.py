"""Record checksums of everything the scripts write, to show that a change alters no result.

    python benchmarks/checksums.py before.json                 # before a change: about five minutes
    python benchmarks/checksums.py after.json --against before.json

Runs the main job on two phantoms and on three real stacks, then on one of the latter both
refiners and a rebuild, through the command lines that users type. Arrays are compared by dtype,
shape and content, tables column by column, JSON files and models value by value, figures by
pixel. Aligned stacks are compared as float16, whichever precision was saved. Times, paths and run
ids are left out. Seconds per stage are recorded beside the checksums and printed as ratios.

The script knows the published files only, and nothing of the package, so that it runs unchanged on
both sides of a change of the code.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
REAL = {
    "fib25_dev 0-63": ("fib25_dev", 64, "labels"),
    "isbi_dev": ("isbi_dev", None, "labels"),
    "vnc_dev": ("vnc_dev", None, None),
}
PHANTOM_SEEDS = (7, 101)
REFINED = "isbi_dev"
PROOFREAD_SECTIONS = (4, 12, 18, 26)
SCRIPTS = {
    "forest": ("train_refine_rf.py",),
    "U-Net": ("train_unet2d_selftrain.py", "--epochs", "2", "--rounds", "1"),
    "rebuild": ("rebuild_graph_and_figures.py", "--labels", "rf"),
}
# Columns and keys that say when, where and how fast, or in words why.
VOLATILE_COLUMNS = {"source"}
VOLATILE_KEYS = {"source", "seconds", "created_at", "run_id", "sha256", "time", "user", "minutes"}


def main() -> int:
    """Run everything, write the checksums, and compare them with earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file of an earlier call")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--only", nargs="+", help="some of the runs, by name")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recorded = record(args.data, Path(folder), args.only)
    args.output.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    if not args.against:
        return 0
    before = json.loads(args.against.read_text())
    return compare({name: before[name] for name in recorded if name in before}, recorded)


def record(data: Path, scratch: Path, only: list[str] | None) -> dict[str, dict]:
    """Return the checksums and stage seconds of every run."""
    recorded = {}
    for name, flags in main_jobs(data, scratch):
        if only and name not in only:
            continue
        outdir = scratch / f"out {name}"
        # float16, because refiners and rebuilds read what is saved.
        run("run_pipeline.py", outdir, *flags, "--aligned_dtype", "float16")
        recorded[name] = summary(outdir)
        if name != REFINED:
            continue
        np.save(outdir / "data/neurite_labels_corrected_i32_zyx.npy", true_labels(outdir))
        listed = {"slices": list(PROOFREAD_SECTIONS)}
        (outdir / "tables/proofread_slices.json").write_text(json.dumps(listed))
        for title, (script, *more) in SCRIPTS.items():
            run(script, outdir, *more)
            recorded[f"{name}, {title}"] = summary(outdir)
    return recorded


def main_jobs(data: Path, scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a name and the flags of every run of the main job."""
    for seed in PHANTOM_SEEDS:
        yield (
            f"phantom {seed}",
            ["--preset", "safe8gb", "--dataset", f"phantom://neuropil?seed={seed}"],
        )
    for name, (stem, end, truth) in REAL.items():
        path = data / f"{stem}.npz"
        if not path.exists():
            print(f"{path} is absent: skipped", file=sys.stderr)
            continue
        stack = f"{stem}.npz"  # figures show the path as it was given
        with np.load(path) as archive:
            arrays = {key: archive[key][:end] for key in ("raw", truth) if key}
            voxel_size = archive["voxel_size_nm_zyx"]
        np.savez(scratch / stack, **arrays)
        flags = ["--dataset", f"{stack}:raw", "--voxel_size", *map(str, voxel_size)]
        yield name, flags + (["--ground_truth", f"{stack}:{truth}"] if truth else [])


def true_labels(outdir: Path) -> np.ndarray:
    """Return the ground truth in the aligned frame, as the main job left it."""
    return np.load(outdir / "data/true_labels_i32_zyx.npy")


def run(script: str, outdir: Path, *flags: str) -> None:
    """Run one script on two threads."""
    print(f"{script} on {outdir.name.removeprefix('out ')}", file=sys.stderr, flush=True)
    command = [sys.executable, str(ROOT / script), "--outdir", str(outdir), "--threads", "2"]
    subprocess.run([*command, "--quiet", *flags], check=True, cwd=outdir.parent)


def summary(outdir: Path) -> dict:
    """Return what is in an output folder, and how long the stages of the last run took."""
    checksums = {}
    for path in sorted(outdir.rglob("*")):
        name = str(path.relative_to(outdir))
        if path.suffix in READERS and not name.startswith("runs/") and path.name[0] != ".":
            name = name.replace("em_aligned_float32", "em_aligned_float16")
            checksums |= {f"{name}{part}": digest for part, digest in READERS[path.suffix](path)}
    for path in sorted((outdir / "runs/models").glob("*.npz")):
        kind = path.stem.split("_")[0]
        with np.load(path) as archive:
            for key in archive.files:
                if archive[key].dtype.kind in "biuf" and archive[key].size:
                    checksums[f"model {kind}: {key}"] = of_array(archive[key])
    with sqlite3.connect(outdir / "runs/pipeline_runs.sqlite") as log:
        rows = log.execute(
            "SELECT name, seconds FROM stages WHERE run_id = "
            "(SELECT run_id FROM runs ORDER BY rowid DESC LIMIT 1)"
        )
        seconds = dict(rows)
    return {"checksums": checksums, "seconds": seconds}


def of_array(array: np.ndarray) -> str:
    """Return a digest of an array's type, shape and content."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()[:16]


def of_text(text: str) -> str:
    """Return a digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_array(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the digest of an array."""
    array = np.load(path)
    yield "", of_array(array.astype(np.float16) if "em_aligned" in path.name else array)


def read_table(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the digest of every column of a table."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    for name, *values in zip(*rows, strict=True):
        if name not in VOLATILE_COLUMNS:
            yield f"[{name}]", of_text("\n".join(values))


def read_json(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the digest of every number of a JSON file, sidecars included."""

    def numbers(content, at=""):
        if isinstance(content, dict):
            for key, value in content.items():
                if key not in VOLATILE_KEYS:
                    yield from numbers(value, f"{at}/{key}")
        elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
            for i, item in enumerate(content):
                yield from numbers(item, f"{at}/{i}")
        else:
            yield at, of_text(repr(content))

    content = json.loads(path.read_text())
    if path.name == "graph.json":  # of which every node and link would have a line
        content.get("graph", {}).pop("source", None)
        yield "", of_text(json.dumps(content))
    elif path.parent.name == "data":  # beside an array
        content.pop("dtype", None)
        yield from numbers(content)
    else:
        yield from numbers(content)


def read_figure(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the digest of a figure's pixels."""
    with Image.open(path) as image:
        yield "", of_array(np.asarray(image.convert("RGB")))


READERS = {".npy": read_array, ".csv": read_table, ".json": read_json, ".png": read_figure}


def compare(before: dict, after: dict) -> int:
    """Print what differs, and stage by stage how the seconds compare; return an exit status."""
    n_same, different = 0, []
    for name, was in before.items():
        old, new = was["checksums"], after[name]["checksums"]
        different += [
            f"{name}: {key}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)
        ]
        n_same += sum(old.get(key) == digest for key, digest in new.items())
        ratios = {
            stage: after[name]["seconds"].get(stage, 0.0) / seconds
            for stage, seconds in was["seconds"].items()
            if seconds > 0.2
        }
        print(f"{name}: " + ", ".join(f"{stage} x{ratio:.2f}" for stage, ratio in ratios.items()))
    print(f"{n_same} checksums are the same")
    for line in different:
        print(f"differs: {line}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
