"""What a campaign leaves for its checker: who journals what in which file, and everything that is compared.

`read_journals` reads the files, `collected` what is there at the end: the database, the API, the machine; `checker`
judges, and reads nothing. Times are seconds: `time` since the epoch, `boottime` of CLOCK_BOOTTIME, which is one for all
processes of a machine and never jumps. Bodies and topics are compared by the lower-case hex SHA-256 of their UTF-8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from scheduler_svc.domain.lifecycle import Status

CREATOR_JOURNAL = "creator.jsonl"
"""The CLI's own: `start`, `beat`, `end` and `printed` lines (see `Run`), each appended with one write."""
JOURNAL = "campaign.jsonl"
"""The campaign's: all records of `Journals` but the runs, each written once an answer has come, or can't come."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the CLI, from a `start` line, its `beat` lines and an `end` line with the same `run`.

    start: task_id, run, pid, worker, time, boottime; beat: run, boottime; end: run, status, body_sha256,
    file_sha256, boottime, written just before the result is printed; printed: run, boottime, just after.
    """

    task_id: str
    run: str
    """A UUID, which stands in the body of the result too."""
    worker: str
    time: float
    boottime: float
    last: float
    """CLOCK_BOOTTIME of its last line: until then it lived for certain."""
    status: int | None = None
    """What it exits with; None where it did not come to its own end."""
    body_sha256: str | None = None
    file_sha256: str | None = None
    """Of the file that its result names; None: it names none."""
    printed: bool = False
    """Whether its result was written out, and nothing stood between it and its exit with status 0 any more."""


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit that was acknowledged, one of a batch too."""

    task_id: str
    request_id: str
    account_id: int
    topic_sha256: str
    time: float


@dataclass(frozen=True, slots=True)
class Unsure:
    """A submit that may or may not have come through: its client has given up."""

    request_id: str
    account_id: int
    topic_sha256: str
    time: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel that was acknowledged, with the status of the task in the answer (lower case)."""

    task_id: str
    status: str
    time: float


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule that ticks every minute, journaled once it is known that no tick before `until` waits any more."""

    schedule_id: int
    account_id: int
    begin: float
    until: float
    jitter: float
    """Seconds by which a tick's task may come later."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A webhook that gets all events of all accounts; it was there before the first task."""

    webhook_id: int


@dataclass(frozen=True, slots=True)
class Received:
    """A request that the webhook's receiver got, and answered."""

    event_id: str
    """The header `webhook-id`."""
    type: str
    task_id: str
    status: str
    """In the event's data: of the task or of the review, in lower case."""
    accepted: bool
    """Whether it was answered with success."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A submit under a request id that has its task already, which was acknowledged again. Figures are made of it."""

    sent: float
    time: float


@dataclass(frozen=True, slots=True)
class Watched:
    """A move that the watcher of an account was told of; it watches from before the account's first task."""

    task_id: str
    account_id: int
    previous: str
    """In lower case; empty for a task's first move."""
    status: str
    time: float


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    """One of `KILL`, `FREEZE`, `DISK_FULL`, or whatever else the campaign does."""
    victim: str
    """`worker-3`, `worker-3/guard`, `scheduler-1`, `postgres`, …"""
    time: float
    boottime: float
    duration: float = 0.0
    """Seconds that it lasted, for what lasts."""
    planned: str = ""
    """The kind of the plan that it is a part of, such as `machine-kill`."""
    at: float = 0.0
    """When the plan has it: victims with the same `planned` and `at` were hurt by one fault."""
    tables: str = ""
    """Of locks: the tables, by comma."""


KILL, FREEZE, DISK_FULL, ROW_LOCK, TABLE_LOCK = "kill", "freeze", "disk_full", "row_lock", "table_lock"
"""The kinds that the checker knows: of KILL and FREEZE the process, of DISK_FULL the disk of the worker's folder."""


@dataclass(frozen=True, slots=True)
class HealthSeen:
    """What a scheduler said of its health, each time that it changed; one that does not answer has said nothing."""

    scheduler: str
    serving: bool
    time: float


@dataclass(frozen=True, slots=True)
class StoredTask:
    task_id: str
    account_id: int
    status: Status
    request_id: str | None
    topic_sha256: str
    auto_approve: bool
    retry_count: int
    max_retries: int
    content_id: int | None
    places: tuple[str, ...] = ()
    """The tables, of `ready`, `delayed` and `leases`, where it stands."""
    timeout: float = 1_800.0
    """Seconds that an attempt may take, its uploads among them."""


@dataclass(frozen=True, slots=True)
class Event:
    previous: Status
    status: Status
    time: float
    """The start of its transaction, by the database's clock."""
    attempt: int
    worker: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class StoredContent:
    content_id: int
    task_id: str
    account_id: int
    body_sha256: str
    run: str | None
    review_status: str = "approved"
    assets: tuple[str, ...] = ()
    """The SHA-256 of each file that it names, in order; empty for what was left out."""


@dataclass(frozen=True, slots=True)
class StoredTick:
    task_id: str
    schedule_id: int
    time: float


