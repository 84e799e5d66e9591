"""What a campaign says: lines while it runs, a table in Markdown at its end, and a file for each finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.fuzz.tally import Finding, Tally


@dataclass(frozen=True)
class Beside:
    """What went on beside the attack."""

    memory: Mapping[str, tuple[float, float]]
    """MiB of each process after the warm-up and at the end."""
    honest: int
    """Tasks that honest clients submitted and saw completed."""
    median: float
    slowest: float
    """Seconds of an honest task."""


class Run(Protocol):
    """What a campaign has come to."""

    @property
    def tally(self) -> Tally: ...
    @property
    def seconds(self) -> Mapping[str, float]: ...
    @property
    def beside(self) -> Beside: ...


def report(seed: int, run: Run) -> Iterator[str]:
    """Two tables in Markdown: how the cases ended, and what went on beside them."""
    yield "| target | cases | ended as |"
    yield "|---|--:|---|"
    for target, counts in sorted(run.tally.statuses.items()):
        statuses = ", ".join(f"{status} {count:,}" for status, count in counts.most_common())
        yield f"| {target} | {counts.total():,} | {statuses} |"
    yield ""
    yield f"| seed {seed} | {run.tally.cases:,} cases |"
    yield "|---|---|"
    yield from (f"| {part} | {seconds:,.0f} s |" for part, seconds in run.seconds.items())
    yield from (f"| {observation} | {count:,} |" for observation, count in run.tally.further.items())
    yield from _beside(run.beside)
    yield f"| findings | {len(run.tally.findings)} |"


def _beside(surroundings: Beside) -> Iterator[str]:
    for process, (begin, end) in surroundings.memory.items():
        yield f"| memory of the {process}, after its warm-up and at the end | {begin:.0f} MiB, {end:.0f} MiB |"
    yield f"| honest tasks, each completed | {surroundings.honest:,} |"
    yield f"| seconds of an honest task: median, slowest | {surroundings.median:.2f}, {surroundings.slowest:.1f} |"


def write_findings(findings: Iterable[Finding], folder: Path) -> list[Path]:
    """Writes a file of JSON for each finding, with what reproduces it, and returns the paths."""
    paths = []
    for number, finding in enumerate(findings, 1):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:03}.json"
        document = {
            "target": finding.target,
            "what": finding.what,
            "seed": finding.seed,
            "case": finding.number,
            "how": finding.how,
            "data": [data.hex() for data in finding.data],
        }
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        paths.append(path)
    return paths
