"""Schedules on a real database, with a clock of the test's own: each tick has one task, whatever happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen.v1.task_service_pb2 import SubmitTaskRequest
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import (
    AccountInactive,
    InvalidArgument,
    LockTimeout,
    NotFound,
    QueueFull,
    TooManySchedules,
)
from scheduler_svc.domain.schedule import (
    MAX_SCHEDULES,
    CatchUp,
    MissedRuns,
    Overlap,
    Schedule,
    ScheduleChange,
    ScheduleSettings,
)
from scheduler_svc.domain.task import Task
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.loops import DueRound
from scheduler_svc.runtime.otel import OtelTracer
from scheduler_svc.schedules import loop
from scheduler_svc.schedules import work as application
from scheduler_svc.schedules.service import read_template
from scheduler_svc.schedules.work import MAX_MISSED, NOT_CAUGHT_UP, Schedules, ShownSchedule, Ticks
from scheduler_svc.tasks import bulk as cleanup
from scheduler_svc.transactions import Tx
from tests.harness.database_faults import locked_rows
from tests.harness.receivers import OtlpReceiver
from tests.harness.scheduling import MAX_QUEUE, SETTINGS, Scheduling, new_task

pytestmark = pytest.mark.integration

BEGIN = datetime(2026, 5, 1, 11, 30, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
TEMPLATE = SubmitTaskRequest(topic="the news of the hour", priority=7, labels={"team": "a"}).SerializeToString()
HOURLY = ScheduleSettings(
    "news", "0 * * * *", "UTC", TEMPLATE, CatchUp.ONE, Overlap.ALLOW, jitter=timedelta(0), paused=False
)


class Ticking:
    """One scheduler's work on schedules; `now` is what its clock shows."""

    def __init__(self, scheduling: Scheduling, now: datetime = BEGIN) -> None:
        self.scheduling = scheduling
        self.now = now
        self.work = Schedules(SETTINGS, read_template, clock=lambda _: self.now)
        self.loop = Ticks(SETTINGS, read_template, clock=lambda _: self.now)

    def create(self, account_id: int = 1, **settings: Any) -> Schedule:
        shown: ShownSchedule = self.scheduling.run(self.work.create, account_id, replace(HOURLY, **settings))
        return shown.schedule

    def update(self, schedule: Schedule, **changes: Any) -> ShownSchedule:
        change = ScheduleChange(**changes)
        return self.scheduling.run(self.work.update, ALL, schedule.schedule_id, change)[1]

    def run(self, schedule: Schedule) -> Task:
        return self.scheduling.run(self.work.run, ALL, schedule.schedule_id)

    def at(self, now: datetime) -> DueRound:
        """A round of the loop at that time."""
        self.now = now
        return self.scheduling.run(self.loop.run_due)

    def read(self, schedule: Schedule) -> Schedule:
        shown: ShownSchedule = self.scheduling.run(application.get_schedule, ALL, schedule.schedule_id)
        return shown.schedule

    def tasks(self, schedule: Schedule) -> list[Task]:
        """Its tasks, oldest first."""
        tasks = [task for task in self.scheduling.tasks().values() if task.schedule_id == schedule.schedule_id]
        return sorted(tasks, key=lambda task: task.task_key)

    def ticks(self, schedule: Schedule) -> list[datetime | None]:
        """The ticks that have a task, in the order of the tasks."""
        query = "SELECT tick FROM schedule_tasks WHERE schedule_id = :id ORDER BY task_key"
        return [row[0] for row in self.scheduling.sql(query, id=schedule.schedule_id)]


@pytest.fixture
def ticking(scheduling: Scheduling) -> Ticking:
    return Ticking(scheduling)


def at(hour: int, minute: int = 0) -> datetime:
    return BEGIN.replace(hour=hour, minute=minute)


def next_of(schedule: Schedule) -> datetime | None:
    return schedule.next and schedule.next.tick


