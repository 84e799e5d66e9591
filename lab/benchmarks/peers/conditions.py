"""What a run of the comparison depends on: the machine, and the versions of all who were measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lab.benchmarks import conditions
from lab.benchmarks.peers import servers
from lab.benchmarks.peers.contenders import CONTENTGEN, OURS, Contender
from lab.benchmarks.peers.figures import Run


def run(of: Sequence[Contender], python: Path, folder: Path, tasks: int, rounds: int) -> Run:
    """Of a run that begins now, with its data in `folder`. Raises NotDurable."""
    return Run(
        **asdict(conditions.now(folder)),
        versions=_versions(of, python),
        settings={contender.key: contender.settings for contender in of},
        tasks=tasks,
        rounds=rounds,
    )


def _versions(contenders: Sequence[Contender], python: Path) -> dict[str, str]:
    names = {package for contender in contenders for package in contender.packages}
    versions = {}
    if any(contender.key != CONTENTGEN for contender in contenders):
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
        output = subprocess.run(command, capture_output=True, text=True, check=True)
        versions = {
            package["name"]: package["version"] for package in json.loads(output.stdout) if package["name"] in names
        }
    if any(contender.key == CONTENTGEN for contender in contenders):
        versions |= {package: version(package) for package in OURS.packages}
    if any(contender.store.is_redis for contender in contenders):
        output = subprocess.run([str(servers.REDIS_SERVER), "--version"], capture_output=True, text=True, check=True)
        versions["redis-server"] = output.stdout.split("v=")[1].split()[0]
    return versions
