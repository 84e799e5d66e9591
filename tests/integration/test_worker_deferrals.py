"""A real worker process whose CLI defers, against a scripted scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_scheduler import lease, scripted_scheduler
from tests.harness.worker_process import lease_in, worker_process
from worker_svc.health import MAX_QUICK_FAILURES


def defers(lease_id: str, attempt: int = 1) -> pb.AssignedLease:
    return lease(lease_id, attempt=attempt, demo_fail="defer", demo_retry_after="2.5")


@pytest.mark.parametrize("profile", ["json", "reference"])
async def test_a_deferral_is_reported_and_frees_the_slot(tmp_path: Path, profile: str) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CREATOR_PROFILE=profile, CONTENTGEN_SLOTS="1") as process:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, defers("a"))
            update = await stream.update("deferred", "a")
            assert (update.attempt, update.deferred.retry_after.ToMilliseconds()) == (1, 2_500)
            assert update.deferred.message == "demo creator: the model is over its quota"
            heartbeat = await stream.until("heartbeat", lambda s: not s.held_leases)
            assert heartbeat.free_slots == 1
            assert process.leftovers() == set()
            assert [lease_in(event) for event in process.events("lease.deferred")] == [("task-a", "a", 1)]


async def test_a_deferral_does_not_count_against_the_cli(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_SLOTS="1"):
            stream, _ = await scheduler.session()
            for number in range(1, MAX_QUICK_FAILURES + 2):
                heartbeat = await stream.until("heartbeat", lambda s: s.free_slots > 0 and not s.held_leases)
                stream.assign(number, heartbeat.number, defers(f"a{number}"))
                await stream.update("deferred", f"a{number}")
            assert not any(message.heartbeat.unhealthy for message in stream.received)


async def test_a_deferral_outlives_the_worker(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as process:
            stream, _ = await scheduler.session()
            stream.answer_all(reports=False)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, defers("a"))
            await stream.update("deferred", "a")
            process.kill()
        with worker_process(tmp_path, scheduler.target) as process:
            again, hello = await scheduler.session(keep=["a"])
            assert [(held.lease_id, held.stage) for held in hello.held_leases] == [("a", pb.LEASE_STAGE_FINISHED)]
            assert not hello.lost_leases
            assert (await again.update("deferred", "a")).deferred.retry_after.ToMilliseconds() == 2_500
            await again.until("heartbeat", lambda s: not s.held_leases)
            assert process.leftovers() == set()


async def test_a_scheduler_of_the_previous_version_gets_a_failure(tmp_path: Path) -> None:
    """The next scheduler, which knows `deferred`, gets a deferral: the next stream may lead to either."""
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target):
            stream, _ = await scheduler.session(accepts_deferrals=False)
            stream.answer_all(reports=False)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, defers("a", attempt=3))
            update = await stream.update("failed", "a")
            assert (update.attempt, update.failed.error.reason) == (3, "CREATOR_ERROR")
            assert update.failed.error.message.endswith(": demo creator: the model is over its quota")
            assert not stream.updates("deferred")
            stream.end()
            again, _ = await scheduler.session(keep=["a"])
            await again.update("deferred", "a")
            await again.until("heartbeat", lambda s: not s.held_leases)
