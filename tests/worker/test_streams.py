"""A real worker process with changing streams, schedulers and processes of its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.guarded import living
from tests.harness.scripted_scheduler import lease, scripted_scheduler
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import FOR_EVER, no_cli, running, worker_process

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("how", ["end", "reconnect"])
async def test_a_new_stream_resumes_all_leases(tmp_path: Path, how: str) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, first = await scheduler.session()
            stream.answer_all(reports=False)
            clis = await running(stream, worker, lease("a", demo_seconds="2"))
            if how == "end":
                stream.end()
            else:
                stream.send(reconnect=pb.Reconnect())
            again, hello = await scheduler.session(keep=["a"])
            assert hello.session_number == first.session_number + 1
            assert (hello.worker_id, hello.folder_id, hello.process_id) == (
                first.worker_id,
                first.folder_id,
                first.process_id,
            )
            assert [held.lease_id for held in hello.held_leases] == ["a"]
            assert not hello.lost_leases, "it runs"
            report = await again.until("report")
            kinds = [update.WhichOneof("update") for update in report.updates]
            assert kinds[:2] == ["accepted", "processing"], "sent again, in order"
            heartbeat = await again.until("heartbeat")
            assert (heartbeat.number, heartbeat.free_slots, heartbeat.last_assignment) == (1, 2, 0)
            assert [cli.pid for cli in worker.clis()] == clis, "the CLI is the same process"
            await again.update("completed", "a")


@pytest.mark.parametrize("interval", [-300e9, 300e9])
async def test_an_implausible_heartbeat_interval_is_ignored(tmp_path: Path, interval: float) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session(heartbeat=interval, lease_ttl=300e9)
            await stream.until("heartbeat")
            stream.end()
            again, _ = await scheduler.session()
            await again.until("heartbeat")
            opened = worker.events("session.opened")
            assert 0 < opened[0]["heartbeat_interval"] <= 60
            assert not worker.events("stream.fault")


@pytest.mark.parametrize("slots", [-1, 0, 1_001, 2**31 - 1])
async def test_a_number_of_slots_out_of_bounds_is_ignored(tmp_path: Path, slots: int) -> None:
    """The worker would repeat them in each hello, and a scheduler refuses one with more than 1,000."""
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_SLOTS="2"):
            stream, _ = await scheduler.session(desired=pb.DesiredState(slots=slots))
            stream.send(resize=pb.Resize(slots=slots))
            await stream.until("heartbeat")
            stream.end()
            _, hello = await scheduler.session()
            assert hello.slots == 2


async def test_a_dropped_lease_is_stopped_and_its_spooled_result_is_sent(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            stream.answer_all(reports=False)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("done", demo_seconds="0.1"), lease("runs", demo_seconds=FOR_EVER))
            await stream.update("completed", "done")
            stream.end()
            again, hello = await scheduler.session(drop=["done", "runs"])
            assert {held.lease_id for held in hello.held_leases} == {"done", "runs"}
            await again.update("completed", "done")
            assert (await again.update("released", "runs")).released.started
            await no_cli(worker)


async def test_an_outage_of_the_scheduler_stops_no_run(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        target = scheduler.target
        with worker_process(tmp_path, target) as worker:
            stream, _ = await scheduler.session()
            await running(stream, worker, lease("a", demo_seconds="1"))
            await scheduler.stop()
            await wait_until_async(lambda: worker.leftovers() == {"spool/1.batch"}, within=8, what="it is spooled")
            await wait_until_async(lambda: worker.events("session.unavailable"), within=8, what="it dials in vain")
            async with scripted_scheduler(int(target.rpartition(":")[2])) as back:
                again, hello = await back.session(keep=["a"])
                assert [(held.lease_id, held.stage) for held in hello.held_leases] == [("a", pb.LEASE_STAGE_FINISHED)]
                await again.update("completed", "a")


async def test_several_addresses_are_dialled_in_turn(tmp_path: Path) -> None:
    async with scripted_scheduler() as one, scripted_scheduler() as two:
        with worker_process(tmp_path, f"{one.target},{two.target}") as worker:
            stream, _ = await one.session()
            await running(stream, worker, lease("a", demo_seconds="1"))
            stream.send(reconnect=pb.Reconnect())
            again, hello = await two.session(keep=["a"])
            assert [held.lease_id for held in hello.held_leases] == ["a"]
            await again.update("completed", "a")


async def test_a_spooled_result_outlives_the_worker(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, first = await scheduler.session()
            stream.answer_all(reports=False)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("a", attempt=4, demo_seconds="0.1"))
            body = (await stream.update("completed", "a")).completed.result.body
            worker.kill()
        with worker_process(tmp_path, scheduler.target) as worker:
            again, hello = await scheduler.session(keep=["a"])
            assert (hello.worker_id, hello.folder_id) == (first.worker_id, first.folder_id)
            assert hello.session_number == first.session_number + 1
            assert hello.process_id != first.process_id
            assert [(held.lease_id, held.attempt, held.stage) for held in hello.held_leases] == [
                ("a", 4, pb.LEASE_STAGE_FINISHED)
            ]
            assert not hello.lost_leases
            [event] = worker.events("spool.recovered")
            assert (event["lease_id"], event["attempt"]) == ("a", 4)
            assert "task_id" not in event, "the spool does not know it"
            update = await again.update("completed", "a")
            assert (update.attempt, update.completed.result.body) == (4, body)
            heartbeat = await again.until("heartbeat", lambda s: not s.held_leases)
            assert heartbeat.free_slots == 3
            assert worker.leftovers() == set()


async def test_leases_that_ran_in_a_killed_worker_are_named_as_lost(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            clis = await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            worker.kill()
            assert not living(clis)
        with worker_process(tmp_path, scheduler.target) as worker:
            again, hello = await scheduler.session()
            assert (list(hello.lost_leases), list(hello.held_leases)) == (["a"], [])
            again.end()
            _, hello = await scheduler.session()
            assert not hello.lost_leases, "it was told once, and answered"


async def test_lost_leases_that_were_locked_are_reported_again(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            worker.kill()
        with worker_process(tmp_path, scheduler.target):
            for skipped, named in ((["a"], ["a"]), ((), ["a"]), ((), [])):
                stream, hello = await scheduler.session(skipped=skipped)
                assert list(hello.lost_leases) == named
                stream.end()


async def test_term_releases_waiting_leases_and_finishes_runs(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        settings = {"CONTENTGEN_SLOTS": "1", "CONTENTGEN_QUEUE_SIZE": "1"}
        with worker_process(tmp_path, scheduler.target, **settings) as worker:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("runs", demo_seconds="1.5"), lease("waits"))
            await stream.update("processing", "runs")
            worker.term()
            await stream.until("draining")
            released = await stream.update("released", "waits")
            assert released.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
            heartbeat = await stream.until("heartbeat", lambda s: len(s.held_leases) == 1)
            assert heartbeat.free_slots == 0
            stream.assign(2, heartbeat.number, lease("late"))
            assert not (await stream.update("released", "late")).released.started
            await stream.update("completed", "runs")
            assert await worker.exited() == 0
            assert worker.leftovers() == set()


async def test_an_idle_worker_that_stops_leaves_no_lease_behind(tmp_path: Path) -> None:
    """A lease that was claimed before the drain reached the scheduler still reaches the worker."""
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            heartbeat = await stream.until("heartbeat")
            stream.answer_all(heartbeats=False)
            worker.term()
            await stream.until("draining")
            closed = await stream.until("heartbeat", lambda s: s.free_slots == 0)
            stream.assign(1, heartbeat.number, lease("a"))
            stream.ack_heartbeat(closed.number)
            assert not (await stream.update("released", "a")).released.started
            stream.ack_heartbeat((await stream.until("heartbeat")).number)
            assert await worker.exited() == 0


async def test_a_second_term_stops_runs_and_releases_their_leases(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            await running(stream, worker, lease("a", demo_seconds=FOR_EVER), lease("b", demo_fail="ignore-term"))
            worker.term()
            await stream.until("draining")
            begun = time.monotonic()
            worker.term()
            for lease_id in "ab":
                released = await stream.update("released", lease_id)
                assert released.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=True)
            assert await worker.exited() == 0
            assert time.monotonic() - begun < 10
            assert worker.leftovers() == set()


async def test_the_drain_timeout_acts_like_a_second_term(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_DRAIN_TIMEOUT="500ms") as worker:
            stream, _ = await scheduler.session()
            await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            worker.signal(signal.SIGINT)
            assert (await stream.update("released", "a")).released.started
            assert await worker.exited() == 0


@pytest.mark.parametrize("how", ["message", "welcome", "acknowledgement"])
async def test_a_desired_drain_leaves_the_worker_connected_and_idle(tmp_path: Path, how: str) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            wanted = pb.DesiredState(drain=True)
            stream, _ = await scheduler.session(desired=wanted if how == "welcome" else None)
            stream.desired_state = wanted
            if how == "message":
                stream.send(drain=pb.Drain())
            elif how == "acknowledgement":
                stream.ack_heartbeat((await stream.until("heartbeat")).number, desired=wanted)
            first = await stream.until("heartbeat", lambda s: s.free_slots == 0)
            await stream.until("heartbeat", lambda s: s.free_slots == 0 and s.number > first.number + 3)
            worker.term()
            assert await worker.exited() == 0


async def test_an_undrained_worker_serves_again_and_a_stop_is_final(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session(desired=pb.DesiredState(drain=True))
            stream.desired_state = pb.DesiredState(drain=True)
            await stream.until("heartbeat", lambda s: s.free_slots == 0)
            stream.desired_state = pb.DesiredState()
            open_state = await stream.until("heartbeat", lambda s: s.free_slots > 0)
            stream.assign(1, open_state.number, lease("a", demo_seconds=FOR_EVER))
            await stream.update("processing", "a")
            assert not any(message.HasField("draining") for message in stream.received), "it was not to be stopped"
            worker.term()
            await stream.until("draining")
            await stream.until("heartbeat", lambda s: s.free_slots == 0)
            worker.term()
            await stream.update("released", "a")
            assert await worker.exited() == 0


async def test_a_worker_id_in_use_is_logged_and_the_hello_repeated(tmp_path: Path) -> None:
    async def in_use(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        info = error_details_pb2.ErrorInfo(
            reason="WORKER_ID_IN_USE", domain="contentgen", metadata={"hostname": "other"}
        )
        packed = Packed()
        packed.Pack(info)
        status = status_pb2.Status(code=grpc.StatusCode.ALREADY_EXISTS.value[0], message="in use", details=[packed])
        await context.abort_with_status(rpc_status.to_status(status))

    async with scripted_scheduler() as scheduler:
        scheduler.refuse = in_use
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_WORKER_ID="blue") as worker:
            events = await wait_until_async(
                lambda: worker.events("session.worker_id_in_use")[1:], within=10, what="it was refused twice"
            )
            assert (events[0]["hostname"], events[0]["worker_id"]) == ("other", "blue")
            scheduler.refuse = None
            _, hello = await scheduler.session()
            assert hello.worker_id == "blue"


async def test_unreadable_error_details_do_not_end_a_worker(tmp_path: Path) -> None:
    async def refuse(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        packed = Packed(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff\xff")
        status = status_pb2.Status(code=grpc.StatusCode.ABORTED.value[0], message="no", details=[packed])
        await context.abort_with_status(rpc_status.to_status(status))

    async with scripted_scheduler() as scheduler:
        scheduler.refuse = refuse
        with worker_process(tmp_path, scheduler.target) as worker:
            await wait_until_async(lambda: worker.events("session.ended"), within=10, what="it was refused")
            scheduler.refuse = None
            await scheduler.session()


async def test_a_second_worker_of_the_same_id_does_not_start(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_WORKER_ID="blue") as worker:
            await scheduler.session()
            with worker_process(tmp_path, scheduler.target, CONTENTGEN_WORKER_ID="blue") as second:
                assert await second.exited() == 78
                assert f"process {worker.pid} holds" in second.text()
            with worker_process(tmp_path, scheduler.target) as other:
                _, hello = await scheduler.session()
                assert hello.worker_id != "blue"
                other.term()
                assert await other.exited() == 0


@pytest.mark.parametrize("cli", ["/no/such/creator", "no-such-creator", "/etc/passwd"])
async def test_a_cli_that_cannot_be_run_keeps_the_worker_from_starting(tmp_path: Path, cli: str) -> None:
    with worker_process(tmp_path, "127.0.0.1:1", CREATOR_CLI_PATH=cli) as worker:
        assert await worker.exited() == 78
        [event] = worker.events("creator.unusable")
        assert cli in event["event"]
        assert "CREATOR_CLI_PATH" in event["event"]


async def test_wrong_settings_keep_the_worker_from_starting(tmp_path: Path) -> None:
    settings = {"CONTENTGEN_SLOTS": "0", "CONTENTGEN_LOG_LEVEL": "loud"}
    with worker_process(tmp_path, "127.0.0.1:1", **settings) as worker:
        assert await worker.exited() == 78
        assert "CONTENTGEN_SLOTS=0: must be" in worker.text()
        assert "CONTENTGEN_LOG_LEVEL=loud: must be" in worker.text()


async def test_a_worker_without_its_guard_ends_at_once(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session()
            clis = await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            [guard] = psutil.Process(worker.pid).children()
            guard.kill()
            assert await worker.exited(5) == 1
            assert worker.events("guard.lost")
            await wait_until_async(lambda: not living(clis), within=2, what="the kernel has ended the CLIs")


async def test_a_worker_suspended_past_a_deadline_loses_its_runs_and_serves_again(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session(lease_ttl=5.0)
            clis = await running(stream, worker, lease("a", demo_seconds=FOR_EVER))
            worker.signal(signal.SIGSTOP)
            try:
                await wait_until_async(lambda: not living(clis), within=8, what="the guard ended the CLI")
            finally:
                worker.signal(signal.SIGCONT)
            released = await stream.update("released", "a")
            assert released.released == pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=True)
            heartbeat = await stream.until("heartbeat", lambda s: not s.held_leases)
            stream.assign(2, heartbeat.number, lease("b", demo_seconds="0.1"))
            await stream.update("completed", "b")


async def test_a_frozen_worker_reports_the_result_of_a_cli_that_had_ended_before_its_deadline(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target) as worker:
            stream, _ = await scheduler.session(lease_ttl=5.0)
            ends, endless = lease("ends", topic="paid for", demo_seconds="1"), lease("endless", demo_seconds=FOR_EVER)
            clis = await running(stream, worker, ends, endless)
            worker.signal(signal.SIGSTOP)
            try:  # both have the same deadline
                await wait_until_async(lambda: not living(clis), within=8, what="one has ended, the other was ended")
                # It receives that when it resumes, before or after the guard reports the end.
                stream.send(cancel=pb.Cancel(lease_id="ends", reason="LEASE_LOST"))
            finally:
                worker.signal(signal.SIGCONT)
            assert "paid for" in (await stream.update("completed", "ends")).completed.result.body
            assert (await stream.update("released", "endless")).released.reason == pb.RELEASE_REASON_EXPIRED
            await stream.until("heartbeat", lambda s: not s.held_leases)
            assert worker.leftovers() == set()
