"""What the creators of a stack wrote into their journal: which creates there were, and which processes they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.harness.processes import living, process_of
from tests.harness.waiting import wait_until


@dataclass
class Create:
    """One run of the CLI's `create`."""

    task_id: str
    pid: int
    time: float
    """Seconds since the epoch."""
    topic: str = ""
    topic_sha256: str = ""
    """Of the bytes as the program received them."""
    children: list[int] = field(default_factory=list)
    """Processes that it left behind (`--demo-fail=fork`)."""
    status: int | None = None
    """Its exit status; None while it runs, and if it was killed."""
    end_time: float | None = None

    def processes(self) -> list[psutil.Process]:
        """Its living processes and those that it left behind."""
        return living(process for pid in (self.pid, *self.children) if (process := process_of(pid)))


class Journal:
    """The file that CREATOR_DEMO_JOURNAL names; any number of processes append to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def creates(self, task_id: str | None = None) -> list[Create]:
        """All creates so far in the order of their starts, or those of one task."""
        creates: list[Create] = []
        for line in self._lines():
            if line["event"] == "start":
                creates.append(_start(line))
            elif line["event"] == "child":
                _latest(creates, line).children.append(line["pid"])
            elif line["event"] == "end":
                create = _latest(creates, line, pid=line["pid"])
                create.status, create.end_time = line["status"], line["time"]
        return [create for create in creates if task_id in (None, create.task_id)]

    def running(self, task_id: str) -> Create:
        """The latest create of a task, once there is one; it has to run."""
        create = wait_until(lambda: self.creates(task_id), within=10, what=f"the CLI of {task_id} has started")[-1]
        assert create.processes(), f"the CLI of {task_id} does not run"
        return create

    def ended(self, task_id: str) -> list[Create]:
        """The creates of a task that ended by themselves."""
        return [create for create in self.creates(task_id) if create.status is not None]

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        text = self.path.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _start(line: dict[str, Any]) -> Create:
    return Create(line["task_id"], line["pid"], line["time"], line.get("topic", ""), line.get("topic_sha256", ""))


def _latest(creates: list[Create], line: dict[str, Any], pid: int | None = None) -> Create:
    return next(
        create for create in reversed(creates) if create.task_id == line["task_id"] and pid in (None, create.pid)
    )
