"""Include the measured scores in the documents, so that no number is typed twice.

    python docs/include_scores.py

``docs/scores.json`` has the numbers; the benchmarks write it (see ``benchmarks/scores.py``). A
document shows a table of `TABLES` between ``<!-- scores:NAME -->`` and ``<!-- /scores -->``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCORES = ROOT / "docs/scores.json"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
INCLUDED = re.compile(r"(<!-- scores:([\w-]+) -->\n).*?(<!-- /scores -->)", re.DOTALL)
PUBLISHED, OURS = "published steps", "this pipeline"


@dataclass(frozen=True)
class Table:
    """A selection of the measured scores.

    Parameters
    ----------
    columns : tuple of str
        Titles of the columns to show.
    rows : dict of str to str
        ``"benchmark/row title"``, in which ``*`` stands for any text, and the title to show for
        it; "" shows the one in the file.
    """

    columns: tuple[str, ...]
    rows: dict[str, str]

    def render(self, scores: dict[str, dict[str, dict[str, str]]]) -> str:
        """Return the table as Markdown."""
        lines = [f"| | {' | '.join(self.columns)} |", "|---|" + "---:|" * len(self.columns)]
        for pattern, shown in self.rows.items():
            benchmark, _, wanted = pattern.partition("/")
            found = [title for title in scores[benchmark] if fnmatchcase(title, wanted)]
            if not found:
                raise KeyError(f"docs/scores.json has no row {pattern}")
            for title in found:
                cells = (scores[benchmark][title].get(column, "") for column in self.columns)
                lines.append(f"| {shown or title} | {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"


TABLES = {
    "summary": Table(
        (PUBLISHED, OURS),
        {
            "quality/phantom safe8gb, seeds 101-105, mean: *": "synthetic sample: ARE / VOI",
            "quality/fib25_dev, sections 0-63: ARE / VOI": "FIB-SEM (`fib25`): ARE / VOI",
            "quality/isbi_dev, 3D: ARE / VOI": "serial sections (`isbi`): ARE / VOI",
            "quality/vnc_dev, per section: ARE / VOI": "serial sections (`vnc`): ARE / VOI",
            "synapses/phantom safe8gb, 10 seeds: F1": "synapses, synthetic sample: F1",
            "synapses/vnc_dev, in 3D: F1": "synapses, `vnc`: F1",
            "synapses/isbi_dev, clefts: F1": "synapses, `isbi`: F1",
            "compare/phantom: whole process, s": "seconds, 48 x 192 x 192 voxels",
        },
    ),
    "neurites": Table(
        (PUBLISHED, OURS),
        {
            "quality/phantom safe8gb, seeds *, mean: *": "",
            "quality/fib25_dev, sections *: ARE / VOI": "",
            "quality/fib25_dev, 8 blocks *, mean: *": "",
            "quality/fib25_dev, one section in three *": "",
            "quality/isbi_dev, *: ARE / VOI": "",
            "quality/vnc_dev, *: ARE / VOI": "",
        },
    ),
    "quality": Table(("at most", PUBLISHED, OURS), {"quality/*": ""}),
    "compare": Table(
        (PUBLISHED, OURS),
        {
            "compare/*: whole process*": "",
            "compare/*: peak memory, MB": "",
            "compare/*: ARE": "",
            "compare/*: VOI*": "",
            "compare/*: share unassigned": "",
            "compare/*: synapse F1 *": "",
        },
    ),
    "synapses": Table(("at least", PUBLISHED, OURS), {"synapses/*": ""}),
    "synapse-density": Table(("synapses", "10 %", "median", "90 %"), {"synapse_density/*": ""}),
    "forest": Table(
        ("at most", "untrained", "corrections alone", "refined"), {"refinement/forest, *": ""}
    ),
    "unet": Table(
        ("at most", "untrained", "corrections alone", "refined"), {"refinement/U-Net, 8 *": ""}
    ),
    "unet-unsupervised": Table(
        ("at most", "untrained", "refined"), {"refinement/U-Net, no sections, *": ""}
    ),
    "doubt": Table(
        (
            "wrong",
            "AUC",
            "AUC, obvious order",
            "wrong in first 20",
            "wrong in first 20, obvious order",
        ),
        {"doubt/*": ""},
    ),
    "redraw": Table(("median", "longest", "processor"), {"proofread_redraw/*": ""}),
}


def include(text: str) -> str:
    """Return a document with its tables of scores as measured."""
    scores = json.loads(SCORES.read_text())
    return INCLUDED.sub(lambda match: match[1] + TABLES[match[2]].render(scores) + match[3], text)


def main() -> None:
    """Bring the tables of all documents up to date."""
    for path in DOCUMENTS:
        text = path.read_text()
        if (current := include(text)) != text:
            path.write_text(current)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