@dataclass(frozen=True, slots=True)
class Stored:
    tasks: Mapping[str, StoredTask]
    events: Mapping[str, Sequence[Event]]
    """By task, in the order of their numbers."""
    contents: Sequence[StoredContent] = ()
    pool: Sequence[int] = ()
    """The content ids of the publish pool's entries."""
    leases: Sequence[str] = ()
    """The tasks that have a row in `leases`, ended ones included."""
    logs: Collection[tuple[str, int]] = frozenset()
    """The tasks and attempts that have an attempt log."""
    ticks: Sequence[StoredTick] = ()
    assets: Collection[str] = frozenset()
    """The SHA-256 of the files that are complete."""
    caps: Mapping[int, int] = field(default_factory=dict)
    """`max_concurrent_tasks` of the accounts that have one; the same all the time."""


@dataclass(frozen=True, slots=True)
class AnsweredTask:
    status: Status
    account_id: int
    topic_sha256: str


@dataclass(frozen=True, slots=True)
class Answers:
    tasks: Mapping[str, AnsweredTask]
    """Of those that were asked for; a task that is missing was NOT_FOUND."""
    counts: Mapping[int, Mapping[str, int]]
    """GetTaskStats by account, and of all of them under 0."""
    histories: Mapping[str, Sequence[tuple[Status, int]]] = field(default_factory=dict)
    """ListTaskEvents: status and attempt after each move."""
    bodies: Mapping[str, str] = field(default_factory=dict)
    """GetContent: the SHA-256 of the body, by task, of those that say that they have a content."""
    pool: Sequence[int] = ()
    """ListPublishPool: the content ids of the entries."""
    files: Mapping[str, str] = field(default_factory=dict)
    """GetAsset: the SHA-256 of the bytes, or the error, by the SHA-256 that GetContent gives."""


@dataclass(frozen=True, slots=True)
class Journals:
    runs: Sequence[Run] = ()
    submits: Sequence[Submit] = ()
    unsure: Sequence[Unsure] = ()
    cancels: Sequence[Cancel] = ()
    faults: Sequence[Fault] = ()
    watched: Sequence[Watched] = ()
    """In the order of their coming; of accounts with a watcher."""
    probes: Sequence[Probe] = ()
    health: Sequence[HealthSeen] = ()
    schedules: Sequence[Scheduled] = ()
    subscribed: Sequence[Subscribed] = ()
    received: Sequence[Received] = ()
    """In the order of their coming."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that is still there after all services have stopped."""

    kind: str
    """`process`, `scratch folder`, `spool file`, `connection`, `socket folder`, …"""
    what: str


@dataclass(frozen=True, slots=True)
class Evidence:
    journals: Journals
    stored: Stored
    answers: Answers
    leftovers: Sequence[Leftover] = ()
    lease_ttl: float = 5.0
    """Seconds: the lease time of the schedulers."""


Record = Submit | Unsure | Cancel | Scheduled | Subscribed | Received | Probe | Watched | Fault | HealthSeen
Problem = tuple[str, str]
"""Of a broken promise: the task's id, empty where no one task is concerned; what was seen, and what should be."""


# Journals: files of one JSON object a line, that processes append to while they are being killed.


R = TypeVar("R", bound=Record | Run)
_KINDS: dict[str, type[Record]] = {
    field: get_args(hint)[0] for field, hint in get_type_hints(Journals).items() if field != "runs"
}


class Appender:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def append(self, record: Record, **more: object) -> None:
        """Writes one line with the record's fields, and with `more`, which readers pass over; in one write."""
        line = json.dumps({"event": type(record).__name__, **asdict(record), **more})
        os.write(self._file, line.encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_journals(folder: Path) -> Journals:
    """Returns all journals of a campaign's folder; one never begun is empty. Raises ValueError, naming the line."""
    lines = list(_lines(folder / JOURNAL))
    records = {
        field: [_record(kind, line) for line in lines if line["event"] == kind.__name__]
        for field, kind in _KINDS.items()
    }
    return Journals(runs=_runs(_lines(folder / CREATOR_JOURNAL)), **records)  # type: ignore[arg-type] # `_KINDS` says so


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields its objects; what comes after the last newline is still being written, or will never be."""
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


def _record(kind: type[R], line: dict[str, Any]) -> R:
    return kind(**{name: line[name] for name in kind.__dataclass_fields__ if name in line})


def _runs(lines: Iterator[dict[str, Any]]) -> list[Run]:
    runs: dict[str, Run] = {}
    for line in lines:
        event, name, last = line.pop("event"), line["run"], line["boottime"]
        if event == "start":
            runs[name] = _record(Run, {**line, "last": last})
        elif event == "end":
            status, body, file = line["status"], line["body_sha256"], line["file_sha256"] or None
            runs[name] = replace(runs[name], last=last, status=status, body_sha256=body, file_sha256=file)
        else:
            runs[name] = replace(runs[name], last=last, printed=runs[name].printed or event == "printed")
    return list(runs.values())
