"""The journals of a campaign: files of one JSON object a line, that processes append to while they are being killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from lab.chaos.evidence import (
    CLIENTS_JOURNAL,
    CREATOR_JOURNAL,
    FAULTS_JOURNAL,
    HEALTH_JOURNAL,
    WATCHERS_JOURNAL,
    WEBHOOK_JOURNAL,
    Cancel,
    Fault,
    HealthSeen,
    Journals,
    Probe,
    Received,
    Run,
    Scheduled,
    Submit,
    Subscribed,
    Unsure,
    Watched,
)

Record = Submit | Unsure | Cancel | Scheduled | Subscribed | Received | Probe | Watched | Fault | HealthSeen
R = TypeVar("R", Submit, Unsure, Cancel, Scheduled, Subscribed, Received, Probe, Watched, Fault, HealthSeen)


class Appender:
    """Appends to one journal; any number of threads and processes may, each with an appender of its own or not."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, record: Record, **more: object) -> None:
        """One line with the record's fields, and with `more`, which readers pass over; in one write."""
        line = json.dumps({"event": record.EVENT, **asdict(record), **more})
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_journals(folder: Path) -> Journals:
    """All journals of a campaign's folder; one that was never begun is empty. Raises ValueError, naming the line."""
    clients = list(_lines(folder / CLIENTS_JOURNAL))
    return Journals(
        runs=_runs(_lines(folder / CREATOR_JOURNAL)),
        submits=_of(Submit, clients),
        unsure=_of(Unsure, clients),
        cancels=_of(Cancel, clients),
        probes=_of(Probe, clients),
        schedules=_of(Scheduled, clients),
        subscribed=_of(Subscribed, clients),
        received=_of(Received, list(_lines(folder / WEBHOOK_JOURNAL))),
        health=_of(HealthSeen, list(_lines(folder / HEALTH_JOURNAL))),
        watched=_of(Watched, list(_lines(folder / WATCHERS_JOURNAL))),
        faults=_of(Fault, list(_lines(folder / FAULTS_JOURNAL))),
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Its objects; what comes after the last newline is still being written, or will never be."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}: {line[:200]!r}") from None


def _of(kind: type[R], lines: list[dict[str, Any]]) -> list[R]:
    names = set(kind.__dataclass_fields__)
    return [
        kind(**{name: value for name, value in line.items() if name in names})
        for line in lines
        if line["event"] == kind.EVENT
    ]


def _runs(lines: Iterator[dict[str, Any]]) -> list[Run]:
    """Returns the runs in the order of their starts."""
    runs: dict[str, Run] = {}
    for line in lines:
        if line["event"] == "start":
            runs[line["run"]] = _started(line)
        elif line["event"] == "beat":
            runs[line["run"]] = replace(runs[line["run"]], last=line["boottime"])
        elif line["event"] == "end":
            runs[line["run"]] = replace(
                runs[line["run"]],
                last=line["boottime"],
                status=line["status"],
                body_sha256=line["body_sha256"],
                file_sha256=line["file_sha256"] or None,
            )
        elif line["event"] == "given":
            runs[line["run"]] = replace(runs[line["run"]], last=line["boottime"], given=True)
    return list(runs.values())


def _started(line: dict[str, Any]) -> Run:
    return Run(
        task_id=line["task_id"],
        run=line["run"],
        worker=line["worker"],
        pid=line["pid"],
        pid_start=line["pid_start"],
        time=line["time"],
        boottime=line["boottime"],
        last=line["boottime"],
    )
