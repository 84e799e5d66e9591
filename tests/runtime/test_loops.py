"""The services and loops of a replica on a real database."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from contentgen.service.settings import SettingsError
from scheduler_svc.database.notifications import PgNotifications, PgNotifier
from scheduler_svc.dispatch.loop import Admission, Dispatcher
from scheduler_svc.dispatch.streams import Streams
from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.leases.recover import promote_due
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.retention.sql import vacuum
from scheduler_svc.runtime import loops as supervision
from scheduler_svc.runtime import signals as notifying
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.file_reload import FileReload
from scheduler_svc.runtime.group_committer import GroupCommitter
from scheduler_svc.runtime.loops import (
    GIVE_UP_TIMEOUT,
    MIN_DUE_INTERVAL,
    STEADY_INTERVAL,
    Periodic,
    Service,
    Supervision,
    ThreadService,
)
from scheduler_svc.runtime.signals import CommitSignals, Listener, Notifier
from scheduler_svc.transactions import Database, make_engine
from tests.harness.scheduling import FAILURE, SETTINGS, Scheduling, new_task, sql
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("executor_ended")]


# The timed loops on a real database: they act on signals, and continue after failures.


WAIT_S = 5


class TestDue:
    async def test_the_due_loop_admits_due_tasks_and_then_runs_at_intervals(
        self, calls: Calls, scheduling: Scheduling
    ) -> None:
        due = recovery.due(calls)
        assert await due() == recovery.MAX_DUE_INTERVAL
        ref = scheduling.start()
        scheduling.end(ref, FAILURE)
        assert await due() == recovery.MAX_DUE_INTERVAL  # the retry is half a minute away
        scheduling.sql("UPDATE delayed SET due_time = now() + interval '2 s'")
        seconds = await due()
        assert seconds is not None
        assert 1 < seconds <= 2
        scheduling.sql("UPDATE delayed SET due_time = now()")
        await due()
        assert scheduling.place(ref.task_key) == "ready"

    async def test_the_due_loop_waits_while_another_replica_admits_due_tasks(
        self, calls: Calls, scheduling: Scheduling
    ) -> None:
        scheduling.end(scheduling.start(), FAILURE)
        scheduling.sql("UPDATE delayed SET due_time = now()")
        with scheduling.transaction() as other:
            assert promote_due(other).count == 1
            assert await recovery.due(calls)() == MIN_DUE_INTERVAL

    async def test_more_than_a_batch_follows_at_once(self, calls: Calls, scheduling: Scheduling) -> None:
        for _ in range(2):
            scheduling.submit(*[new_task() for _ in range(300)])
        scheduling.sql(
            """WITH gone AS (DELETE FROM ready RETURNING *) INSERT INTO delayed
            SELECT task_key, priority, tag, account_id, attempt, timeout_ms, now(), 2 FROM gone"""
        )
        scheduling.sql("UPDATE count_deltas SET n = 0 WHERE kind = 8")
        due = recovery.due(calls)
        assert await due() == 0.0
        assert await due() == recovery.MAX_DUE_INTERVAL
        assert scheduling.sql("SELECT count(*) FROM ready") == [(600,)]


class TestReaper:
    async def test_the_reaper_ticks_thrice_an_interval_and_more_than_a_batch_follows_at_once(
        self, calls: Calls, scheduling: Scheduling
    ) -> None:
        availabilities: list[bool] = []
        scheduling.submit(*[new_task() for _ in range(600)])
        refs = scheduling.claim(600)
        scheduling.expire(*refs)
        tick = recovery.reaper(calls, SETTINGS, availabilities.append)
        assert [await tick(), await tick()] == [0.0, SETTINGS.heartbeat_interval / 3]
        assert scheduling.sql("SELECT count(*) FROM leases") == [(0,)]
        assert scheduling.place(refs[0].task_key) == "ready"
        assert availabilities == [True, True]

    async def test_a_database_clock_that_runs_ahead_is_logged_once(self, calls: Calls, scheduling: Scheduling) -> None:
        own = iter((100.0, 100.0, 94.0, 94.0, 94.0, 94.0))
        tick = recovery.reaper(calls, SETTINGS, lambda _: None, lambda: next(own))
        with capture_logs() as logs:
            for _ in range(3):
                await tick()
        assert [(line["log_level"], line["action"]) for line in logs] == [("warning", "reap")]


async def test_housekeeping_folds_counts_and_vacuums_only_after_many_changes(
    calls: Calls, scheduling: Scheduling, engine: sa.Engine
) -> None:
    vacuums = Mock(wraps=lambda: vacuum(engine))
    housekeeping = recovery.Housekeeping(calls, vacuums)
    scheduling.submit_one()
    housekeeping.moved(1)
    await housekeeping.run_once()
    assert scheduling.sql("SELECT * FROM count_deltas") == []
    vacuums.assert_not_called()
    housekeeping.moved(recovery.MIN_MOVES_TO_VACUUM)
    await housekeeping.run_once()
    await housekeeping.run_once()
    vacuums.assert_called_once()


class TestPeriodic:
    async def test_a_loop_continues_after_a_failure(self) -> None:
        runs: list[Exception] = [RuntimeError("a defect"), StoreUnavailable()]
        done = asyncio.Event()

        async def run_once() -> float | None:
            if runs:
                raise runs.pop()
            done.set()
            return None

        loop = Periodic("test", run_once)
        loop.start()
        for _ in range(2):
            loop.wake()
            await asyncio.sleep(0)
        await asyncio.wait_for(done.wait(), WAIT_S)
        await loop.stop()

    async def test_a_wake_during_a_run_is_not_lost(self) -> None:
        runs = 0
        twice = asyncio.Event()

        async def run_once() -> float | None:
            nonlocal runs
            runs += 1
            if runs == 1:
                loop.wake()
            else:
                twice.set()
            return None

        loop = Periodic("test", run_once)
        loop.start()
        await asyncio.wait_for(twice.wait(), WAIT_S)
        await loop.stop()
        assert runs == 2


# Each loop of a replica, driven through the one protocol: started twice, waited for, stopped twice.


@dataclass
class Resources:
    """The dependencies of services, on a separate database."""

    database: Database
    calls: Calls
    engine: sa.Engine
    closing: ExitStack

    def listener(self) -> Listener:
        notifications = PgNotifications(self.engine)
        self.closing.callback(notifications.dispose)
        return Listener(notifications, "here", on_signals=lambda _: None, on_connected=lambda: None)

    def committer(self) -> GroupCommitter[int, int]:
        return GroupCommitter(
            "test",
            self.database,
            lambda _, group: list(group),
            weight=lambda _: 1,
            max_weight=1,
            max_waiting=None,
            max_lock_wait=1.0,
        )

    def dispatcher(self) -> Dispatcher:
        return Dispatcher(self.database, Streams(), SETTINGS, lambda _: None, Admission(self.calls))


async def _nothing() -> None:
    return None


def _unusable() -> None:
    raise SettingsError(["no such file"])


SERVICES: dict[str, Callable[[Resources], Service]] = {
    "periodic": lambda _: Periodic("test", _nothing),
    "admission": lambda resources: Admission(resources.calls),
    "file reload": lambda _: FileReload("test", [], _unusable),
    "dispatcher": Resources.dispatcher,
    "group committer": Resources.committer,
    "listener": Resources.listener,
    "notifier": lambda resources: Notifier(PgNotifier(resources.engine), "here"),
}


@pytest.fixture
def resources(db_url: str) -> Iterator[Resources]:
    with ExitStack() as closing:
        engine = make_engine(db_url, 2)
        closing.callback(engine.dispose)
        database = Database(engine, lambda _: None, lambda _: None)
        calls = Calls(database, 1)
        closing.callback(calls.close)
        yield Resources(database, calls, engine, closing)


@pytest.mark.parametrize("make", SERVICES.values(), ids=SERVICES)
async def test_a_service_starts_once_and_stops_once(resources: Resources, make: Callable[[Resources], Service]) -> None:
    """It does not start once it was stopped."""
    stopped, service = make(resources), make(resources)
    await stopped.stop()
    stopped.start()
    assert running(stopped) == 0
    assert not stopped.started.is_set()
    assert not service.started.is_set()
    service.start()
    service.start()
    async with asyncio.timeout(WAIT_S):
        await service.started.wait()
        assert running(service) == 1
        await service.stop()
        await service.stop()
    assert running(service) == 0


def running(service: Service) -> int:
    """How many threads or tasks have the service's name."""
    if isinstance(service, ThreadService):
        return sum(thread.name == service.name for thread in threading.enumerate())
    return sum(task.get_name() == service.name for task in asyncio.all_tasks())


