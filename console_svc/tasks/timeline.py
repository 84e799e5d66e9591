"""What a task did when: its waits and its attempts, from its history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from contentgen import Task, TaskEvent, TaskStatus

MAX_LANES = 20
"""Attempts that the picture shows: the newest."""
ENDED = ("completed", "failed", "timeout", "cancelled")
_MIN_LENGTH = timedelta(milliseconds=1)


@dataclass(slots=True)
class Span:
    """A time in one state. `reason` and `message` are of the event that began it; `end` is None for the present one."""

    status: TaskStatus
    attempt: int
    begin: datetime
    end: datetime | None
    worker: str
    reason: str
    message: str
    ended_as: str = ""
    """The reason of the event that ended it."""

    def seconds(self, now: datetime) -> float:
        return ((self.end or now) - self.begin).total_seconds()


@dataclass(slots=True)
class Lane:
    """An attempt with the wait before it. The last lane of a task that waits has only that."""

    attempt: int
    spans: list[Span] = field(default_factory=list)


class Bar(NamedTuple):
    """A span in the picture, in percents of its width."""

    span: Span
    x: float
    width: float
    seconds: float


class Timeline(NamedTuple):
    begin: datetime
    end: datetime
    spans: Sequence[Span]
    lanes: Sequence[tuple[int, Sequence[Bar]]]
    """The newest `MAX_LANES`, by attempt."""
    left_out: int
    """Lanes before these."""

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


def timeline(task: Task, events: Sequence[TaskEvent], now: datetime) -> Timeline:
    """Returns the timeline of a task. `events` are the newest of its history."""
    spans = _spans(events)
    end_text = task["completed_at"]
    end = datetime.fromisoformat(end_text) if end_text else now
    lanes = _lanes(spans)
    shown_lanes = lanes[-MAX_LANES:]
    begin = min((lane.spans[0].begin for lane in shown_lanes), default=end)
    end = max(end, begin + _MIN_LENGTH)
    length = (end - begin).total_seconds()

    def bar(span: Span) -> Bar:
        x = 100 * (span.begin - begin).total_seconds() / length
        seconds = span.seconds(now)
        return Bar(span, round(x, 3), round(max(100 * seconds / length, 0.0), 3), seconds)

    bars = [(lane.attempt, [bar(span) for span in lane.spans]) for lane in shown_lanes]
    return Timeline(begin, end, spans, bars, len(lanes) - len(shown_lanes))


def _spans(events: Sequence[TaskEvent]) -> list[Span]:
    spans: list[Span] = []
    for event in events:
        time = datetime.fromisoformat(event["event_time"])
        last = spans[-1] if spans else None
        if last is not None and last.end is None:
            if event["status"] == last.status == "pending":  # it was updated, and waits on
                continue
            last.end, last.ended_as = time, event["reason"]
        if event["status"] not in ENDED:
            worker, message = event["worker_id"] or "", event["message"] or ""
            spans.append(Span(event["status"], event["attempt"], time, None, worker, event["reason"], message))
    return spans


def _lanes(spans: Sequence[Span]) -> list[Lane]:
    lanes: list[Lane] = []
    last = 0
    for span in spans:
        if span.status == "pending" or not lanes or (lanes[-1].attempt != span.attempt and lanes[-1].spans[-1].attempt):
            lanes.append(Lane(last + 1 if span.status == "pending" else span.attempt))
        lanes[-1].spans.append(span)
        if span.status != "pending":
            last = lanes[-1].attempt = span.attempt
    return lanes


@dataclass(slots=True)
class Attempt:
    number: int
    worker: str
    begin: datetime
    end: datetime | None = None
    status: str = "submitted"
    reason: str = ""
    message: str = ""


def attempts(events: Sequence[TaskEvent]) -> list[Attempt]:
    """Returns the attempts that `events` tell of, the newest first."""
    by_number: dict[int, Attempt] = {}
    for event in events:
        number, time = event["attempt"], datetime.fromisoformat(event["event_time"])
        if event["status"] == "submitted":
            by_number[number] = Attempt(number, event["worker_id"] or "", time)
        if (attempt := by_number.get(number)) is None or attempt.end is not None:
            continue
        attempt.status = event["status"]
        if event["status"] not in {"submitted", "processing"}:
            attempt.end, attempt.reason, attempt.message = time, event["reason"], event["message"] or ""
    return sorted(by_number.values(), key=lambda attempt: -attempt.number)
