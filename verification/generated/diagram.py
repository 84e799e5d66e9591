"""Checks that docs/reference/state-machine.md shows the transition table; `--write` makes it so. Run by `make verify`.

The diagram and the table of edges stand between markers and are made from `scheduler_svc.domain.lifecycle.EDGES`; the
explanation of each letter is written by hand, and must be there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lab.benchmarks.kept import Part
from scheduler_svc.domain.lifecycle import EDGES, Edge, Status
from verification.generated.document import differences

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "state-machine.md"
_DIAGRAM, _EDGES = (
    Part(f"<!-- {name}: made from scheduler_svc/domain/lifecycle.py -->\n", "<!-- end -->\n")
    for name in ("diagram", "edges")
)
_FINAL = (Status.COMPLETED, Status.CANCELLED)


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 if the document is right (now), else 1 with what is wrong on the standard output."""
    present = DOCUMENT.read_text()
    findings = differences(DOCUMENT, _EDGES.replaced(_DIAGRAM.replaced(present, diagram()), table()), arguments)
    explained = re.findall(r"^### ([a-z]) · ", present, re.MULTILINE)
    letters = sorted({edge.letter for edge in EDGES})
    if explained != letters:
        findings.append(f"explained are the edges {''.join(explained)}, the table has {''.join(letters)}")
    print("\n".join(findings) or "docs/reference/state-machine.md shows the transition table")
    return 1 if findings else 0


def diagram() -> str:
    """Returns the state diagram in Mermaid: a letter and a move on each edge."""
    lines = [f"    {_label(edge.source, '[*]')} --> {edge.target.label}: {edge.letter} {_move(edge)}" for edge in EDGES]
    lines += [f"    {status.label} --> [*]" for status in _FINAL]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def table() -> str:
    """Returns a row for each letter, or for each of its movers where they differ."""
    rows: dict[tuple[str, str, Status, str], list[str]] = {}
    for edge in EDGES:
        rows.setdefault((edge.letter, _move(edge), edge.target, edge.mover), []).append(_label(edge.source, "(none)"))
    lines = [
        f"| {letter} | {move} | {', '.join(sources)} | {target.label} | {mover} |"
        for (letter, move, target, mover), sources in rows.items()
    ]
    return "\n".join(["| | move | from | to | who moves it |", "|---|---|---|---|---|", *lines, ""])


def _label(status: Status, none: str) -> str:
    return none if status is Status.NONE else status.label


def _move(edge: Edge) -> str:
    return edge.move.name.lower().replace("_", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
