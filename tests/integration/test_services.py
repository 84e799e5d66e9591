"""Each loop of a replica, driven through the one protocol: started twice, waited for, stopped twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.database.notifications import PgNotifications, PgNotifier
from scheduler_svc.dispatch.loop import Admission, Dispatcher
from scheduler_svc.dispatch.streams import Streams
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.file_reload import FileReload
from scheduler_svc.runtime.group_committer import GroupCommitter
from scheduler_svc.runtime.hints import Listener, Notifier
from scheduler_svc.runtime.loops import Periodic, Service, ThreadService
from scheduler_svc.transactions import Database, make_engine

WAIT_S = 10


@dataclass
class Workshop:
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
        return Dispatcher(self.database, Streams(), 60.0, lambda _: None, Admission(self.calls))


async def _nothing() -> None:
    return None


def _unusable() -> None:
    raise SettingsError(["no such file"])


SERVICES: dict[str, Callable[[Workshop], Service]] = {
    "periodic": lambda _: Periodic("test", _nothing),
    "admission": lambda resources: Admission(resources.calls),
    "file reload": lambda _: FileReload("test", [], _unusable),
    "dispatcher": Workshop.dispatcher,
    "group committer": Workshop.committer,
    "listener": Workshop.listener,
    "notifier": lambda resources: Notifier(PgNotifier(resources.engine), "here"),
}


@pytest.fixture
def workshop(db_url: str) -> Iterator[Workshop]:
    with ExitStack() as closing:
        engine = make_engine(db_url, 2)
        closing.callback(engine.dispose)
        database = Database(engine, lambda _: None, lambda _: None)
        calls = Calls(database, 1)
        closing.callback(calls.close)
        yield Workshop(database, calls, engine, closing)


@pytest.fixture(autouse=True)
async def no_thread_of_the_loop_stays() -> AsyncIterator[None]:
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.mark.parametrize("make", SERVICES.values(), ids=SERVICES)
async def test_a_service_starts_once_and_stops_once(workshop: Workshop, make: Callable[[Workshop], Service]) -> None:
    service = make(workshop)
    assert not service.started.is_set()
    service.start()
    service.start()
    async with asyncio.timeout(WAIT_S):
        await service.started.wait()
        assert running(service) == 1
        await service.stop()
        await service.stop()
    assert running(service) == 0


@pytest.mark.parametrize("make", SERVICES.values(), ids=SERVICES)
async def test_a_service_that_was_stopped_never_starts(workshop: Workshop, make: Callable[[Workshop], Service]) -> None:
    service = make(workshop)
    await service.stop()
    service.start()
    assert running(service) == 0
    assert not service.started.is_set()


def running(service: Service) -> int:
    """How many threads or tasks have the service's name."""
    if isinstance(service, ThreadService):
        return sum(thread.name == service.name for thread in threading.enumerate())
    return sum(task.get_name() == service.name for task in asyncio.all_tasks())