# The notifier and the listener on a real database: which signals replicas get, and what they get after an outage.


SELECT_LIMIT = 1024
NOBODY_LISTENS = "postgresql+psycopg2://contentgen@127.0.0.1:1/none?connect_timeout=1"


class Ear:
    """A listener of another replica, and the signals that it received."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.heard: list[CommitSignals] = []
        self.came_back = 0
        self.notifications = PgNotifications(engine)
        self.listener = Listener(
            self.notifications, "another replica", on_signals=self.heard.append, on_connected=self._back
        )

    def _back(self) -> None:
        self.came_back += 1

    def sql(self, text: str, **parameters: str) -> None:
        sql(self._engine, text, **parameters)

    def notify(self, payload: str) -> None:
        self.sql("SELECT pg_notify('contentgen', :payload)", payload=payload)

    def let_in(self, anybody: bool) -> None:
        """Whether the database takes new connections."""
        self.sql(f"UPDATE pg_database SET datallowconn = {anybody} WHERE datname = current_database()")

    async def hears(self, predicate: Callable[[list[CommitSignals]], bool] = bool) -> list[CommitSignals]:
        await wait_until_async(lambda: predicate(self.heard), within=WAIT_S, what="the hints are heard")
        return self.heard

    async def hears_a_third(self) -> None:
        """Returns when notifications are received."""
        (payload,) = CommitSignals(due=True).payloads("a third replica")
        self.notify(payload)
        assert await self.hears() == [CommitSignals(due=True)]

    async def listens(self, times: int = 1) -> None:
        await wait_until_async(lambda: self.came_back >= times, within=WAIT_S, what="the listener listens")


@pytest.fixture
async def ear(engine: sa.Engine) -> AsyncIterator[Ear]:
    ear = Ear(engine)
    ear.listener.start()
    await ear.listens()
    yield ear
    await ear.listener.stop()
    ear.notifications.dispose()


async def test_the_listener_ignores_its_own_replica_s_commits(ear: Ear) -> None:
    (payload,) = CommitSignals(ended=[1]).payloads("another replica")
    ear.notify(payload)
    await ear.hears_a_third()


@pytest.mark.parametrize("payload", ["", "no json", "[]", '{"to": "whom it may concern"}'])
async def test_an_unreadable_notification_does_not_end_the_listener(ear: Ear, payload: str) -> None:
    ear.notify(payload)
    await ear.listens(2)
    await ear.hears_a_third()


async def test_a_broken_connection_of_the_listener_is_replaced(ear: Ear) -> None:
    ear.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
    await ear.listens(2)
    await ear.hears_a_third()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As a replica with a thousand streams has them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * SELECT_LIMIT:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * SELECT_LIMIT), hard))
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(SELECT_LIMIT)]
    yield
    for descriptor in descriptors:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_listener_works_beside_a_thousand_streams(many_descriptors: None, ear: Ear) -> None:
    await ear.hears_a_third()


@asynccontextmanager
async def notifying_on(engine: sa.Engine, *commits: CommitSignals) -> AsyncIterator[Notifier]:
    """A notifier that got these signals before it began to send."""
    notifier = Notifier(PgNotifier(engine), "a replica")
    for signals in commits:
        notifier.notify(signals)
    notifier.start()
    try:
        yield notifier
    finally:
        await notifier.stop()


async def test_a_transaction_sends_no_notification_itself(scheduling: Scheduling, ear: Ear) -> None:
    """NOTIFY takes one lock for the whole cluster, which would be held while the commit is flushed."""
    scheduling.cancel(scheduling.submit_one())
    assert [signals.for_others for signals in scheduling.signals][-2:] == [True, True]
    await ear.hears_a_third()


async def test_gathered_signals_share_few_notifications(engine: sa.Engine, ear: Ear) -> None:
    commits = [CommitSignals(ready=key % 2 == 0, ended=[key], cancelled=[("w", "l", "r")]) for key in range(1, 101)]
    async with notifying_on(engine, *commits):
        (signals,) = await ear.hears()
    assert signals == CommitSignals(ready=True, ended=list(range(1, 101)), cancelled=[("w", "l", "r")] * 100)


async def test_waiting_signals_are_sent_before_the_end(engine: sa.Engine, ear: Ear) -> None:
    async with notifying_on(engine) as notifier:
        for key in range(1, 1_001):
            notifier.notify(CommitSignals(ended=[key]))
    commits = await ear.hears(lambda signals: sum(len(commit.ended) for commit in signals) >= 1_000)
    assert sorted(key for signals in commits for key in signals.ended) == list(range(1, 1_001))


async def test_a_broken_connection_loses_no_signal(engine: sa.Engine, ear: Ear) -> None:
    async with notifying_on(engine, CommitSignals(ended=[1])) as notifier:
        await ear.hears()
        ear.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify%'")
        notifier.notify(CommitSignals(ended=[2]))
        heard = await ear.hears(lambda signals: len(signals) == 2)
        assert heard == [CommitSignals(ended=[1]), CommitSignals(ended=[2])]


async def test_unsent_signals_become_a_request_to_reread(
    engine: sa.Engine, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "SEND_RETRY_INTERVAL", 0.05)
    ear.let_in(False)
    with capture_logs() as logs:
        async with notifying_on(engine, CommitSignals(ended=[1])) as notifier:
            await wait_until_async(lambda: logs, within=WAIT_S, what="the first try has failed")
            notifier.notify(CommitSignals(ended=[2]))
            ear.let_in(True)
            signals = (await ear.hears())[0]
    assert signals.missed
    assert 1 not in signals.ended
    assert [(line["log_level"], line["action"]) for line in logs] == [("warning", "notify")]


async def test_too_many_waiting_signals_become_a_request_to_reread(engine: sa.Engine, ear: Ear) -> None:
    too_many = CommitSignals(ended=list(range(1, notifying.MAX_BACKLOG + 2)))
    async with notifying_on(engine, too_many):
        assert await ear.hears() == [CommitSignals.reread_all()]


async def test_a_stop_during_an_outage_does_not_wait() -> None:
    away = sa.create_engine(NOBODY_LISTENS)
    async with asyncio.timeout(WAIT_S), notifying_on(away, CommitSignals(ready=True)):
        pass
    away.dispose()


# How a part that throws is started again, and when it is given up.


class Clock:
    """Time that moves as far as each failure of the part takes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Throws so many times, each `seconds` after its start, and then returns."""

    def __init__(self, clock: Clock, failures: int, seconds: float = 0.0) -> None:
        self._clock = clock
        self._left = failures
        self._seconds = seconds
        self.starts = 0

    def __call__(self) -> None:
        self.starts += 1
        self._clock.now += self._seconds
        if self._left:
            self._left -= 1
            raise RuntimeError("a defect")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "MIN_PAUSE", 1e-6)
    monkeypatch.setattr(supervision, "MAX_PAUSE", 4e-6)


def on_a_thread(kept: Supervision, part: Callable[[], None]) -> None:
    kept.run("part", part, threading.Event())


def on_the_loop(kept: Supervision, part: Callable[[], None]) -> None:
    async def run() -> None:
        part()

    async def supervised() -> None:
        await kept.run_async("part", run, asyncio.Event())

    asyncio.run(supervised())


both = pytest.mark.parametrize("run", [on_a_thread, on_the_loop])
Run = Callable[[Supervision, Callable[[], None]], None]


@both
def test_pauses_double_up_to_a_bound_and_a_part_that_returns_is_not_started_again(run: Run) -> None:
    clock = Clock()
    part = Part(clock, 5)
    with capture_logs() as logs:
        run(Supervision(clock=clock), part)
    assert part.starts == 6
    assert [log["pause"] * 1e6 for log in logs] == pytest.approx([1, 2, 4, 4, 4])


@both
@pytest.mark.parametrize(
    ("failures", "seconds", "starts", "given_up"),
    [(1_000, GIVE_UP_TIMEOUT / 4, 5, ["part"]), (20, STEADY_INTERVAL + 1, 21, [])],
    ids=["it keeps failing", "failures far apart never count together"],
)
def test_a_part_that_keeps_failing_is_given_up(
    run: Run, failures: int, seconds: float, starts: int, given_up: list[str]
) -> None:
    clock = Clock()
    part = Part(clock, failures, seconds)
    gone: list[str] = []
    with capture_logs():  # to print each of the tracebacks takes longer
        run(Supervision(gone.append, give_up_after=GIVE_UP_TIMEOUT, clock=clock), part)
    assert (part.starts, gone) == (starts, given_up)


def test_a_part_that_fails_while_it_stops_is_left() -> None:
    stopping = threading.Event()
    stopping.set()
    part = Part(Clock(), 5)
    Supervision().run("part", part, stopping)
    assert part.starts == 1
