"""What a run of the comparison depends on: the machine, and the versions of all who were measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks import conditions
from benchmarks.peers import servers
from benchmarks.peers.contenders import CONTENTGEN, OURS, Contender
from benchmarks.peers.figures import Run


def run(of: Sequence[Contender], python: Path, folder: Path, tasks: int, rounds: int) -> Run:
    """Of a run that begins now, with its data in `folder`. Raises NotDurable."""
    return Run(
        **asdict(conditions.now(folder)),
        versions=_versions(of, python),
        settings={each.key: each.settings for each in of},
        tasks=tasks,
        rounds=rounds,
    )


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
