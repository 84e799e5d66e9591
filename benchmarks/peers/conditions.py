"""What a run depends on: commit, machine, durability, versions."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg2

from benchmarks import report
from benchmarks.peers import servers
from benchmarks.peers.contenders import CONTENTGEN, OURS, Contender
from benchmarks.peers.figures import Run

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
_SYNCED_BYTES = 8192
_SYNCS = 200
_WATCHED_S = 1.0
BUSY = 0.1
"""From here on figures may say more of what else runs than of what is measured."""
_ROOT = Path(__file__).parents[2]


class NotDurable(Exception):
    """PostgreSQL runs with a setting that makes its figures flattering."""


def run(of: Sequence[Contender], python: Path, folder: Path, tasks: int, rounds: int) -> Run:
    """Of a run that begins now, with its data in `folder`. Raises NotDurable."""
    return Run(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine=report.machine(folder).line,
        sync_ms=round(_sync_ms(folder), 3),
        busy=round(psutil.cpu_percent(interval=_WATCHED_S) / 100, 3),
        durability=_durability(folder),
        versions=_versions(of, python),
        settings={each.key: each.settings for each in of},
        tasks=tasks,
        rounds=rounds,
    )


def _commit() -> str:
    """With `+` where files differ from it; `unknown` outside a checkout."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=8", "--exclude=*"],  # noqa: S607 - as the shell finds it
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"


def _sync_ms(folder: Path) -> float:
    """The median of a write with its sync."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            begin = time.monotonic()
            os.pwrite(file.fileno(), bytes(_SYNCED_BYTES), 0)
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - begin)
    return statistics.median(times) * 1e3


def _durability(folder: Path) -> dict[str, str]:
    found = {}
    with servers.postgres(folder) as url, closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for name in DURABLE:
            cursor.execute(f"SHOW {name}")
            (found[name],) = cursor.fetchone() or ("",)
    if set(found.values()) != {"on"}:
        raise NotDurable(f"all of these have to be on: {found}")
    return found


def _versions(of: Sequence[Contender], python: Path) -> dict[str, str]:
    wanted = {package for each in of for package in each.packages}
    found = {}
    if any(each.key != CONTENTGEN for each in of):
        listed = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
        said = subprocess.run(listed, capture_output=True, text=True, check=True)
        found = {each["name"]: each["version"] for each in json.loads(said.stdout) if each["name"] in wanted}
    if any(each.key == CONTENTGEN for each in of):
        found |= {package: version(package) for package in OURS.packages}
    if any(each.store.is_redis for each in of):
        said = subprocess.run([str(servers.REDIS_SERVER), "--version"], capture_output=True, text=True, check=True)
        found["redis-server"] = said.stdout.split("v=")[1].split()[0]
    return found
