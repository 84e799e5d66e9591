"""A real worker process with changing streams, schedulers and processes of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.creators import ARTICLE
from tests.harness.guarded import living
from tests.harness.process import Process
from tests.harness.processes import children
from tests.harness.scripted_scheduler import ScriptedScheduler, held, lease, scripted_scheduler, stages
from tests.harness.waiting import PATIENCE_S, wait_until_async
from tests.harness.worker_process import FOR_EVER, WorkerProcess, no_cli, running, worker_session
from worker_svc.folder import take_folder

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("how", ["end", "reconnect"])
async def test_a_new_stream_resumes_all_leases(tmp_path: Path, how: str) -> None:
    go = tmp_path / "go"
    async with worker_session(tmp_path) as (scheduler, worker, stream):
        first = stream.received[0].hello
        stream.answer_all(reports=False)
        clis = await running(stream, worker, lease("a", until=str(go)))
        stream.end() if how == "end" else stream.send(reconnect=pb.Reconnect())
        again, hello = await scheduler.session(keep_leases=["a"])
        assert hello.session_number == first.session_number + 1
        for field in ("worker_id", "folder_id", "process_id"):
            assert getattr(hello, field) == getattr(first, field)
        assert held(hello) == ["a"]
        assert not hello.lost_leases, "it runs"
        report = await again.until("report")
        kinds = [update.WhichOneof("update") for update in report.updates]
        assert kinds[:2] == ["accepted", "processing"], "sent again, in order"
        heartbeat = await again.until("heartbeat")
        assert (heartbeat.number, heartbeat.free_slots, heartbeat.last_assignment) == (1, 2, 0)
        assert worker.clis()[0].pid == clis[0], "the CLI is the same process"
        go.touch()
        await again.update("completed", "a")


async def test_an_implausible_heartbeat_interval_and_number_of_slots_are_ignored(tmp_path: Path) -> None:
    """The worker would repeat the slots in each hello, and a scheduler refuses one with more than 1,000."""
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="2") as (scheduler, worker, stream):
        latest = stream
        for interval, slots in ((-300e9, -1), (300e9, 0), (0.2, 1_001), (0.2, 2**31 - 1), (0.2, 2)):
            latest.end()
            wanted = pb.DesiredState(slots=slots)
            latest, hello = await scheduler.session(heartbeat=interval, lease_ttl=300e9, desired_state=wanted)
            assert hello.slots == 2
            latest.send(resize=pb.Resize(slots=slots))
            await latest.until("heartbeat")
        assert all(0 < opened["heartbeat_interval"] <= 60 for opened in worker.events("session.opened"))
        assert not worker.events("stream.fault")


async def test_a_dropped_lease_is_stopped_and_its_spooled_result_is_sent(tmp_path: Path) -> None:
    async with worker_session(tmp_path) as (scheduler, worker, stream):
        stream.answer_all(reports=False)
        await stream.grant(lease("done"), lease("runs", seconds=FOR_EVER))
        await stream.update("completed", "done")
        stream.end()
        again, hello = await scheduler.session(drop_leases=["done", "runs"])
        assert set(held(hello)) == {"done", "runs"}
        await again.update("completed", "done")
        assert (await again.update("released", "runs")).released.started
        await no_cli(worker)


@asynccontextmanager
async def outage(folder: Path, go: Path) -> AsyncIterator[tuple[ScriptedScheduler, WorkerProcess]]:
    """A worker dials its scheduler in vain, while a CLI runs until there is a file `go`."""
    async with worker_session(folder) as (scheduler, worker, stream):
        await running(stream, worker, lease("a", until=str(go)))
        await scheduler.stop()
        await wait_until_async(lambda: worker.events("session.unavailable"), within=8, what="it dials in vain")
        yield scheduler, worker


async def test_an_outage_of_the_scheduler_stops_no_run(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with outage(tmp_path, go) as (scheduler, worker):
        go.touch()
        await wait_until_async(lambda: worker.leftovers() == {"spool/1.batch"}, within=8, what="it is spooled")
        async with scripted_scheduler(int(scheduler.target.rpartition(":")[2])) as back:
            again, hello = await back.session(keep_leases=["a"])
            assert stages(hello) == {"a": pb.LEASE_STAGE_FINISHED}
            await again.update("completed", "a")


async def test_term_in_an_outage_leaves_the_result_to_the_next_start(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with outage(tmp_path, go) as (_, worker):
        worker.term()
        go.touch()
        assert await worker.exited() == 0
        [left] = worker.events("spool.left")
        assert (left["results"], left["tasks"]) == (1, ["task-a"])
        assert worker.leftovers() == {"spool/1.batch"}
        async with scripted_scheduler() as later:
            worker.launch(CONTENTGEN_SCHEDULER=later.target)
            again, _ = await later.session(keep_leases=["a"])
            await again.update("completed", "a")


async def test_several_addresses_are_dialled_in_turn(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with scripted_scheduler() as one, scripted_scheduler() as two:
        with WorkerProcess(tmp_path, f"{one.target},{two.target}") as worker:
            stream, _ = await one.session()
            await running(stream, worker, lease("a", until=str(go)))
            stream.send(reconnect=pb.Reconnect())
            again, hello = await two.session(keep_leases=["a"])
            assert held(hello) == ["a"]
            go.touch()
            await again.update("completed", "a")


async def test_a_spooled_result_outlives_the_worker(tmp_path: Path) -> None:
    async with worker_session(tmp_path) as (scheduler, worker, stream):
        first = stream.received[0].hello
        stream.answer_all(reports=False)
        await stream.grant(lease("a", attempt=4))
        await stream.update("completed", "a")
        worker.kill()
        worker.launch()
        again, hello = await scheduler.session(keep_leases=["a"])
        assert (hello.worker_id, hello.folder_id) == (first.worker_id, first.folder_id)
        assert hello.session_number == first.session_number + 1
        assert hello.process_id != first.process_id
        [finished] = hello.held_leases
        assert (finished.lease_id, finished.attempt, finished.stage) == ("a", 4, pb.LEASE_STAGE_FINISHED)
        assert not hello.lost_leases
        [event] = worker.events("spool.recovered")
        assert (event["lease_id"], event["attempt"]) == ("a", 4)
        assert "task_id" not in event, "the spool does not know it"
        update = await again.update("completed", "a")
        assert (update.attempt, update.completed.result.body) == (4, ARTICLE)
        assert (await again.idle()).free_slots == 3
        assert worker.leftovers() == set()


@pytest.mark.parametrize("guard_too", [False, True], ids=["the worker", "the worker and its guard"])
async def test_leases_that_ran_in_a_killed_worker_are_named_as_lost_until_that_is_answered(
    tmp_path: Path, guard_too: bool
) -> None:
    """No process of theirs is left by then, deaf to TERM or not: the guard ends them, or else the next guard does."""
    async with worker_session(tmp_path, lease_ttl=6.0) as (scheduler, worker, stream):
        await running(stream, worker, lease("a", seconds=FOR_EVER, deaf="1", leaves="1"))
        await wait_until_async(lambda: len(worker.clis()) == 3, within=8, what="the CLI has left two processes")
        clis = [cli.pid for cli in worker.clis()]
        if guard_too:
            [guard] = children(worker.pid)
            worker.freeze()  # else it would kill what the guard leaves
            guard.kill()
        Process.kill(worker)  # and does not wait for the guard
        with closing(take_folder(tmp_path, None, "host")):  # once its locks are free
            assert bool(living(clis)) is guard_too, "the kernel ends the CLI alone"
        worker.launch()
        for skipped, named in ((["a"], ["a"]), ((), ["a"]), ((), [])):  # it is locked at first
            again, hello = await scheduler.session(skipped_leases=skipped)
            assert (list(hello.lost_leases), held(hello)) == (named, [])
            assert not living(clis)
            again.end()


async def test_term_releases_waiting_leases_and_finishes_runs(tmp_path: Path) -> None:
    settings = {"CONTENTGEN_SLOTS": "1", "CONTENTGEN_QUEUE_SIZE": "1"}
    go = tmp_path / "go"
    async with worker_session(tmp_path, **settings) as (_, worker, stream):
        await stream.grant(lease("runs", until=str(go)), lease("waits"))
        await stream.update("processing", "runs")
        worker.term()
        await stream.until("draining")
        released = await stream.update("released", "waits")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_DRAINING, started=False)
        heartbeat = await stream.grant(lease("late"), wanted=lambda s: len(s.held_leases) == 1)
        assert heartbeat.free_slots == 0
        assert not (await stream.update("released", "late")).released.started
        go.touch()
        await stream.update("completed", "runs")
        assert await worker.exited() == 0
        assert worker.leftovers() == set()


async def test_an_idle_worker_that_stops_leaves_no_lease_behind(tmp_path: Path) -> None:
    """A lease that was claimed before the drain reached the scheduler still reaches the worker."""
    async with worker_session(tmp_path) as (_, worker, stream):
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
    async with worker_session(tmp_path) as (_, worker, stream):
        await running(stream, worker, lease("a", seconds=FOR_EVER), lease("b", seconds=FOR_EVER, deaf="1"))
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
    async with worker_session(tmp_path, CONTENTGEN_DRAIN_TIMEOUT="500ms") as (_, worker, stream):
        await running(stream, worker, lease("a", seconds=FOR_EVER))
        worker.signal(signal.SIGINT)
        assert (await stream.update("released", "a")).released.started
        assert await worker.exited() == 0


async def test_a_worker_drains_as_long_as_the_scheduler_wants_it_and_a_stop_is_final(tmp_path: Path) -> None:
    drain, serve = pb.DesiredState(drain=True), pb.DesiredState()
    async with worker_session(tmp_path, desired_state=drain) as (_, worker, stream):
        for how in ("welcome", "acknowledgement", "message"):
            stream.desired_state = drain
            if how == "message":
                stream.send(drain=pb.Drain())
            for _ in range(3):
                await stream.until("heartbeat", lambda s: s.free_slots == 0)
            stream.desired_state = serve
            await stream.until("heartbeat", lambda s: s.free_slots > 0)
        await running(stream, worker, lease("a", seconds=FOR_EVER))
        assert not any(message.HasField("draining") for message in stream.received), "it was not to be stopped"
        worker.term()
        await stream.until("draining")
        await stream.until("heartbeat", lambda s: s.free_slots == 0)
        worker.term()
        await stream.update("released", "a")
        assert await worker.exited() == 0


async def test_a_drained_worker_ends_on_term(tmp_path: Path) -> None:
    async with worker_session(tmp_path, desired_state=pb.DesiredState(drain=True)) as (_, worker, stream):
        stream.desired_state = pb.DesiredState(drain=True)
        await stream.until("heartbeat", lambda s: s.free_slots == 0)
        worker.term()
        assert await worker.exited() == 0


def refusing(code: grpc.StatusCode, info: Packed) -> Any:
    async def refuse(context: grpc.aio.ServicerContext[Any, Any]) -> None:
        status = status_pb2.Status(code=code.value[0], message="no", details=[info])
        await context.abort_with_status(rpc_status.to_status(status))

    return refuse


async def test_a_worker_id_in_use_is_logged_and_the_hello_repeated(tmp_path: Path) -> None:
    info = error_details_pb2.ErrorInfo(reason="WORKER_ID_IN_USE", domain="contentgen", metadata={"hostname": "other"})
    packed = Packed()
    packed.Pack(info)
    async with scripted_scheduler() as scheduler:
        scheduler.refuse = refusing(grpc.StatusCode.ALREADY_EXISTS, packed)
        with WorkerProcess(tmp_path, scheduler.target, CONTENTGEN_WORKER_ID="blue") as worker:
            events = await wait_until_async(
                lambda: worker.events("session.worker_id_in_use")[1:], within=10, what="it was refused twice"
            )
            assert (events[0]["hostname"], events[0]["worker_id"]) == ("other", "blue")
            unreadable = Packed(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff\xff")
            scheduler.refuse = refusing(grpc.StatusCode.ABORTED, unreadable)
            await wait_until_async(lambda: worker.events("session.ended"), within=10, what="it was refused again")
            scheduler.refuse = None
            _, hello = await scheduler.session()
            assert hello.worker_id == "blue"


async def test_a_second_worker_of_the_same_id_does_not_start(tmp_path: Path) -> None:
    async with worker_session(tmp_path, CONTENTGEN_WORKER_ID="blue") as (scheduler, worker, _):
        with WorkerProcess(tmp_path, scheduler.target, CONTENTGEN_WORKER_ID="blue") as second:
            assert await second.exited() == 78
            assert f"process {worker.pid} holds" in second.text()
        with WorkerProcess(tmp_path, scheduler.target) as other:
            _, hello = await scheduler.session()
            assert hello.worker_id != "blue"
            other.term()
            assert await other.exited() == 0


async def test_a_cli_that_cannot_be_run_keeps_the_worker_from_starting(tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, "127.0.0.1:1", CREATOR_CLI_PATH="no-such-creator") as worker:
        assert await worker.exited() == 78
        [event] = worker.events("creator.unusable")
        assert "no-such-creator" in event["event"]
        assert "CREATOR_CLI_PATH" in event["event"]


async def test_a_worker_without_its_guard_ends_at_once(tmp_path: Path) -> None:
    async with worker_session(tmp_path) as (_, worker, stream):
        clis = await running(stream, worker, lease("a", seconds=FOR_EVER))
        [guard] = psutil.Process(worker.pid).children()
        guard.kill()
        assert await worker.exited(5) == 1
        assert worker.events("guard.lost")
        await wait_until_async(lambda: not living(clis), within=PATIENCE_S, what="the kernel has ended the CLIs")


async def test_a_frozen_worker_reports_the_result_of_a_cli_that_had_ended_before_its_deadline(tmp_path: Path) -> None:
    """A run that had not is ended by the guard meanwhile; then the worker serves again."""
    go = tmp_path / "go"
    async with worker_session(tmp_path, lease_ttl=5.0) as (_, worker, stream):
        clis = await running(stream, worker, lease("ends", until=str(go)), lease("endless", seconds=FOR_EVER))
        worker.freeze()
        go.touch()
        try:  # both have the same deadline
            await wait_until_async(lambda: not living(clis), within=8, what="one has ended, the other was ended")
            # It receives that when it resumes, before or after the guard reports the end.
            stream.send(cancel=pb.Cancel(lease_id="ends", reason="LEASE_LOST"))
        finally:
            worker.thaw()
        assert (await stream.update("completed", "ends")).completed.result.body == ARTICLE
        released = await stream.update("released", "endless")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=True)
        await stream.idle()
        assert worker.leftovers() == set()
        await stream.grant(lease("b"))
        await stream.update("completed", "b")
