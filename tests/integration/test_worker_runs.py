"""A worker's runs without a stream, with a real guard, real programs and a real disk."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from tests.harness.leaks import pending_tasks
from tests.harness.scripted_scheduler import lease
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import lease_in
from tests.integration.guarded import marked
from worker_svc.asset_folder import AssetFolder
from worker_svc.creators.base import Cli, Creator, Job, RunReporter
from worker_svc.fetching import Fetcher
from worker_svc.folder import StartedMarks
from worker_svc.guard import Guard, now
from worker_svc.metrics import WorkerMetrics
from worker_svc.outcome import Article, Completed, Outcome
from worker_svc.runner import CreatorProgram, Runner
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import Stage
from worker_svc.session.worker import Worker
from worker_svc.slots import Slots
from worker_svc.spool import Spool

FAR = 600.0
ADDRESS = "https://localhost:1/b.png"


class Endless(Creator):
    """A profile whose CLI ends only when it is stopped."""

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        await cli.call(["-c", "import signal; signal.pause()"], limit=None)
        raise AssertionError("it was stopped")


class Faulty(Creator):
    """A profile that raises an unexpected exception."""

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        raise LookupError("an answer that it did not think of")


class Pictured(Creator):
    """A profile whose article names a file and an address, `ADDRESS`."""

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        await cli.call(["-c", "open('a.png', 'w').write('a picture')"], limit=None)
        return Completed(Article("an article", images=("a.png", ADDRESS)))


@asynccontextmanager
async def working(
    creator: Creator, folder: Path, fetcher: Fetcher | None = None
) -> AsyncIterator[tuple[Worker, Guard]]:
    """A worker with one slot and a queue of one, and its guard."""
    guard = Guard.launch(grace=0.3)
    await guard.connect()
    scratch, spool, started, assets = (folder / name for name in ("scratch", "spool", "started", "assets"))
    for directory in (scratch, spool, started, assets):
        directory.mkdir()
    runner = Runner(guard, CreatorProgram.locate(sys.executable, (), {}, creator.needs), creator, scratch)
    with ThreadPoolExecutor(1) as disk:
        kept = AssetFolder(assets, disk, 1_000_000, fetcher)
        journal = DurableJournal(Spool(spool, disk), StartedMarks(started, disk), kept, lambda: None)
        worker = Worker(Slots(1, 1), runner, journal, lambda: None, metrics=WorkerMetrics())
        try:
            yield worker, guard
        finally:
            await worker.close()
            await guard.close()
            await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_run_that_starts_while_the_worker_closes_is_ended(tmp_path: Path) -> None:
    async with working(Endless(), tmp_path) as (worker, guard):
        tasks = pending_tasks()
        worker.assigned([lease("runs"), lease("waits")], now() + FAR)
        await wait_until_async(lambda: marked(guard), within=10, what="the first one runs")
        worker.revoked(["runs"], "LEASE_LOST")  # its end frees the slot for the other one
        await worker.close()
        waits = worker.book.get("waits")
        assert waits is not None
        assert waits.stage is Stage.ACCEPTED, "it had got the slot"
        assert pending_tasks() - tasks == set()
        assert marked(guard) == set()


async def test_an_exception_in_a_profile_is_logged_with_its_lease(tmp_path: Path) -> None:
    with capture_logs() as events:
        async with working(Faulty(), tmp_path) as (worker, _):
            worker.assigned([lease("a", attempt=2)], now() + FAR)
            await wait_until_async(lambda: worker.is_idle, within=10, what="the run is over")
    [event] = [event for event in events if event["action"] == "creator.fault"]
    assert lease_in(event) == ("task-a", "a", 2)


async def test_an_exception_while_files_are_taken_costs_the_files_and_never_the_article(tmp_path: Path) -> None:
    def faulty(_: object) -> bool:
        raise LookupError("an address that it did not think of")

    with capture_logs() as events:
        async with working(Pictured(), tmp_path, Fetcher(["localhost:1"], faulty)) as (worker, _):
            worker.uploads.opened(None)
            worker.assigned([lease("a")], now() + FAR)
            await wait_until_async(lambda: worker.is_idle, within=10, what="the run is over")
            assert not worker.broken.is_set()
            [ended] = [update for update in worker.outbox.take(1) if update.kind.ends]
            assert list(ended.message.completed.result.images) == ["a.png", ADDRESS]
    [event] = [event for event in events if event["action"] == "asset.fault"]
    assert lease_in(event) == ("task-a", "a", 1)


async def test_a_picture_that_does_not_come_holds_its_article_up_for_half_of_its_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    try:
        async with working(Pictured(), tmp_path, Fetcher(["localhost:1"])) as (worker, _):
            worker.uploads.opened(None)
            worker.assigned([lease("a", timeout=8.0)], now() + FAR)
            await wait_until_async(lambda: worker.is_idle, within=30, what="the run is over")
            [ended] = [update for update in worker.outbox.take(1) if update.kind.ends]
            assert list(ended.message.completed.result.images) == ["a.png", ADDRESS]
    finally:
        over.set()
