"""The notifier on a real database: which signals a replica sends to others, and what they receive after an outage."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import psycopg2
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.runtime import signals as notifying
from scheduler_svc.runtime.signals import CommitSignals, Notifier, parse
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import wait_until, wait_until_async

pytestmark = pytest.mark.integration

WAIT_S = 5
NOBODY_LISTENS = "postgresql+psycopg2://contentgen@127.0.0.1:1/none?connect_timeout=1"


@pytest.fixture(autouse=True)
async def no_thread_of_the_loop_stays() -> AsyncIterator[None]:
    """A loop whose executor's threads end: a notifier is stopped by one of them."""
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


class Ear:
    """Receives the notifications on the channel."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url.replace("postgresql+psycopg2", "postgresql"))
        self._connection.autocommit = True
        self.sql("LISTEN contentgen")
        self.heard: list[CommitSignals] = []

    def sql(self, text: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(text)

    def let_in(self, anybody: bool) -> None:
        """Whether the database takes new connections."""
        self.sql(f"UPDATE pg_database SET datallowconn = {anybody} WHERE datname = current_database()")

    def listen(self) -> list[CommitSignals]:
        """All notifications so far."""
        select.select([self._connection], [], [], 0)
        self._connection.poll()
        self.heard += [parse(notification.payload)[1] for notification in self._connection.notifies]
        self._connection.notifies.clear()
        return self.heard

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def ear(db_url: str) -> Iterator[Ear]:
    ear = Ear(db_url)
    yield ear
    ear.close()


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


async def heard(ear: Ear, predicate: Callable[[list[CommitSignals]], bool]) -> list[CommitSignals]:
    await wait_until_async(lambda: predicate(ear.listen()), within=WAIT_S, what="the hints are heard")
    return ear.heard


def test_a_transaction_sends_no_notification_itself(scheduling: Scheduling, ear: Ear) -> None:
    """NOTIFY takes one lock for the whole cluster, which would be held while the commit is flushed."""
    scheduling.cancel(scheduling.submit_one())
    assert [signals.for_others for signals in scheduling.told][-2:] == [True, True]
    (last,) = CommitSignals(due=True).payloads("the test itself")
    ear.sql(f"NOTIFY contentgen, '{last}'")
    wait_until(ear.listen, within=WAIT_S, what="the test's own word is heard")
    assert ear.heard == [CommitSignals(due=True)]


async def test_a_signal_reaches_the_listener(engine: sa.Engine, ear: Ear) -> None:
    async with notifying_on(engine) as notifier:
        notifier.notify(CommitSignals(ready=True, moved=True))
        await heard(ear, lambda signals: signals == [CommitSignals(ready=True, moved=True)])
        notifier.notify(CommitSignals(ended=[7]))
        await heard(ear, lambda signals: signals[1:] == [CommitSignals(ended=[7])])


async def test_gathered_signals_share_few_notifications(engine: sa.Engine, ear: Ear) -> None:
    commits = [CommitSignals(ready=key % 2 == 0, ended=[key], cancelled=[("w", "l", "r")]) for key in range(1, 101)]
    async with notifying_on(engine, *commits):
        (signals,) = await heard(ear, bool)
    assert signals == CommitSignals(ready=True, ended=list(range(1, 101)), cancelled=[("w", "l", "r")] * 100)


async def test_waiting_signals_are_sent_before_the_end(engine: sa.Engine, ear: Ear) -> None:
    async with notifying_on(engine) as notifier:
        for key in range(1, 1_001):
            notifier.notify(CommitSignals(ended=[key]))
    commits = await heard(ear, lambda signals: sum(len(commit.ended) for commit in signals) >= 1_000)
    assert sorted(key for signals in commits for key in signals.ended) == list(range(1, 1_001))


async def test_a_broken_connection_loses_no_signal(engine: sa.Engine, ear: Ear) -> None:
    async with notifying_on(engine, CommitSignals(ended=[1])) as notifier:
        await heard(ear, bool)
        ear.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify%'")
        notifier.notify(CommitSignals(ended=[2]))
        assert await heard(ear, lambda signals: len(signals) == 2) == [
            CommitSignals(ended=[1]),
            CommitSignals(ended=[2]),
        ]


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
            signals = (await heard(ear, bool))[0]
    assert signals.missed
    assert 1 not in signals.ended
    assert [(line["log_level"], line["action"]) for line in logs] == [("warning", "notify")]


async def test_too_many_waiting_signals_become_a_request_to_reread(engine: sa.Engine, ear: Ear) -> None:
    too_many = CommitSignals(ended=list(range(1, notifying.MAX_BACKLOG + 2)))
    async with notifying_on(engine, too_many):
        assert await heard(ear, bool) == [CommitSignals.reread_all()]


async def test_a_stop_during_an_outage_does_not_wait() -> None:
    away = sa.create_engine(NOBODY_LISTENS)
    async with asyncio.timeout(WAIT_S), notifying_on(away, CommitSignals(ready=True)):
        pass
    away.dispose()
