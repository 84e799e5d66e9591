"""What a campaign counts and finds, and a file for each finding. Tallies of its processes are added up."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from lab.fuzz.values import Known

MAX_FINDINGS = 20
"""Of one kind that are kept; more of it say nothing new."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, and what reproduces it."""

    target: str
    what: str
    seed: int
    number: int
    how: str = ""
    """Who sent it, in which shape, with which deadline."""
    data: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """Findings of a kind have most likely one cause."""
        return f"{self.target}: {self.what[:60]}"


@dataclass
class Tally:
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By target, such as `TaskService/SubmitTask`: how many cases ended how."""
    answered: set[str] = field(default_factory=set)
    """RPCs that gave an answer, so that the attack has got past their checks."""
    further: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    known: Known = field(default_factory=Known)

    @property
    def cases(self) -> int:
        return sum(counts.total() for counts in self.statuses.values())

    @property
    def locked(self) -> int:
        return sum(counts["UNAVAILABLE"] for counts in self.statuses.values())

    @property
    def locked_too_often(self) -> bool:
        """Whether more calls met a lock than a busy machine explains: no others may end as UNAVAILABLE."""
        return self.locked > 1 + self.cases / 1_000

    def unanswered(self, calls: int) -> list[str]:
        """Returns the RPCs that were called so often, and never answered."""
        called = [name for name, counts in self.statuses.items() if "/" in name and counts.total() >= calls]
        # A scheduler calls nobody, so it has no channels.
        return sorted(set(called) - self.answered - {"Channelz/GetChannel", "Channelz/GetSubchannel"})

    def count(self, target: str, status: str) -> None:
        self.statuses[target][status] += 1

    def find(self, finding: Finding) -> None:
        if sum(other.kind == finding.kind for other in self.findings) < MAX_FINDINGS:
            self.findings.append(finding)

    def add(self, other: Tally) -> None:
        for target, counts in other.statuses.items():
            self.statuses[target] += counts
        self.answered |= other.answered
        self.further += other.further
        for finding in other.findings:
            self.find(finding)
        self.known.merge(other.known)


def broken(connection: sa.Connection, invariants: Mapping[str, str]) -> list[str]:
    """Returns the invariants that do not hold, with some of the rows that their queries return."""
    violations = {name: connection.execute(sa.text(query)).fetchmany(5) for name, query in invariants.items()}
    return [f"not true any more: {name}: {rows}" for name, rows in violations.items() if rows]


def write_findings(findings: Iterable[Finding], folder: Path) -> list[Path]:
    """Writes a file of JSON for each finding, with what reproduces it, and returns the paths."""
    paths = []
    for number, finding in enumerate(findings, 1):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:03}.json"
        what = {"target": finding.target, "what": finding.what, "seed": finding.seed, "case": finding.number}
        document = {**what, "how": finding.how, "data": [data.hex() for data in finding.data]}
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        paths.append(path)
    return paths
