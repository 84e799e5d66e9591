"""The retention on a real database: which rows are deleted, which stay, and that a round reads only due ones."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from old_application.sql import one_at_a_time
from scheduler_svc.config import Settings
from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.webhook import Response
from scheduler_svc.publishing.work import claim
from scheduler_svc.retention import work as sweeps
from scheduler_svc.retention.loop import MAX_INTERVAL, Retention
from scheduler_svc.retention.work import Sweep
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.webhooks.work import Tried, delete_webhook, record
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("executor_ended")]

HOUR = timedelta(hours=1)
PAUSE = 360.0
"""Seconds between rounds if rows are kept for an hour."""


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "MAX_BATCH", 2)


async def round_of(retention: Retention) -> int:
    """Deletes all due rows; returns the number of transactions."""
    for transactions in range(1, 100):
        begin = time.monotonic()
        if (rest := await retention.run_once()) == PAUSE:
            return transactions
        assert rest <= time.monotonic() - begin, "a pause is as long as its batch"
    raise AssertionError("it never rests")


def of_tasks(calls: Calls) -> Retention:
    return Retention(calls, Settings(retention=HOUR.total_seconds()))


def of_contents(calls: Calls) -> Retention:
    return Retention(calls, Settings(content_retention=HOUR.total_seconds()))


def keys(scheduling: Scheduling) -> set[int]:
    return {row[0] for row in scheduling.sql("SELECT task_key FROM tasks")}


def ended(scheduling: Scheduling, *, count: int, hours: float = 0) -> set[int]:
    """Tasks that ended that long ago, each at a different time."""
    task_keys = [scheduling.cancel(scheduling.submit_one()).task_key for _ in range(count)]
    aged = "UPDATE tasks SET end_time = end_time - make_interval(secs => :secs) WHERE task_key = ANY(:keys)"
    scheduling.sql(aged, keys=task_keys, secs=hours * 3_600)
    return set(task_keys)


class TestTasks:
    async def test_old_tasks_are_deleted_batch_by_batch(self, scheduling: Scheduling, calls: Calls) -> None:
        ended(scheduling, count=5, hours=2)
        kept = ended(scheduling, count=1) | {scheduling.submit_one()}
        retention = of_tasks(calls)
        with capture_logs() as logs:
            await round_of(retention)
        assert keys(scheduling) == kept
        assert [(line["action"], line["count"]) for line in logs] == [("retention", n) for n in (2, 2, 1)]
        await round_of(retention)
        assert keys(scheduling) == kept

    async def test_a_round_costs_the_same_however_many_tasks_ended(self, scheduling: Scheduling, calls: Calls) -> None:
        before = await round_of(of_tasks(calls))
        ended(scheduling, count=10)
        assert await round_of(of_tasks(calls)) == before

    async def test_a_task_that_must_stay_delays_no_other(self, scheduling: Scheduling, calls: Calls) -> None:
        """A task whose worker is still being stopped stays until its revoked lease is gone."""
        refs = [scheduling.start() for _ in range(3)]
        for ref in refs:
            scheduling.cancel(ref.task_key, force=True)
        scheduling.sql("UPDATE tasks SET end_time = now() - interval '3 h'")
        others = ended(scheduling, count=3, hours=2)
        await round_of(of_tasks(calls))
        assert keys(scheduling) == {ref.task_key for ref in refs}
        assert not others & keys(scheduling)

    async def test_one_replica_at_a_time_runs_the_retention(self, scheduling: Scheduling, calls: Calls) -> None:
        due = ended(scheduling, count=1, hours=2)
        with scheduling.transaction() as other:
            assert other.sweeps.take_turn()
            assert await of_tasks(calls).run_once() == PAUSE
        assert keys(scheduling) == due
        await round_of(of_tasks(calls))
        assert not keys(scheduling)

    @pytest.mark.parametrize(("age", "rest"), [(1, 1.0), (60, 6.0), (365 * 86_400, MAX_INTERVAL)])
    async def test_the_retention_runs_often_enough(self, calls: Calls, age: int, rest: float) -> None:
        retention = Retention(calls, Settings(retention=age, content_retention=1_000 * 86_400))
        rests = [await retention.run_once() for _ in range(11)]
        assert rests == [*[0.0] * 10, rest]

    async def test_the_retention_runs_hourly_by_default(self, calls: Calls) -> None:
        retention = Retention(calls, Settings())
        assert [await retention.run_once() for _ in range(8)] == [*[0.0] * 7, MAX_INTERVAL]


class TestWorkers:
    async def test_silent_workers_that_hold_no_lease_are_deleted(self, scheduling: Scheduling, calls: Calls) -> None:
        for worker_id in ("silent", "lately", "holds"):
            scheduling.hello(worker_id)
        scheduling.submit_one()
        scheduling.claim(worker_id="holds")
        scheduling.sql("UPDATE workers SET heartbeat_time = now() - interval '6 days' WHERE worker_id = 'lately'")
        scheduling.sql("UPDATE workers SET heartbeat_time = now() - interval '8 days' WHERE worker_id <> 'lately'")
        await round_of(of_tasks(calls))
        assert {row[0] for row in scheduling.sql("SELECT worker_id FROM workers")} == {"lately", "holds"}

    async def test_a_deleted_worker_that_comes_back_is_new(self, scheduling: Scheduling, calls: Calls) -> None:
        scheduling.hello("w", number=7)
        scheduling.sql("UPDATE workers SET heartbeat_time = now() - interval '8 days'")
        await round_of(of_tasks(calls))
        scheduling.hello("w", number=8)
        scheduling.submit_one()
        assert scheduling.claim()


def content(scheduling: Scheduling, *, hours: float = 2, **fields: object) -> int:
    """The id of a content of that age. Its task is cleaned up: contents outlive their tasks."""
    content_id = scheduling.content(**fields)
    aged = "UPDATE contents SET create_time = now() - make_interval(secs => :secs) WHERE content_id = :id"
    scheduling.sql(aged, id=content_id, secs=hours * 3_600)
    scheduling.sql("UPDATE tasks SET end_time = now() - interval '2 h' WHERE content_id = :id", id=content_id)
    scheduling.run(sweeps.ended_tasks(HOUR), None)
    return content_id


def contents(scheduling: Scheduling) -> list[int]:
    return [row[0] for row in scheduling.sql("SELECT content_id FROM contents ORDER BY content_id")]


class TestContents:
    async def test_old_contents_are_deleted_with_their_entries_in_any_review_state(
        self, scheduling: Scheduling, calls: Calls
    ) -> None:
        for auto_approve in (True, False, True):
            content(scheduling, auto_approve=auto_approve)
        young = content(scheduling, hours=0)
        await round_of(of_contents(calls))
        assert contents(scheduling) == [young]
        assert scheduling.sql("SELECT content_id FROM publish_pool") == [(young,)]

    async def test_contents_stay_without_a_retention(self, scheduling: Scheduling, calls: Calls) -> None:
        old = content(scheduling)
        await round_of(of_tasks(calls))
        assert contents(scheduling) == [old]

    async def test_a_round_costs_no_more_however_many_contents_stay(self, scheduling: Scheduling, calls: Calls) -> None:
        before = await round_of(of_contents(calls))
        for _ in range(5):
            content(scheduling, hours=0)
        assert await round_of(of_contents(calls)) == before

    async def test_claimed_contents_stay(self, scheduling: Scheduling, calls: Calls) -> None:
        held = content(scheduling)
        assert scheduling.run(claim, ALL, 1, timedelta(minutes=1), "p")
        other = content(scheduling)
        await round_of(of_contents(calls))
        assert contents(scheduling) == [held]
        assert other != held
        scheduling.sql("UPDATE publish_pool SET claim_expire_time = now() - interval '1 s'")
        await round_of(of_contents(calls))
        assert contents(scheduling) == []

    async def test_the_age_of_scheduled_ones_counts_from_their_time(self, scheduling: Scheduling, calls: Calls) -> None:
        later = content(scheduling)
        scheduling.sql("UPDATE publish_pool SET schedule_time = now() - interval '30 min'")
        await round_of(of_contents(calls))
        assert contents(scheduling) == [later]
        scheduling.sql("UPDATE publish_pool SET schedule_time = now() - interval '61 min'")
        await round_of(of_contents(calls))
        assert contents(scheduling) == []


def remembered(scheduling: Scheduling) -> dict[str, int]:
    """The number of recorded rows by source; without a source, by an empty name."""
    return dict(
        scheduling.sql(
            "SELECT coalesce(name, ''), count(*) FROM imported LEFT JOIN import_sources USING (source_id) GROUP BY 1"
        )
    )


class TestImports:
    @pytest.fixture(autouse=True)
    def imported(self, scheduling: Scheduling) -> None:
        """Records of two sources; the first one was not used for longer."""
        scheduling.sql("INSERT INTO import_sources (name) VALUES ('old'), ('new')")
        scheduling.sql(
            "INSERT INTO imported SELECT s, 1 + n % 4, n, n FROM generate_series(1, 2) s, generate_series(1, 5) n"
        )
        scheduling.sql("UPDATE import_sources SET import_time = now() - interval '2 h' WHERE name = 'old'")

    async def test_records_of_an_unused_import_source_are_deleted(self, scheduling: Scheduling, calls: Calls) -> None:
        await round_of(of_contents(calls))
        assert remembered(scheduling) == {"new": 5}
        assert scheduling.sql("SELECT name FROM import_sources") == [("new",)]

    async def test_a_source_that_is_used_again_keeps_its_records(self, scheduling: Scheduling, calls: Calls) -> None:
        scheduling.sql("UPDATE import_sources SET import_time = now() WHERE name = 'old'")
        await round_of(of_contents(calls))
        assert remembered(scheduling) == {"old": 5, "new": 5}

    async def test_import_records_stay_without_a_retention(self, scheduling: Scheduling, calls: Calls) -> None:
        await round_of(of_tasks(calls))
        assert remembered(scheduling) == {"old": 5, "new": 5}

    async def test_import_records_stay_while_an_import_runs(
        self, scheduling: Scheduling, calls: Calls, engine: sa.Engine
    ) -> None:
        with one_at_a_time(sa.create_engine(engine.url, poolclass=sa.NullPool)):
            await round_of(of_contents(calls))
        assert remembered(scheduling) == {"old": 5, "new": 5}

        async def deleted() -> bool:  # the lock goes with its connection, soon after that is closed
            await round_of(of_contents(calls))
            return remembered(scheduling) == {"new": 5}

        await wait_until_async(deleted, within=10, what="the old records are deleted")


class TestDeliveries:
    def deliveries(self, scheduling: Scheduling) -> list[tuple[int, int]]:
        """Webhook and status of each."""
        rows = scheduling.sql("SELECT webhook_id, status FROM webhook_deliveries ORDER BY delivery_id")
        return [tuple(row) for row in rows]

    def age(self, scheduling: Scheduling, days: float, status: int) -> None:
        """Ends every pending delivery, so many days ago."""
        scheduling.sql(
            "UPDATE webhook_deliveries SET status = :status, next_attempt_time = NULL,"
            " end_time = now() - make_interval(days => :days) WHERE status = 1",
            status=status,
            days=days,
        )

    @pytest.mark.parametrize(("status", "kept"), [(2, 2), (3, 29)])
    async def test_ended_ones_are_deleted_after_their_time(
        self, scheduling: Scheduling, calls: Calls, status: int, kept: int
    ) -> None:
        hook = scheduling.hook()
        for days in (kept, kept + 2):
            scheduling.cancel(scheduling.submit_one())
            self.age(scheduling, days, status)
        scheduling.cancel(scheduling.submit_one())
        await round_of(of_tasks(calls))
        assert self.deliveries(scheduling) == [(hook, status), (hook, 1)]
        scheduling.sql("UPDATE webhooks SET active = false")  # what is checked of active ones does not hold now

    @pytest.mark.parametrize(("sweep", "status"), [(sweeps.delivered, 2), (sweeps.exhausted, 3)])
    def test_a_batch_begins_where_the_one_before_ended(self, scheduling: Scheduling, sweep: Sweep, status: int) -> None:
        """Else it would walk past what all batches before it have deleted, which a vacuum has not removed yet."""
        hook = scheduling.hook()
        for days in range(40, 32, -1):
            scheduling.cancel(scheduling.submit_one())
            self.age(scheduling, days, status)
        first = scheduling.run(sweep, None)
        second = scheduling.run(sweep, first.position)
        scheduling.run(sweep, second.position + timedelta(days=1.5))
        assert first.position < second.position
        left = scheduling.sql("SELECT extract(day FROM now() - end_time) FROM webhook_deliveries ORDER BY end_time")
        assert [int(days) for (days,) in left] == [36, 33], "what ended before the position stays"
        scheduling.sql("UPDATE webhooks SET active = false WHERE webhook_id = :hook", hook=hook)

    async def test_those_that_waited_for_three_days_are_given_up(self, scheduling: Scheduling, calls: Calls) -> None:
        hooks = active, inactive = scheduling.hook(), scheduling.hook()
        for _ in range(3):
            scheduling.cancel(scheduling.submit_one())
        scheduling.sql("UPDATE webhooks SET active = false WHERE webhook_id = :hook", hook=inactive)
        await round_of(of_tasks(calls))
        assert self.deliveries(scheduling) == [(hook, 1) for hook in hooks] * 3
        scheduling.sql("UPDATE webhook_deliveries SET expire_time = now()")
        attempts, _ = scheduling.run(lambda tx: tx.deliveries.claim({active: 1}, 1, HOUR))
        await round_of(of_tasks(calls))
        assert self.deliveries(scheduling) == [(active, 1), (inactive, 3), *[(hook, 3) for hook in hooks] * 2]
        outcome = Tried(attempts[0], Response(204, ""))
        scheduling.run(record, [outcome])
        assert self.deliveries(scheduling)[0] == (active, 2), "one that a replica tried meanwhile"

    async def test_those_of_deleted_webhooks_go_before_the_webhooks(self, scheduling: Scheduling, calls: Calls) -> None:
        deleted, kept = scheduling.hook(), scheduling.hook()
        for _ in range(5):
            scheduling.cancel(scheduling.submit_one())
        scheduling.run(delete_webhook, ALL, deleted)
        await round_of(of_tasks(calls))
        assert self.deliveries(scheduling) == [(kept, 1)] * 5
        assert scheduling.sql("SELECT url, secret FROM webhooks WHERE webhook_id = :hook", hook=deleted) == [("", "")]
        scheduling.sql("UPDATE webhooks SET delete_time = now() - interval '2 h' WHERE NOT active")
        await round_of(of_tasks(calls))
        assert scheduling.sql("SELECT webhook_id FROM webhooks") == [(kept,)]
