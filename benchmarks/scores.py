"""Measure every score that the documents quote, and include the scores in the documents.

    python benchmarks/scores.py --data FOLDER            # all benchmarks, some hours on two cores
    python benchmarks/scores.py --only synapses doubt    # some of them, minutes

Each benchmark writes its table into ``docs/scores.json`` (``--save``): the row titles of the table,
and under each the cells by column. Rows that a benchmark does not measure anew stay as they were.
``docs/include_scores.py`` then copies the tables into the documents.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCORES = ROOT / "docs/scores.json"
# A U-Net that trains for four minutes shows what ten would, in half the time of the benchmark.
BENCHMARKS = {
    "quality": (),
    "compare": (),
    "refinement": ("--minutes", "4"),
    "synapses": (),
    "doubt": (),
    "synapse_density": (),
    "proofread_redraw": (),
}
WITHOUT_DATA = {"proofread_redraw"}  # it needs a screen instead
DERIVED = {"met", "ratio"}  # columns that follow from the others


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmarks, then include their scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the real stacks")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    args = parser.parse_args(argv)
    for name in args.only:
        command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *BENCHMARKS[name]]
        if args.data and name not in WITHOUT_DATA:
            command += ["--data", str(args.data)]
        print(f"\n## {name}\n", flush=True)
        subprocess.run([*command, "--save", str(SCORES)], check=True)
    subprocess.run([sys.executable, str(ROOT / "docs/include_scores.py")], check=True)


def add_save_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--save`` to the command line of a benchmark."""
    parser.add_argument(
        "--save", type=Path, metavar="JSON", help="write the table into this file as well"
    )


def save_table(
    path: Path | None, benchmark: str, titles: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write a table into the file of scores, keeping rows and cells not measured this time.

    Parameters
    ----------
    path : Path or None
        The file, created if absent; None writes nothing.
    benchmark : str
        Name of the benchmark.
    titles : sequence of str
        Column titles, that of the row titles first.
    rows : sequence of sequence of str
        A row title and its cells. Empty cells are left out.
    """
    if path is None:
        return
    scores = json.loads(path.read_text()) if path.exists() else {}
    table = scores.setdefault(benchmark, {})
    for title, *cells in rows:
        measured = dict(zip(titles[1:], cells, strict=True))
        table.setdefault(title, {}).update(
            {column: cell for column, cell in measured.items() if cell and column not in DERIVED}
        )
    path.write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
