"""Which tasks a list shows: read from the address of the page, and written into it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, get_args

from starlette.datastructures import ImmutableMultiDict

from console_svc.web.forms import BadValue, Form, typed_of
from console_svc.web.language import text
from console_svc.web.numbers import number_of
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


class TaskSearch(Form):
    """Conditions that hold together, of an address or of a form. A field that has a problem has no effect."""

    def __init__(self, data: ImmutableMultiDict[str, Any]) -> None:
        typed = typed_of(data, _FIELDS)
        if not typed.keys() & {"after", "before"}:
            typed.pop("zone", None)
        super().__init__(typed)
        self.states = [state for state in STATES if state in data.getlist("status")]
        self.account_id, self.schedule_id = (
            self.read(name, number_of, text("It should be a number, from 1.")) for name in ("account", "schedule")
        )
        self.labels = self.read("label", _labels) or {}
        self.after, self.before = (
            self.time(name, text("It should be a time such as 2026-01-31 08:00.")) for name in ("after", "before")
        )

    @property
    def query(self) -> list[tuple[str, str]]:
        """The conditions as pairs of the query of an address."""
        return [*self.typed.items(), *(("status", state) for state in self.states)]

    @property
    def topic(self) -> str:
        return self.plain("topic")

    @property
    def worker(self) -> str:
        return self.plain("worker")

    @property
    def reasons(self) -> Sequence[str]:
        return [word.upper() for word in _WORDS.split(self.plain("reason")) if word]

    @property
    def narrow(self) -> bool:
        """Tells whether there are conditions beside states and an account, which every form shows."""
        return bool(self.typed.keys() - {"topic", "account", "zone"})

    def conditions(self) -> TaskFilter:
        """Returns the filter for the client, without the account and the states."""
        return {
            "topic": self.topic,
            "worker_id": self.worker,
            "labels": self.labels,
            "error_reasons": self.reasons,
            "schedule_id": self.schedule_id,
            "created_after": self.after,
            "created_before": self.before,
        }

    def meets(self, task: Task) -> bool:
        """Tells whether a task meets all conditions, but for its state."""
        creation_time = datetime.fromisoformat(task["created_at"])
        return (
            self.account_id in {None, task["account_id"]}
            and self.schedule_id in {None, task["schedule_id"]}
            and self.worker in {"", task["worker_id"]}
            and self.topic.lower() in task["topic"].lower()
            and self.labels.items() <= task["labels"].items()
            and (not self.reasons or task["error_reason"] in self.reasons)
            and (self.after is None or creation_time >= self.after)
            and (self.before is None or creation_time < self.before)
        )


def _labels(input_text: str) -> Mapping[str, str]:
    labels = {}
    for part in _LABELS.split(input_text):
        key, equals, value = part.partition("=")
        if key.strip() and equals:
            labels[key.strip()] = value.strip()
        elif part.strip():
            raise BadValue(text("It should be key=value, several by comma."))
    return labels