def test_a_tick_submits_the_template_and_the_next_one_follows(ticking: Ticking) -> None:
    schedule = ticking.create()
    assert (next_of(schedule), schedule.last_run_time, schedule.last_task_id) == (at(12), None, "")
    assert ticking.at(at(11, 59)) == DueRound(0, 60.0)
    assert ticking.at(at(12)) == DueRound(1, 3600.0)
    (task,) = ticking.tasks(schedule)
    assert (task.account_id, task.brief.topic) == (1, "the news of the hour")
    assert (task.priority, task.labels) == (7, {"team": "a"})
    assert (task.schedule_id, task.request_id, task.schedule_time) == (schedule.schedule_id, "", None)
    read = ticking.read(schedule)
    assert (next_of(read), read.last_run_time) == (at(13), at(12))
    assert (read.last_task_key, read.last_error) == (task.task_key, "")
    assert [ref.task_key for ref in ticking.scheduling.claim()] == [task.task_key], "it is due at once"


async def test_ticks_are_counted(ticking: Ticking, calls: Calls) -> None:
    metrics = Metrics("1")
    run_once = loop.ticking(calls, ticking.loop, metrics)
    ticking.create()
    for now in (at(11, 59), at(12), at(13)):
        ticking.now = now
        await run_once()
    assert metrics.registry.get_sample_value("contentgen_schedule_ticks_total") == 2


