"""A real worker process whose CLI breaks and is repaired, against a scripted scheduler."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.creators import BROKEN, BreakableCreator
from tests.harness.scripted_scheduler import ScriptedScheduler, Stream, held, lease
from tests.harness.worker_process import WorkerProcess, lease_in, worker_session
from worker_svc.session.health import MAX_QUICK_FAILURES

pytestmark = pytest.mark.integration


@asynccontextmanager
async def broken_session(
    folder: Path, **settings: Any
) -> AsyncIterator[tuple[ScriptedScheduler, WorkerProcess, Stream, BreakableCreator]]:
    creator = BreakableCreator(folder)
    settings = {"CONTENTGEN_SLOTS": "1", "CREATOR_CLI_PATH": str(creator.path), **settings}
    async with worker_session(folder / "data", **settings) as (scheduler, worker, stream):
        yield scheduler, worker, stream, creator


async def falls_ill(stream: Stream) -> pb.Heartbeat:
    """Assigns tasks until the worker is unhealthy; returns that heartbeat."""
    for number in range(1, MAX_QUICK_FAILURES + 1):
        await stream.grant(
            lease(f"ill-{number}"), wanted=lambda s: s.free_slots > 0 and not s.held_leases and not s.unhealthy
        )
    return await unhealthy(stream)


async def unhealthy(stream: Stream) -> pb.Heartbeat:
    heartbeat: pb.Heartbeat = await stream.until("heartbeat", lambda s: s.unhealthy and s.free_slots == 0)
    return heartbeat


async def probe(stream: Stream, name: str, ending: str) -> None:
    """Assigns a task once the worker asks for one, which ends so."""
    await stream.grant(lease(name), wanted=lambda s: s.unhealthy and s.free_slots == 1)
    await stream.update(ending, name)


def named(lease_id: str) -> tuple[str, str, int]:
    """The worker's log events about its health."""
    return f"task-{lease_id}", lease_id, 1


async def test_five_quick_failures_make_a_worker_unhealthy_until_a_success(tmp_path: Path) -> None:
    async with broken_session(tmp_path, CONTENTGEN_QUEUE_SIZE="2") as (_, worker, stream, creator):
        ill = await falls_ill(stream)
        fell_ill_at = time.monotonic()
        assert (ill.free_slots, ill.last_error) == (0, BROKEN)

        await probe(stream, "tried-in-vain", "failed")
        assert time.monotonic() - fell_ill_at > 0.5, "the first pause is a second"
        await unhealthy(stream)
        failed_again_at = time.monotonic()
        creator.works.touch()
        await probe(stream, "tried", "completed")
        assert time.monotonic() - failed_again_at > 0.8, "the second one is up to two"
        heartbeat = await stream.until("heartbeat", lambda s: not s.unhealthy and not s.held_leases)
        assert (heartbeat.free_slots, heartbeat.last_error) == (3, "")

        (event, again) = worker.events("worker.unhealthy")
        assert (event["reason"], event["exit_code"], event["next_probe_in"]) == ("CREATOR_ERROR", "3", 1.0)
        assert again["next_probe_in"] <= 2.0
        assert [lease_in(entry) for entry in (event, again)] == [named("ill-5"), named("tried-in-vain")]
        probed = [named("tried-in-vain"), named("tried")]
        assert [lease_in(entry) for entry in worker.events("worker.probing")] == probed
        assert [lease_in(entry) for entry in worker.events("worker.healthy")] == [named("tried")]
        lines = (line for line in worker.text().splitlines() if '"level": "debug"' not in line)
        assert "no model answers" not in "".join(lines), "an error may quote its task"


async def test_waiting_leases_are_released_after_a_heartbeat_and_do_not_count(tmp_path: Path) -> None:
    async with broken_session(tmp_path, CONTENTGEN_QUEUE_SIZE="6") as (_, worker, stream, _):
        names = [f"runs-{n}" for n in range(MAX_QUICK_FAILURES)] + ["waits-1", "waits-2"]
        assert (await stream.grant(*map(lease, names))).free_slots == 7
        for name in ("waits-1", "waits-2"):
            update = await stream.update("released", name)
            assert update.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
        first_at = next(i for i, message in enumerate(stream.received) if message.heartbeat.unhealthy)
        updates = [(i, update) for i, message in enumerate(stream.received) for update in message.report.updates]
        assert first_at < min(i for i, update in updates if update.HasField("released"))
        first = stream.received[first_at].heartbeat
        assert first.free_slots == 0
        assert set(held(first)) >= {"waits-1", "waits-2"}
        assert {entry["lease_id"] for entry in worker.events("lease.released")} == {"waits-1", "waits-2"}


async def test_leases_in_transit_are_released_and_a_cancelled_probe_decides_nothing(tmp_path: Path) -> None:
    async with broken_session(tmp_path) as (_, worker, stream, creator):
        ill = await falls_ill(stream)
        stream.assign(6, ill.number - 1, lease("late"))
        assert (await stream.update("released", "late")).released.reason == pb.RELEASE_REASON_DRAINING

        creator.hangs.touch()
        heartbeat = await stream.grant(lease("cancelled"), wanted=lambda s: s.unhealthy and s.free_slots == 1)
        assert heartbeat.last_assignment == 6
        await unhealthy(stream)
        stream.send(cancel=pb.Cancel(lease_id="cancelled", reason="CANCELLED_BY_CLIENT"))
        await stream.update("released", "cancelled")
        creator.works.touch()
        creator.hangs.unlink()
        await probe(stream, "tried", "completed")
        assert len(worker.events("worker.unhealthy")) == 1


async def test_no_probe_task_runs_while_the_cli_cannot_print_its_version(tmp_path: Path) -> None:
    """A new stream stays unhealthy, and a new process begins healthy."""
    async with broken_session(tmp_path) as (scheduler, worker, stream, creator):
        await falls_ill(stream)
        asked = creator.asked
        creator.version.write_text("127")
        stream.end()
        again, _ = await scheduler.session()
        heartbeat = await again.until("heartbeat")
        assert (heartbeat.number, heartbeat.unhealthy) == (1, True)
        heartbeat = await again.until("heartbeat", lambda s: "exited with status 127" in s.last_error)
        assert (heartbeat.unhealthy, heartbeat.free_slots) == (True, 0)
        assert creator.asked > asked
        assert worker.events("worker.unusable")
        creator.version.write_text("0")
        creator.works.touch()
        await probe(again, "tried", "completed")
        creator.works.unlink()
        await falls_ill(again)
        worker.kill()
        worker.launch()
        anew, _ = await scheduler.session()
        heartbeat = await anew.until("heartbeat")
        assert (heartbeat.unhealthy, heartbeat.free_slots) == (False, 1)
