"""What figures depend on: commit, machine, durability, and what else runs."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg2

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.postgres.programs import find_bindir
from tests.harness.cluster import rows_of

BUSY = 0.1
"""From here on figures may say more of what else runs than of what is measured."""
_ROOT = Path(__file__).parents[2]


class NotDurable(Exception):
    """PostgreSQL runs with a setting that makes its figures flattering."""


@dataclass(frozen=True, slots=True)
class Machine:
    cores: int
    memory_gib: float
    python: str
    postgres: str
    filesystem: str
    """On tmpfs a sync costs nothing, and figures are flattering."""

    @property
    def line(self) -> str:
        return (
            f"{self.cores} cores, {self.memory_gib:.0f} GiB, Python {self.python}, PostgreSQL {self.postgres},"
            f" data on {self.filesystem}"
        )


def this_machine(folder: Path) -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    version = subprocess.run([find_bindir() / "postgres", "--version"], capture_output=True, text=True, check=True)
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    filesystem = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
    memory_gib = psutil.virtual_memory().total / 2**30
    return Machine(cores, memory_gib, platform.python_version(), version.stdout.split()[2], filesystem)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of a run that began at `at`.

    `sync_ms` is the median of a write of 8 KB with its sync, where the data is; `busy` how much of the machine others
    used just before, from 0 to 1.
    """

    at: str
    commit: str
    machine: str
    sync_ms: float
    busy: float
    durability: dict[str, str]


def now(folder: Path) -> Conditions:
    """Returns those of a run that begins now, with its data in `folder`. Raises NotDurable."""
    busy = psutil.cpu_percent(interval=1.0) / 100
    if busy > BUSY:
        sys.stderr.write(f"{busy:.0%} of this machine is busy with something else: do not trust the figures\n")
    return Conditions(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine=this_machine(folder).line,
        sync_ms=round(_sync_ms(folder), 3),
        busy=round(busy, 3),
        durability=_durability(folder),
    )


def _commit() -> str:
    """Returns the commit, with `+` where files differ from it; `unknown` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*"]
    output = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return output.stdout.strip() or "unknown"


def _sync_ms(folder: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(200):
            begin = time.monotonic()
            os.pwrite(file.fileno(), bytes(8192), 0)
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - begin)
    return statistics.median(times) * 1e3


def _durability(folder: Path) -> dict[str, str]:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    with EmbeddedPostgres(folder / "postgres") as server, closing(psycopg2.connect(server.dsn())) as connection:
        settings = {name: str(rows_of(connection, f"SHOW {name}")[0][0]) for name in names}
    if set(settings.values()) != {"on"}:
        raise NotDurable(f"all of these have to be on: {settings}")
    return settings


def paragraphs(runs: Iterable[Conditions]) -> list[str]:
    runs_by_machine: dict[str, list[Conditions]] = {}
    for run in runs:
        runs_by_machine.setdefault(run.machine, []).append(run)
    return [_paragraph(machine, group) for machine, group in runs_by_machine.items()]


def _paragraph(machine: str, runs: Sequence[Conditions]) -> str:
    last = runs[-1]
    durable = ", ".join(f"{name} {value}" for name, value in last.durability.items())
    commits = ", ".join(dict.fromkeys(f"`{run.commit}`" for run in runs))
    sync = " to ".join(dict.fromkeys(f"{bound(run.sync_ms for run in runs):.2f}" for bound in (min, max)))
    days = " to ".join(dict.fromkeys(run.at[:10] for run in (runs[0], last)))
    return (
        f"Commit {commits}, {days}. {machine}; a write of 8 KB with its sync takes {sync} ms,"
        f" and at most {max(run.busy for run in runs):.0%} of it was busy just before a run."
        f" PostgreSQL with {durable}."
    )
