"""`contentgen-worker --run-one`, as a real process against a scripted scheduler: one task, its result, the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.quick_creator import quick_creator
from tests.harness.scripted_scheduler import Stream, lease, scripted_scheduler
from tests.harness.worker_process import WorkerProcess, worker_process
from tests.integration.worker_runs import FOR_EVER, running

ONE = {"CONTENTGEN_RUN_ONE": "on"}
SILENCE = 30.0
"""Seconds, more than a worker waits for a scheduler that says nothing any more."""


def offers(stream: Stream) -> Sequence[int]:
    """The free slots of each heartbeat so far."""
    return [message.heartbeat.free_slots for message in stream.received if message.HasField("heartbeat")]


def creator(folder: Path) -> dict[str, str]:
    """Settings of a worker with a creator whose runs take a millisecond."""
    program = quick_creator(folder)
    return ONE | {
        "CREATOR_CLI_PATH": str(program),
        "CREATOR_ENV": "CREATOR_DEMO_JOURNAL",
        "CREATOR_DEMO_JOURNAL": str(folder / "journal"),
    }


async def test_one_task_runs_and_the_worker_ends(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        many = {"CONTENTGEN_SLOTS": "5", "CONTENTGEN_QUEUE_SIZE": "7"}
        worker = WorkerProcess(tmp_path, scheduler.target, **many)
        worker.command.append("--run-one")
        with worker:
            stream, hello = await scheduler.session()
            assert hello.slots == 1
            heartbeat = await stream.until("heartbeat")
            assert heartbeat.free_slots == 1
            stream.assign(1, heartbeat.number, lease("a", demo_seconds="0.7"))
            await stream.update("completed", "a")
            assert await worker.exited() == 0
            assert set(offers(stream)) == {0, 1}
            assert list(offers(stream)) == sorted(offers(stream), reverse=True), "it offers its slot once"
            assert any(message.HasField("draining") for message in stream.received)
            assert worker.leftovers() == set()


@pytest.mark.parametrize(("status", "ending"), [("3", "failed"), ("75", "deferred")])
async def test_a_run_without_a_result_is_one_too(tmp_path: Path, status: str, ending: str) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **creator(tmp_path)) as worker:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("a", status=status))
            await stream.update(ending, "a")
            assert await worker.exited() == 0


async def test_a_task_that_is_cancelled_while_it_runs_is_the_one(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **ONE) as worker:
            stream, _ = await scheduler.session()
            await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            stream.send(cancel=pb.Cancel(lease_id="a", reason="CANCELLED_BY_CLIENT"))
            assert (await stream.update("released", "a")).released.started
            assert await worker.exited() == 0


async def test_a_lease_that_ends_before_its_cli_starts_is_followed_by_another(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **creator(tmp_path)) as worker:
            stream, _ = await scheduler.session(lease_ttl=1.5, heartbeat=0.2)
            first = await stream.until("heartbeat")
            # more than the lease time later
            await stream.until("heartbeat", lambda beat: beat.number > first.number + 6)
            stream.assign(1, first.number, lease("late"))
            released = await stream.update("released", "late")
            assert released.released == pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=False)
            heartbeat = await stream.until("heartbeat", lambda beat: beat.last_assignment == 1 and beat.free_slots == 1)
            stream.assign(2, heartbeat.number, lease("a"))
            await stream.update("completed", "a")
            assert await worker.exited() == 0


async def test_a_second_lease_is_never_accepted(tmp_path: Path) -> None:
    """Whatever a scheduler sends, and whatever number of slots it wants."""
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **ONE) as worker:
            stream, _ = await scheduler.session(desired=pb.DesiredState(slots=4))
            stream.desired_state = pb.DesiredState(slots=4)
            heartbeat = await stream.until("heartbeat", lambda beat: beat.number > 2)
            assert set(offers(stream)) == {1}
            stream.assign(1, heartbeat.number, lease("a", demo_seconds="0.7"), lease("b"))
            await stream.update("completed", "a")
            released = await stream.update("released", "b")
            assert released.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
            assert await worker.exited() == 0
            assert [update.lease_id for update in stream.updates("accepted")] == ["a"]


async def test_a_result_that_is_not_acknowledged_stays_and_is_what_the_next_start_delivers(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler, scripted_scheduler() as later:
        with worker_process(tmp_path, scheduler.target, **creator(tmp_path)) as worker:
            stream, _ = await scheduler.session()
            stream.answer_all(reports=False)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("a"))
            await stream.update("completed", "a")
            await scheduler.stop()
            assert await worker.exited(within=SILENCE) == os.EX_TEMPFAIL
            [left] = worker.events("spool.left")
            assert (left["results"], left["leases"], left["tasks"]) == (1, ["a"], ["task-a"])
            worker.launch(CONTENTGEN_SCHEDULER=later.target)
            stream, hello = await later.session()
            assert [held.lease_id for held in hello.held_leases] == ["a"]
            await stream.update("completed", "a")
            assert await worker.exited() == 0
            assert set(offers(stream)) <= {0}, "it takes no task besides"
    assert (tmp_path / "journal").read_text().count('"start"') == 1


async def test_without_a_task_it_ends_after_the_wait(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **ONE, CONTENTGEN_RUN_ONE_WAIT="1") as worker:
            stream, _ = await scheduler.session()
            await stream.until("draining")
            heartbeat = next(m.heartbeat for m in stream.received if m.HasField("heartbeat"))
            stream.assign(1, heartbeat.number, lease("a"))
            assert await worker.exited() == 0
            assert worker.events("worker.no_task")
            assert stream.updates("accepted") == []


async def test_without_a_scheduler_it_ends_after_the_wait_and_says_so(tmp_path: Path) -> None:
    with worker_process(tmp_path, "127.0.0.1:1", **ONE, CONTENTGEN_RUN_ONE_WAIT="1") as worker:
        assert await worker.exited() == 1
        assert worker.events("worker.no_scheduler")


@pytest.mark.parametrize("runs", [False, True], ids=["waiting", "running"])
async def test_term_drains_it_as_always(tmp_path: Path, runs: bool) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, **ONE) as worker:
            stream, _ = await scheduler.session()
            if runs:
                await running(stream, worker, lease("a", demo_seconds="2"))
            else:
                await stream.until("heartbeat")
            worker.term()
            assert await worker.exited() == 0
            assert [update.lease_id for update in stream.updates("completed")] == ["a"] * runs