def test_each_tick_s_task_begins_a_trace(ticking: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        tracer = OtelTracer()
        ticking.loop = Ticks(SETTINGS, read_template, clock=lambda _: ticking.now, tracer=tracer)
        schedule = ticking.create(catch_up=CatchUp.ALL)
        ticking.at(at(14))
        tracer.close(within=10)
        traces = {task.trace.trace_id for task in ticking.tasks(schedule) if task.trace}
        spans = receiver.spans("schedule")
    assert len(traces) == 3
    assert {span.trace_id for span in spans if not span.parent_id} == traces
    assert {span.kind for span in spans} == {"producer"}


def test_a_round_without_anything_due_sleeps_until_there_is(ticking: Ticking) -> None:
    assert ticking.at(BEGIN) == DueRound(0, None)
    ticking.create(cron="0 13 * * *")
    ticking.create(cron="45 11 * * *")
    assert ticking.at(BEGIN) == DueRound(0, 15 * 60.0)


def test_replicas_that_look_at_the_same_time_run_each_tick_once(ticking: Ticking, db_url: str) -> None:
    schedules = [ticking.create(cron="* * * * *", name=str(i)) for i in range(60)]
    others = [Scheduling(db_url) for _ in range(4)]
    try:
        for minute in (31, 32, 33):
            replicas = [Ticking(other, at(11, minute)) for other in others]

            def drain(replica: Ticking) -> None:
                while replica.at(replica.now).count:
                    pass

            with ThreadPoolExecutor(4) as threads:
                list(threads.map(drain, replicas))
    finally:
        for other in others:
            other.close()
    for schedule in schedules:
        assert ticking.ticks(schedule) == [at(11, 31), at(11, 32), at(11, 33)]
    assert len(ticking.scheduling.tasks()) == 180


def test_a_replica_that_dies_before_its_commit_leaves_the_tick_to_others(ticking: Ticking) -> None:
    schedule = ticking.create()
    ticking.now = at(12)

    def die(tx: Tx) -> None:
        assert ticking.loop.run_due(tx).count == 1
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        ticking.scheduling.run(die)
    assert ticking.tasks(schedule) == []
    ticking.at(at(12))
    assert ticking.ticks(schedule) == [at(12)]


def test_a_clock_that_is_set_back_repeats_no_tick(ticking: Ticking) -> None:
    schedule = ticking.create()
    ticking.at(at(12))
    ticking.now = BEGIN
    assert ticking.update(schedule, cron="0 12,14 * * *").next_ticks[0] == at(12), "another line: it begins anew"
    ticking.at(at(12))
    ticking.at(at(14))
    assert ticking.ticks(schedule) == [at(12), at(14)]


class TestMissed:
    def test_ticks_that_nobody_ran_are_caught_up(self, ticking: Ticking) -> None:
        expected = {CatchUp.SKIP: [], CatchUp.ONE: [at(14)], CatchUp.ALL: [at(12), at(13), at(14)]}
        schedules = {catch_up: ticking.create(catch_up=catch_up) for catch_up in expected}
        ticking.at(at(14, 30))
        for catch_up, ticks in expected.items():
            assert ticking.ticks(schedules[catch_up]) == ticks
            read = ticking.read(schedules[catch_up])
            assert (next_of(read), bool(read.last_error)) == (at(15), not ticks)
            skipped = [at(12), at(13), at(14)][: 3 - len(ticks)]
            assert read.missed_runs == [MissedRuns(tick, len(skipped), NOT_CAUGHT_UP) for tick in skipped[-1:]]
        ticking.at(at(15))
        for catch_up, ticks in expected.items():
            assert ticking.ticks(schedules[catch_up]) == [*ticks, at(15)]
            assert ticking.read(schedules[catch_up]).last_error == ""

    def test_many_schedules_that_catch_up_much_take_several_rounds(self, ticking: Ticking) -> None:
        large = SubmitTaskRequest(topic="news", requirements="x" * 20_000).SerializeToString()
        schedules = [ticking.create(cron="* * * * *", catch_up=CatchUp.ALL, template=large) for _ in range(3)]
        counts = []
        while ticking.at(at(12, 40)).count:
            counts.append(1)
        assert len(counts) == 3, "one at a time, since each has 100 tasks of 20 KB"
        latest = [at(12, 40) - i * MINUTE for i in reversed(range(70))]
        assert all(ticking.ticks(schedule) == latest for schedule in schedules)


class TestOverlap:
    def test_a_tick_is_left_out_while_the_last_task_is_open(self, ticking: Ticking) -> None:
        schedule = ticking.create(overlap=Overlap.SKIP)
        ticking.at(at(12))
        (first,) = ticking.tasks(schedule)
        ticking.at(at(13))
        read = ticking.read(schedule)
        assert (read.last_task_key, next_of(read)) == (first.task_key, at(14))
        assert read.last_error == f"its last task, {first.task_id}, has not ended"
        ticking.scheduling.claim()
        ticking.at(at(14))
        assert ticking.ticks(schedule) == [at(12)], "a task that runs is open, too"
        ticking.scheduling.cancel(first.task_key, force=True)
        ticking.at(at(15))
        assert ticking.ticks(schedule) == [at(12), at(15)]
        assert ticking.read(schedule).last_error == ""
        assert ticking.read(schedule).missed_runs == [MissedRuns(at(hour), 1, read.last_error) for hour in (14, 13)]

    def test_of_caught_up_ticks_one_runs(self, ticking: Ticking) -> None:
        schedule = ticking.create(overlap=Overlap.SKIP, catch_up=CatchUp.ALL)
        ticking.at(at(14))
        assert ticking.ticks(schedule) == [at(12)]
        ((tick, n, reason),) = ticking.read(schedule).missed_runs
        assert (tick, n, "several" in reason) == (at(14), 2, True)

    def test_a_deleted_last_task_is_not_open(self, ticking: Ticking) -> None:
        schedule = ticking.create(overlap=Overlap.SKIP)
        ticking.at(at(12))
        (task,) = ticking.tasks(schedule)
        ticking.scheduling.cancel(task.task_key)
        ticking.scheduling.run(cleanup.delete, [task.task_key])
        assert ticking.ticks(schedule) == [], "its run went with it"
        ticking.at(at(13))
        assert ticking.ticks(schedule) == [at(13)]


class TestRefused:
    def test_a_refused_tick_is_recorded_and_the_next_one_runs(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        other = ticking.create(ticking.scheduling.make_account())
        ticking.scheduling.change_account(1, active=False)
        ticking.at(at(12))
        assert "deactivated" in ticking.read(schedule).last_error
        assert ticking.ticks(schedule) == []
        assert ticking.ticks(other) == [at(12)], "a refusal is its own schedule's only"
        with pytest.raises(AccountInactive):
            ticking.run(schedule)
        for hour in range(13, 13 + MAX_MISSED):
            ticking.at(at(0) + timedelta(hours=hour))
        missed = ticking.read(schedule).missed_runs
        assert [(run.n, "deactivated" in run.reason) for run in missed] == [(1, True)] * MAX_MISSED
        assert [missed[0].tick, missed[-1].tick] == [at(0) + timedelta(hours=hour) for hour in (12 + MAX_MISSED, 13)]
        ticking.scheduling.change_account(1, active=True)
        latest = at(0) + timedelta(hours=13 + MAX_MISSED)
        ticking.at(latest)
        assert ticking.ticks(schedule) == [latest]
        assert ticking.read(schedule).last_error == ""

    def test_quotas_hold(self, ticking: Ticking) -> None:
        account_id = ticking.scheduling.make_account(max_pending_tasks=2)
        schedule = ticking.create(account_id, catch_up=CatchUp.ALL)
        ticking.at(at(14))
        assert ticking.ticks(schedule) == [at(12), at(13)]
        assert "max_pending_tasks" in ticking.read(schedule).last_error
        assert [(run.tick, run.n) for run in ticking.read(schedule).missed_runs] == [(at(14), 1)]
        ticking.scheduling.change_account(account_id, max_pending_tasks=0, max_priority=6)
        ticking.at(at(15))
        assert "max_priority" in ticking.read(schedule).last_error

    def test_the_queue_s_bound_holds(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        ticking.scheduling.fill(1, MAX_QUEUE)
        ticking.at(at(12))
        assert "queue is full" in ticking.read(schedule).last_error
        with pytest.raises(QueueFull):
            ticking.run(schedule)

    def test_a_template_that_is_valid_no_more_is_recorded(self, ticking: Ticking) -> None:
        schedule = ticking.create(template=SubmitTaskRequest().SerializeToString())
        ticking.at(at(12))
        assert "template.topic: is required" in ticking.read(schedule).last_error

    def test_a_zone_that_this_machine_lacks_is_tried_again(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        ticking.scheduling.sql("UPDATE schedules SET time_zone = 'Mars/Phobos'")
        assert ticking.at(at(12)) == DueRound(1, 60.0)
        read = ticking.read(schedule)
        assert (next_of(read), read.last_error) == (at(12), "this scheduler does not know the time zone Mars/Phobos")
        ticking.scheduling.sql("UPDATE schedules SET time_zone = 'Etc/UTC'")
        ticking.at(at(12, 1))
        assert ticking.ticks(schedule) == [at(12)]

    def test_a_schedule_of_an_unknown_zone_can_be_paused_and_renamed_but_not_resumed(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        ticking.scheduling.sql("UPDATE schedules SET time_zone = 'Mars/Phobos'")
        assert ticking.update(schedule, name="red").next_ticks == ()
        ticking.update(schedule, paused=True)
        with pytest.raises(InvalidArgument, match=r"schedule\.time_zone"):
            ticking.update(schedule, paused=False)
        assert ticking.update(schedule, paused=False, time_zone="UTC").next_ticks[0] == at(12)


class TestPause:
    def test_a_paused_schedule_has_no_ticks_and_misses_none(self, ticking: Ticking) -> None:
        schedule = ticking.create(catch_up=CatchUp.ALL)
        assert ticking.update(schedule, paused=True).next_ticks == []
        assert ticking.at(at(14)) == DueRound(0, None)
        ticking.now = at(14, 30)
        assert ticking.update(schedule, paused=False).next_ticks[0] == at(15)
        ticking.at(at(15))
        assert ticking.ticks(schedule) == [at(15)]

    def test_to_resume_what_is_not_paused_changes_nothing(self, ticking: Ticking) -> None:
        schedule = ticking.create(catch_up=CatchUp.ALL)
        ticking.now = at(13, 30)
        ticking.update(schedule, paused=False, name="later")
        ticking.at(at(13, 30))
        assert ticking.ticks(schedule) == [at(12), at(13)], "what was missed before is not forgotten"


def test_a_run_is_beside_the_ticks_of_which_a_schedule_that_begins_paused_has_none(ticking: Ticking) -> None:
    schedule = ticking.create(paused=True, overlap=Overlap.SKIP)
    tasks = [ticking.run(schedule), ticking.run(schedule)]
    assert [task.schedule_id for task in tasks] == [schedule.schedule_id] * 2
    read = ticking.read(schedule)
    assert (read.last_task_key, read.last_run_time, next_of(read)) == (tasks[1].task_key, BEGIN, None)
    ticking.at(at(14))
    assert ticking.tasks(schedule) == tasks
    assert ticking.ticks(schedule) == [None, None]


class TestChanges:
    def test_an_update_changes_what_is_given(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        template = SubmitTaskRequest(topic="other news").SerializeToString()
        ticking.update(schedule, template=template, name="")
        read = ticking.read(schedule)
        assert (read.settings.name, read.settings.template, read.settings.cron) == ("", template, "0 * * * *")
        ticking.at(at(12))
        assert [task.brief.topic for task in ticking.tasks(schedule)] == ["other news"]

    @pytest.mark.parametrize(
        ("change", "next_tick"),
        [
            ({"cron": "30 * * * *"}, at(13, 30)),
            ({"time_zone": "Asia/Kathmandu"}, at(13, 15)),
            ({"jitter": HOUR}, at(14)),
        ],
    )
    def test_other_ticks_begin_anew(self, ticking: Ticking, change: dict[str, Any], next_tick: datetime) -> None:
        schedule = ticking.create(catch_up=CatchUp.ALL)
        ticking.now = at(13, 5)
        assert ticking.update(schedule, **change).next_ticks[0] == next_tick
        ticking.at(at(13, 5))
        assert ticking.tasks(schedule) == []

    def test_a_deleted_schedule_leaves_its_tasks(self, ticking: Ticking) -> None:
        schedule = ticking.create()
        ticking.at(at(12))
        ticking.scheduling.run(application.delete_schedule, ALL, schedule.schedule_id)
        ticking.at(at(14))
        assert [task.schedule_id for task in ticking.tasks(schedule)] == [schedule.schedule_id]
        with pytest.raises(NotFound):
            ticking.read(schedule)

    def test_a_list_has_the_schedules_of_its_accounts_in_order(self, ticking: Ticking) -> None:
        ticking.scheduling.make_account()
        schedule_ids = [ticking.create(account_id).schedule_id for account_id in (2, 1, 2, 1, 1)]

        def listed(scope: Scope, after: int, limit: int) -> list[int]:
            schedules = ticking.scheduling.run(application.list_schedules, scope, after, limit)
            return [shown.schedule.schedule_id for shown in schedules]

        assert listed(ALL, 0, 9) == listed(Scope((1, 2)), 0, 9) == schedule_ids
        assert listed(Scope((1, 2)), schedule_ids[1], 2) == schedule_ids[2:4]
        assert listed(Scope((2,)), 0, 9) == [schedule_ids[0], schedule_ids[2]]

    def test_an_account_has_a_bounded_number_of_schedules(self, ticking: Ticking) -> None:
        ticking.create()
        ticking.scheduling.sql(
            f"""INSERT INTO schedules (account_id, name, cron, time_zone, template, catch_up, overlap, jitter, paused)
            SELECT account_id, name, cron, time_zone, template, catch_up, overlap, jitter, true
            FROM schedules, generate_series(2, {MAX_SCHEDULES})"""
        )
        with pytest.raises(TooManySchedules):
            ticking.create()
        ticking.create(ticking.scheduling.make_account())
        with pytest.raises(NotFound):
            ticking.create(99)


class TestLocks:
    def test_a_locked_account_holds_up_only_its_own_schedules(self, ticking: Ticking, db_url: str) -> None:
        """As the loop does: it skips accounts that another session has locked, once it has met such a lock."""
        other = ticking.scheduling.make_account()
        held, free = ticking.create(), ticking.create(other)
        ticking.scheduling.submit(new_task(), new_task(account_id=other), new_task(priority=7))
        ticking.now = at(12)
        with locked_rows(db_url, "shares", "account_id = 1"):
            with pytest.raises(LockTimeout):
                ticking.scheduling.database.run(ticking.loop.run_due, lock_timeout=0.05)
            ticking.scheduling.run(lambda tx: ticking.loop.run_due(tx, skip_locked=True))
            assert (ticking.ticks(held), ticking.ticks(free)) == ([], [at(12)])
        ticking.at(at(12))
        assert ticking.ticks(held) == [at(12)]

    def test_a_locked_schedule_is_left_to_whoever_has_it(self, ticking: Ticking) -> None:
        held, free = ticking.create(), ticking.create()
        with ticking.scheduling.transaction() as tx:
            tx.schedules.lock(held.schedule_id)
            assert ticking.at(at(12)).count == 1
            assert (ticking.ticks(held), ticking.ticks(free)) == ([], [at(12)])
        ticking.at(at(12))
        assert ticking.ticks(held) == [at(12)]
