"""The audit's statements and its buffer, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from scheduler_svc.audit import sql as statements
from scheduler_svc.audit import work as audit
from scheduler_svc.audit.loop import AuditLog
from scheduler_svc.config import Settings
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.audit import AuditedCall, AuditEvent, AuditFilter, event_key, first_key
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.retention.loop import Retention
from scheduler_svc.runtime.calls import Calls
from tests.harness.database_faults import away
from tests.harness.scheduling import Scheduling

pytestmark = pytest.mark.integration

TIME = datetime(2026, 1, 31, 8, tzinfo=UTC)
CANCEL, SUBMIT = "TaskService/CancelTask", "TaskService/SubmitTask"


def call(actor: str = "op", account_id: int = 1, method: str = CANCEL, resource: str = "") -> AuditedCall:
    return AuditedCall(actor, account_id, method, resource, "OK")


def store(scheduling: Scheduling, *audited_calls: AuditedCall) -> list[AuditEvent]:
    """Stores one event a second."""
    events = [AuditEvent(first_key(TIME + timedelta(seconds=n)), *fields) for n, fields in enumerate(audited_calls)]
    scheduling.run(lambda tx: audit.record(tx, events, repeated=False))
    return events


def listed(scheduling: Scheduling, scope: Scope = ALL, **wanted: object) -> list[AuditEvent]:
    event_filter = AuditFilter(**wanted)  # type: ignore[arg-type]
    page = scheduling.run(lambda tx: tx.audit.list(scope, event_filter, 100))
    assert page.rest is None
    return list(page.rows)


def recorded(scheduling: Scheduling) -> list[str]:
    """Resources, oldest first."""
    return [row[0] for row in scheduling.sql("SELECT resource FROM audit_events ORDER BY event_key")]


@pytest.mark.parametrize("key", [event_key(1_800_000_000_000_000, 7), event_key(0, 1023)])
def test_a_key_holds_its_time(key: int) -> None:
    event = AuditEvent(key, *call())
    assert first_key(event.time) <= key < first_key(event.time + timedelta(microseconds=1))


@pytest.mark.parametrize("time", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_any_time_has_a_first_key(time: datetime) -> None:
    assert 0 <= first_key(time) < 1 << 63


def test_events_are_listed_newest_first_by_each_filter(scheduling: Scheduling) -> None:
    events = store(
        scheduling, call(), call(actor="editor"), call(account_id=2), call(method=SUBMIT), call("editor", 2, SUBMIT)
    )
    assert listed(scheduling) == events[::-1]
    assert listed(scheduling, Scope.of(2)) == [events[4], events[2]]
    assert listed(scheduling, Scope((1, 2))) == events[::-1]
    assert listed(scheduling, actor="editor") == [events[4], events[1]]
    assert listed(scheduling, method=CANCEL) == events[2::-1]
    assert listed(scheduling, method=SUBMIT) == [events[4], events[3]]
    assert listed(scheduling, Scope.of(1), actor="editor", method=CANCEL) == [events[1]]
    second = first_key(TIME + timedelta(seconds=2))
    assert listed(scheduling, low=second) == events[:1:-1]
    assert listed(scheduling, high=second) == events[1::-1]


@pytest.mark.parametrize("scope", [ALL, Scope((1, 2))])
def test_a_page_examines_only_so_many(scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch, scope: Scope) -> None:
    monkeypatch.setattr(statements, "MAX_EXAMINED", 4)
    events = store(scheduling, call(actor="rare"), *(call(account_id=1 + n % 2) for n in range(20)))
    seen, high, pages = [], events[-1].event_key + 1, 0
    while True:
        page = scheduling.run(lambda tx, below: tx.audit.list(scope, AuditFilter("rare", high=below), 100), high)
        seen += page.rows
        pages += 1
        if page.rest is None:
            break
        high = page.rest
    assert (seen, pages > 1) == (events[:1], True)


def test_accounts_are_those_of_the_resources(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    mine = scheduling.sql("SELECT account_id FROM tasks")[0][0]
    store(
        scheduling,
        call(account_id=0, resource=f"task:task-{key:016x}"),
        call(account_id=0, resource="content:99"),
        call(account_id=0, resource="worker:1"),
        call(account_id=9, resource=f"task:task-{key:016x}"),
    )
    assert [event.account_id for event in listed(scheduling)] == [9, 0, 0, mine]


def test_a_repeated_group_stores_what_is_missing(scheduling: Scheduling) -> None:
    first, second = store(scheduling, call(resource="a"), call(resource="b"))
    third = AuditEvent(second.event_key + 1, *call(resource="c"))
    scheduling.run(lambda tx: audit.record(tx, [first, second, third], repeated=True))
    assert recorded(scheduling) == ["a", "b", "c"]
    (submit,) = [event._replace(method=SUBMIT, resource="of the group as it is by now") for event in [third]]
    scheduling.run(lambda tx: audit.record(tx, [submit], repeated=True))
    assert recorded(scheduling) == ["a", "b", "of the group as it is by now"]


async def test_a_round_stores_what_was_added_in_order(scheduling: Scheduling, calls: Calls) -> None:
    log = AuditLog(calls)
    for name in "abc":
        log.add([call(resource=name)], awaited=False)
    stored = log.add([call(resource="d")], awaited=True)
    assert stored
    assert not stored.done()
    assert await log.run_once() is None
    assert stored.done()
    assert recorded(scheduling) == list("abcd")


async def test_submits_of_a_minute_are_one_event(scheduling: Scheduling, calls: Calls) -> None:
    now = TIME.timestamp()
    log = AuditLog(calls, now=lambda: now)

    def submit(resource: str, actor: str = "op", account_id: int = 1, method: str = SUBMIT) -> None:
        log.add([call(actor, account_id, method, f"task:{resource}")], awaited=False)

    def shown() -> list[tuple[str, str, str]]:
        return [(event.actor, event.resource, event.changes) for event in reversed(listed(scheduling))]

    submit("a")
    submit("other", actor="editor")
    await log.run_once()
    assert shown() == [("op", "task:a", ""), ("editor", "task:other", "")], "one has no count"
    now += 30.5
    submit("b")
    submit("c and 1,998 more", method="TaskService/BatchSubmitTasks")
    submit("d and 9 more", method="TaskService/BatchSubmitTasks")
    submit("of another account", account_id=2)
    log.add([call(method=SUBMIT, resource="task:?")._replace(outcome="INVALID_ARGUMENT")], awaited=False)
    await log.run_once()
    half = "until: 2026-01-31T08:00:30.50000"
    assert shown()[0] == ("op", "task:a and 1 more", f"{half}0Z")
    assert shown()[2:] == [
        ("op", "task:c and 2,008 more", f"{half}2Z"),
        ("op", "task:of another account", ""),
        ("op", "task:?", ""),
    ]
    now += 29.4
    submit("e")
    now += 0.2
    submit("f")
    await log.run_once()
    submit("g")
    await log.run_once()
    assert shown()[0] == ("op", "task:a and 2 more", "until: 2026-01-31T08:00:59.900000Z")
    assert shown()[-1] == ("op", "task:f and 1 more", "until: 2026-01-31T08:01:00.100001Z")


async def test_a_full_buffer_drops_what_is_new_and_says_how_much(scheduling: Scheduling, calls: Calls) -> None:
    log = AuditLog(calls, max_waiting=2)
    with capture_logs() as logs:
        for name in "abcd":
            assert log.add([call(resource=name)], awaited=False) is None
        assert log.state().waiting == 2
        await log.run_once()
    assert recorded(scheduling) == ["a", "b"]
    assert [(entry["event"], entry.get("count")) for entry in logs] == [
        ("the audit's buffer is full: events are dropped", None),
        ("audit events were dropped", 2),
    ]


async def test_events_outlast_an_outage_and_no_call_waits_meanwhile(
    scheduling: Scheduling, calls: Calls, cluster: EmbeddedPostgres, db_url: str
) -> None:
    log = AuditLog(calls)
    await log.run_once()
    log.add([call(resource="before")], awaited=False)
    await log.run_once()
    with away(cluster, db_url):
        waits = log.add([call(resource="during")], awaited=True)
        with pytest.raises(StoreUnavailable):
            await log.run_once()
        assert waits
        assert waits.done(), "the call goes on"
        assert log.state().oldest > 0
        assert log.add([call(resource="later")], awaited=True) is None, "no further call waits"
    assert await log.run_once() is None
    assert log.state().oldest == 0
    assert recorded(scheduling) == ["before", "during", "later"]


async def test_closing_stores_what_is_left(scheduling: Scheduling, calls: Calls) -> None:
    log = AuditLog(calls)
    log.add([call(resource=str(n)) for n in range(3_000)], awaited=False)
    await log.close()
    assert recorded(scheduling) == [str(n) for n in range(3_000)]


async def test_old_events_are_deleted(scheduling: Scheduling, calls: Calls) -> None:
    store(scheduling, *(call() for _ in range(1_200)))
    now = AuditEvent(first_key(datetime.now(UTC)), *call(resource="new"))
    scheduling.run(lambda tx: audit.record(tx, [now], repeated=False))
    retention = Retention(calls, Settings(audit_retention=3_600))
    pauses: list[float] = []
    while (rest := await retention.run_once()) < timedelta(hours=1).total_seconds() / 10:
        pauses += [rest] if rest else []
    assert len(pauses) == 2, "it leaves the database to others after each full batch"
    assert recorded(scheduling) == ["new"]
