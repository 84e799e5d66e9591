"""What a campaign says: lines while it runs, a table in Markdown at its end, and a file for each finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.tally import Finding, Tally


def table(tally: Tally) -> Iterator[str]:
    """A line a target: its cases, and how they ended, the most frequent first."""
    yield "| target | cases | ended as |"
    yield "|---|--:|---|"
    for target, counted in sorted(tally.statuses.items()):
        ended = ", ".join(f"{status} {count:,}" for status, count in counted.most_common())
        yield f"| {target} | {counted.total():,} | {ended} |"


@dataclass(frozen=True)
class Beside:
    """What went on beside the attack."""

    memory: dict[str, tuple[float, float]]
    """MiB of each process after the warm-up and at the end."""
    honest: int
    """Tasks that honest clients submitted and saw completed."""
    median: float
    slowest: float
    """Seconds of an honest task."""

    def lines(self) -> Iterator[str]:
        """The same in Markdown."""
        yield "| beside it | |"
        yield "|---|---|"
        for process, (begin, end) in self.memory.items():
            yield f"| memory of the {process}, after its warm-up and at the end | {begin:.0f} MiB, {end:.0f} MiB |"
        yield f"| honest tasks completed | {self.honest:,}; median {self.median:.2f} s, slowest {self.slowest:.1f} s |"


def write_findings(findings: Iterable[Finding], folder: Path) -> list[Path]:
    """A file of JSON for each, with what reproduces it."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, finding in enumerate(findings, 1):
        path = folder / f"{number:03}.json"
        told = {
            "target": finding.target,
            "what": finding.what,
            "seed": finding.seed,
            "case": finding.number,
            "how": finding.how,
            "data": [data.hex() for data in finding.data],
        }
        path.write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        written.append(path)
    return written
