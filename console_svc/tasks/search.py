"""Which tasks a list shows: read from the address of the page, and written into it again.

Layer: between pages and the client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from starlette.datastructures import ImmutableMultiDict

from console_svc.web.language import text
from console_svc.web.numbers import number_of
from console_svc.web.times import moment
from console_svc.web.zones import UTC_ZONE, zone_named
from contentgen import Task, TaskFilter, TaskStatus

STATES: Sequence[TaskStatus] = get_args(TaskStatus)
REASONS: Sequence[str] = (
    "CREATOR_ERROR",
    "CREATOR_TIMEOUT",
    "CREATOR_INVALID_RESPONSE",
    "CREATOR_CLI_NOT_FOUND",
    "TASK_TIMEOUT",
    "DEFERRED",
    "WORKER_LOST",
    "RESULT_TOO_LARGE",
    "INVALID_CREATOR_OPTIONS",
    "NO_WORKER_ACCEPTS",
    "CANCELLED_BY_CLIENT",
    "EXPIRED",
)
"""Those that a form offers; the API may have more."""
_FIELDS = ("topic", "account", "worker", "label", "reason", "schedule", "after", "before", "zone")
_WORDS = re.compile(r"[,，\s]+")
_LABELS = re.compile(r"[,，]\s*|\s{2,}|\n")


@dataclass(frozen=True, slots=True)
class TaskSearch:
    """Conditions that hold together. `typed` is what the form had; a field in `problems` has no effect."""

    typed: Mapping[str, str]
    states: Sequence[TaskStatus]
    problems: Mapping[str, str]
    account: int | None
    schedule: int | None
    labels: Mapping[str, str]
    after: datetime | None
    before: datetime | None

    @classmethod
    def read(cls, given: ImmutableMultiDict[str, Any]) -> TaskSearch:
        """That of a query, or of a form."""
        typed = {name: value for name in _FIELDS if (value := str(given.get(name, "")).strip())}
        if not typed.keys() & {"after", "before"}:
            typed.pop("zone", None)
        states = [state for state in STATES if state in given.getlist("status")]
        reader = _Reader(typed)
        return cls(
            typed,
            states,
            reader.problems,
            account=reader.number("account"),
            schedule=reader.number("schedule"),
            labels=reader.labels("label"),
            after=reader.time("after"),
            before=reader.time("before"),
        )

    @property
    def query(self) -> list[tuple[str, str]]:
        """Its part of an address."""
        return [*self.typed.items(), *(("status", state) for state in self.states)]

    @property
    def topic(self) -> str:
        return self.typed.get("topic", "")

    @property
    def worker(self) -> str:
        return self.typed.get("worker", "")

    @property
    def reasons(self) -> Sequence[str]:
        return [word.upper() for word in _WORDS.split(self.typed.get("reason", "")) if word]

    @property
    def narrow(self) -> bool:
        """Whether it has conditions beside states and an account, which every form shows."""
        return bool(self.typed.keys() - {"topic", "account", "zone"})

    def conditions(self) -> TaskFilter:
        """For the client, beside account and states."""
        return {
            "topic": self.topic,
            "worker_id": self.worker,
            "labels": self.labels,
            "error_reasons": self.reasons,
            "schedule_id": self.schedule,
            "created_after": self.after,
            "created_before": self.before,
        }

    def meets(self, task: Task) -> bool:
        """Whether a task meets all conditions, but for its state."""
        made = datetime.fromisoformat(task["created_at"])
        return (
            self.account in {None, task["account_id"]}
            and self.schedule in {None, task["schedule_id"]}
            and self.worker in {"", task["worker_id"]}
            and self.topic.lower() in task["topic"].lower()
            and self.labels.items() <= task["labels"].items()
            and (not self.reasons or task["error_reason"] in self.reasons)
            and (self.after is None or made >= self.after)
            and (self.before is None or made < self.before)
        )


class _Reader:
    """Reads fields, and notes what is wrong with each."""

    def __init__(self, typed: Mapping[str, str]) -> None:
        self._typed = typed
        self._zone = zone_named(typed.get("zone", "")) or UTC_ZONE
        self.problems: dict[str, str] = {}

    def number(self, name: str) -> int | None:
        try:
            return number_of(self._typed.get(name, ""))
        except ValueError:
            self.problems[name] = text("It should be a number, from 1.")
            return None

    def labels(self, name: str) -> Mapping[str, str]:
        found = {}
        for each in _LABELS.split(self._typed.get(name, "")):
            key, equals, value = each.partition("=")
            if key.strip() and equals:
                found[key.strip()] = value.strip()
            elif each.strip():
                self.problems[name] = text("It should be key=value, several by comma.")
        return found

    def time(self, name: str) -> datetime | None:
        try:
            return moment(self._typed[name], self._zone) if name in self._typed else None
        except ValueError:
            self.problems[name] = text("It should be a time such as 2026-01-31 08:00.")
            return None
