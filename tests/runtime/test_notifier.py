"""The notifier and the listener on a real database: which signals replicas get, and what they get after an outage."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from scheduler_svc.database.notifications import PgNotifications, PgNotifier
from scheduler_svc.runtime import signals as notifying
from scheduler_svc.runtime.signals import CommitSignals, Listener, Notifier
from tests.harness.scheduling import Scheduling, sql
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("executor_ended")]

WAIT_S = 5
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
