"""Runs without a long session: `--run-one`, and the parts that a run needs."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
from structlog.testing import capture_logs

from contentgen.service.settings import settings_of
from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.guarded import FAR, guarding, marked
from tests.harness.processes import pending_tasks
from tests.harness.scripted_scheduler import Stream, held, lease, scripted_scheduler
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import FOR_EVER, WorkerProcess, lease_in, running, worker_session
from worker_svc.asset_folder import AssetFolder
from worker_svc.asset_sources import Fetcher
from worker_svc.config import WorkerSettings
from worker_svc.creators.base import Cli, Creator, Job, RunReporter
from worker_svc.folder import StartedMarks
from worker_svc.guard import now
from worker_svc.guard.client import Guard
from worker_svc.metrics import WorkerMetrics
from worker_svc.outcome import Article, Outcome
from worker_svc.runner import CreatorProgram, Runner
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import Stage
from worker_svc.session.worker import Worker
from worker_svc.spool import Spool

pytestmark = pytest.mark.integration


# `contentgen-worker --run-one`, as a real process against a scripted scheduler: one task, its result, the end.

ONE = {"CONTENTGEN_RUN_ONE": "on"}
SILENCE = 30.0  # seconds, more than a worker waits for a scheduler that says nothing any more


def journal_in(folder: Path) -> dict[str, str]:
    """Settings of a worker whose CLI notes its starts in the file `journal`."""
    return {"CREATOR_ENV": "CREATOR_DEMO_JOURNAL", "CREATOR_DEMO_JOURNAL": str(folder / "journal")}


def offers(stream: Stream) -> Sequence[int]:
    """The free slots of each heartbeat so far."""
    return [message.heartbeat.free_slots for message in stream.received if message.HasField("heartbeat")]


async def test_one_task_runs_and_the_worker_ends(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        many = {"CONTENTGEN_SLOTS": "5", "CONTENTGEN_QUEUE_SIZE": "7"}
        worker = WorkerProcess(tmp_path, scheduler.target, **many)
        worker.command.append("--run-one")
        with worker:
            stream, hello = await scheduler.session()
            assert hello.slots == 1
            heartbeat = await stream.grant(lease("a", seconds="0.7"))
            assert heartbeat.free_slots == 1
            await stream.update("completed", "a")
            assert await worker.exited() == 0
            assert set(offers(stream)) == {0, 1}
            assert list(offers(stream)) == sorted(offers(stream), reverse=True), "it offers its slot once"
            assert any(message.HasField("draining") for message in stream.received)
            assert worker.leftovers() == set()


@pytest.mark.parametrize(("status", "ending"), [("3", "failed"), ("75", "deferred")])
async def test_a_run_without_a_result_is_one_too(tmp_path: Path, status: str, ending: str) -> None:
    async with worker_session(tmp_path, **ONE) as (_, worker, stream):
        await stream.grant(lease("a", status=status))
        await stream.update(ending, "a")
        assert await worker.exited() == 0


async def test_a_task_that_is_cancelled_while_it_runs_is_the_one(tmp_path: Path) -> None:
    async with worker_session(tmp_path, **ONE) as (_, worker, stream):
        await running(stream, worker, lease("a", seconds=FOR_EVER))
        stream.send(cancel=pb.Cancel(lease_id="a", reason="CANCELLED_BY_CLIENT"))
        assert (await stream.update("released", "a")).released.started
        assert await worker.exited() == 0


async def test_a_lease_that_ends_before_its_cli_starts_is_followed_by_another(tmp_path: Path) -> None:
    settings = ONE | journal_in(tmp_path)
    async with worker_session(tmp_path, **settings, lease_ttl=1.5, heartbeat=0.2) as (_, worker, stream):
        first = await stream.until("heartbeat")
        # more than the lease time later
        await stream.until("heartbeat", lambda beat: beat.number > first.number + 6)
        stream.assign(1, first.number, lease("late"))
        released = await stream.update("released", "late")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=False)
        await stream.grant(lease("a"), wanted=lambda beat: beat.last_assignment == 1 and beat.free_slots == 1)
        await stream.update("completed", "a")
        assert await worker.exited() == 0
        assert [update.lease_id for update in stream.updates("accepted")] == ["a"]
    assert "task-late" not in (tmp_path / "journal").read_text()


async def test_a_second_lease_is_never_accepted(tmp_path: Path) -> None:
    """Whatever a scheduler sends, and whatever number of slots it wants."""
    async with worker_session(tmp_path, **ONE, desired_state=pb.DesiredState(slots=4)) as (_, worker, stream):
        stream.desired_state = pb.DesiredState(slots=4)
        await stream.grant(lease("a", seconds="0.7"), lease("b"), wanted=lambda beat: beat.number > 2)
        assert set(offers(stream)) == {1}
        await stream.update("completed", "a")
        released = await stream.update("released", "b")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
        assert await worker.exited() == 0
        assert [update.lease_id for update in stream.updates("accepted")] == ["a"]


@pytest.mark.parametrize("away", [False, True], ids=["silent", "away"])
async def test_a_result_that_is_not_acknowledged_stays_and_is_what_the_next_start_delivers(
    tmp_path: Path, away: bool
) -> None:
    async with scripted_scheduler() as scheduler, scripted_scheduler() as later:
        with WorkerProcess(tmp_path, scheduler.target, **ONE, **journal_in(tmp_path)) as worker:
            stream, _ = await scheduler.session()
            stream.answer_all(reports=False)
            await stream.grant(lease("a"))
            await stream.update("completed", "a")
            if away:
                await scheduler.stop()
            else:
                stream.answer_all(heartbeats=False, reports=False)
            assert await worker.exited(within=SILENCE) == os.EX_TEMPFAIL
            [left] = worker.events("spool.left")
            assert (left["results"], left["leases"], left["tasks"]) == (1, ["a"], ["task-a"])
            worker.launch(CONTENTGEN_SCHEDULER=later.target)
            stream, hello = await later.session()
            assert held(hello) == ["a"]
            await stream.update("completed", "a")
            assert await worker.exited() == 0
            assert set(offers(stream)) <= {0}, "it takes no task besides"
    assert (tmp_path / "journal").read_text().count('"start"') == 1


async def test_without_a_task_it_ends_after_the_wait(tmp_path: Path) -> None:
    async with worker_session(tmp_path, **ONE, CONTENTGEN_RUN_ONE_WAIT="1") as (_, worker, stream):
        await stream.until("draining")
        heartbeat = next(m.heartbeat for m in stream.received if m.HasField("heartbeat"))
        stream.assign(1, heartbeat.number, lease("a"))
        assert await worker.exited() == 0
        assert worker.events("worker.no_task")
        assert stream.updates("accepted") == []


async def test_without_a_scheduler_it_ends_after_the_wait_and_says_so(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, "127.0.0.1:1", **ONE, CONTENTGEN_RUN_ONE_WAIT="1") as worker:
        assert await worker.exited() == 1
        assert worker.events("worker.no_scheduler")


@pytest.mark.parametrize("runs", [False, True], ids=["waiting", "running"])
async def test_term_drains_it_as_always(tmp_path: Path, runs: bool) -> None:
    go = tmp_path / "go"
    async with worker_session(tmp_path, **ONE) as (_, worker, stream):
        if runs:
            await running(stream, worker, lease("a", until=str(go)))
        else:
            await stream.until("heartbeat")
        worker.term()
        await stream.until("draining")
        go.touch()
        assert await worker.exited() == 0
        assert [update.lease_id for update in stream.updates("completed")] == ["a"] * runs


# A worker's runs without a stream, with a real guard, real programs and a real disk.

SETTINGS = settings_of(
    WorkerSettings, {"creator_poll_interval": 30.0, "creator_max_result": 1_000_000, "slots": 1, "queue_size": 1}
)
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
        return Article("an article", images=("a.png", ADDRESS))


@asynccontextmanager
async def working(
    creator: type[Creator], folder: Path, fetcher: Fetcher | None = None
) -> AsyncIterator[tuple[Worker, Guard]]:
    """A worker with one slot and a queue of one, and its guard."""
    scratch, spool, started, assets = (folder / name for name in ("scratch", "spool", "started", "assets"))
    for directory in (scratch, spool, started, assets):
        directory.mkdir()
    async with guarding() as guard:
        runner = Runner(
            guard, CreatorProgram.locate(sys.executable, (), {}, creator.needs), creator(SETTINGS), scratch, SETTINGS
        )
        with ThreadPoolExecutor(1) as disk:
            kept = AssetFolder(assets, disk, 1_000_000, fetcher)
            journal = DurableJournal(Spool(spool, disk), StartedMarks(started, disk), kept, lambda: None)
            worker = Worker(SETTINGS, runner, journal, lambda: None, metrics=WorkerMetrics())
            try:
                yield worker, guard
            finally:
                await worker.close()


async def run_to_end(worker: Worker, seconds: float = 60.0, attempt: int = 1) -> list[str]:
    """Runs one lease, whose task has so many seconds; the images of its result."""
    worker.uploads.opened(None)
    worker.assigned([lease("a", attempt=attempt, timeout=seconds)], now() + FAR)
    await wait_until_async(lambda: worker.is_idle, within=30, what="the run is over")
    [ended] = [update for update in worker.outbox.take(1) if update.kind.ends]
    return list(ended.message.completed.result.images)


async def test_a_run_that_starts_while_the_worker_closes_is_ended(tmp_path: Path) -> None:
    async with working(Endless, tmp_path) as (worker, guard):
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
        async with working(Faulty, tmp_path) as (worker, _):
            await run_to_end(worker, attempt=2)
    [event] = [event for event in events if event["action"] == "creator.fault"]
    assert lease_in(event) == ("task-a", "a", 2)


async def test_an_exception_while_files_are_taken_costs_the_files_and_never_the_article(tmp_path: Path) -> None:
    def faulty(_: object) -> bool:
        raise LookupError("an address that it did not think of")

    with capture_logs() as events:
        async with working(Pictured, tmp_path, Fetcher(["localhost:1"], faulty)) as (worker, _):
            assert await run_to_end(worker) == ["a.png", ADDRESS]
            assert not worker.broken.is_set()
    [event] = [event for event in events if event["action"] == "asset.fault"]
    assert lease_in(event) == ("task-a", "a", 1)


async def test_a_picture_that_does_not_come_holds_its_article_up_for_half_of_its_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    try:
        async with working(Pictured, tmp_path, Fetcher(["localhost:1"])) as (worker, _):
            assert await run_to_end(worker, seconds=8.0) == ["a.png", ADDRESS]
    finally:
        over.set()
