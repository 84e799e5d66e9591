"""A real worker process that is polled, and resized."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.scripted_scheduler import Stream, lease, scripted_scheduler
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import worker_process

FOR_EVER = "600"
REFERENCE = {"CREATOR_PROFILE": "reference", "CREATOR_POLL_INTERVAL": FOR_EVER}

# Answers `status` with the content of the file `status` of its task; hangs while there is a file `hang`.
_CREATOR = """\
#!/bin/sh
for option; do case "$option" in --task-id=*) id=${{option#*=}} ;; esac; done
echo "$1 $id" >> {folder}/calls
case "$1" in
    status)
        while [ -e {folder}/hang-$id ]; do sleep 0.02; done
        printf '{{"status": "%s", "progress": %d}}' "$(cat {folder}/status-$id || echo running)" 7 ;;
    result) echo '{{"content": "an article"}}' ;;
esac
"""


class Creator:
    """A CLI whose runs are controlled by the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / "creator"
        self.path.write_text(_CREATOR.format(folder=folder))
        self.path.chmod(0o755)

    def becomes(self, name: str, status: str) -> None:
        (self._folder / f"status-task-{name}").write_text(status)

    def hangs(self, name: str) -> None:
        (self._folder / f"hang-task-{name}").touch()

    def hangs_no_more(self, name: str) -> None:
        (self._folder / f"hang-task-{name}").unlink()

    def calls(self, command: str, name: str) -> int:
        return (self._folder / "calls").read_text().splitlines().count(f"{command} task-{name}")


@asynccontextmanager
async def running(folder: Path, *names: str) -> AsyncIterator[tuple[Creator, Stream]]:
    """A worker whose CLIs run and wait for their next status call."""
    creator = Creator(folder)
    async with scripted_scheduler() as scheduler:
        with worker_process(folder, scheduler.target, CREATOR_CLI_PATH=str(creator.path), **REFERENCE):
            stream, _ = await scheduler.session(heartbeat=60.0)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, *(lease(name) for name in names))
            for name in names:
                await stream.update("progress", name)
            yield creator, stream


def poll(stream: Stream, poll_id: str) -> None:
    stream.send(poll_now=pb.PollNow(poll_id=poll_id))


async def answer(stream: Stream, poll_id: str) -> pb.Heartbeat:
    """The first heartbeat that answers this poll."""
    heartbeat: pb.Heartbeat = await stream.until("heartbeat", lambda beat: beat.last_poll_id == poll_id)
    return heartbeat


def said_before(stream: Stream, kind: str, poll_id: str) -> list[str]:
    """The leases with an update of `kind` before the heartbeat that answers this poll."""
    at = next(
        i
        for i, request in enumerate(stream.received)
        if request.HasField("heartbeat") and request.heartbeat.last_poll_id == poll_id
    )
    reports = [request.report for request in stream.received[:at] if request.HasField("report")]
    return [update.lease_id for report in reports for update in report.updates if update.WhichOneof("update") == kind]


async def test_a_poll_is_answered_after_the_updates_of_its_clis(tmp_path: Path) -> None:
    async with running(tmp_path, "a", "b", "c") as (creator, stream):
        creator.becomes("a", "completed")
        creator.becomes("b", "failed")

        poll(stream, "17")
        heartbeat = await answer(stream, "17")
        assert said_before(stream, "completed", "17") == ["a"]
        assert said_before(stream, "failed", "17") == ["b"]
        assert {held.lease_id for held in heartbeat.held_leases} >= {"c"}
        assert creator.calls("status", "c") == 2


async def test_a_worker_that_holds_nothing_answers_at_once(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target):
            stream, _ = await scheduler.session(heartbeat=60.0)
            await stream.until("heartbeat")
            poll(stream, "1")
            await answer(stream, "1")


async def test_a_repeated_poll_runs_no_status_call_again(tmp_path: Path) -> None:
    async with running(tmp_path, "a") as (creator, stream):
        for poll_id in ("1", "1"):
            poll(stream, poll_id)
        await answer(stream, "1")
        poll(stream, "1")
        poll(stream, "2")
        await answer(stream, "2")
        assert creator.calls("status", "a") == 3


async def test_a_poll_during_a_status_call_makes_another_one(tmp_path: Path) -> None:
    async with running(tmp_path, "a") as (creator, stream):
        creator.hangs("a")
        poll(stream, "1")
        await wait_until_async(lambda: creator.calls("status", "a") == 2, within=5, what="the CLI is asked")
        poll(stream, "2")
        stream.send(resize=pb.Resize(slots=2))  # the heartbeat shows that this and the poll have arrived
        await stream.until("heartbeat", lambda beat: beat.free_slots == 1)
        creator.hangs_no_more("a")
        await answer(stream, "2")
        assert creator.calls("status", "a") == 3


async def test_a_cli_that_hangs_does_not_delay_the_updates_of_others(tmp_path: Path) -> None:
    async with running(tmp_path, "a", "b") as (creator, stream):
        creator.becomes("a", "completed")
        creator.hangs("b")
        poll(stream, "1")
        await answer(stream, "1")
        assert said_before(stream, "completed", "1") == ["a"]
        assert stream.updates("failed") == []


async def test_a_run_without_status_calls_delays_no_answer(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target):
            stream, _ = await scheduler.session(heartbeat=60.0)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, lease("a", demo_seconds=FOR_EVER))
            await stream.update("processing", "a")
            poll(stream, "1")
            heartbeat = await answer(stream, "1")
            assert [held.stage for held in heartbeat.held_leases] == [pb.LEASE_STAGE_PROCESSING]


async def test_a_new_stream_answers_no_poll_of_the_last_one(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target):
            stream, _ = await scheduler.session(heartbeat=60.0)
            await stream.until("heartbeat")
            poll(stream, "1")
            await answer(stream, "1")
            stream.send(reconnect=pb.Reconnect())
            stream, _ = await scheduler.session(heartbeat=60.0)
            heartbeat = await stream.until("heartbeat")
            assert heartbeat.last_poll_id == ""
            poll(stream, "1")
            await answer(stream, "1")


async def test_fewer_slots_apply_at_once_and_running_clis_continue(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        with worker_process(tmp_path, scheduler.target, CONTENTGEN_SLOTS="3") as worker:
            stream, _ = await scheduler.session(heartbeat=60.0)
            heartbeat = await stream.until("heartbeat")
            assert heartbeat.free_slots == 3
            stream.assign(1, heartbeat.number, lease("a", demo_seconds="1"), lease("b", demo_seconds="1"))
            for name in "ab":
                await stream.update("processing", name)
            stream.send(resize=pb.Resize(slots=1))
            heartbeat = await stream.until("heartbeat", lambda beat: beat.last_assignment == 1 and beat.free_slots == 0)
            assert len(heartbeat.held_leases) == 2
            for name in "ab":
                await stream.update("completed", name)
            heartbeat = await stream.until("heartbeat", lambda beat: beat.free_slots > 0)
            assert heartbeat.free_slots == 1

            stream.assign(2, heartbeat.number, lease("c", demo_seconds=FOR_EVER), lease("d"))
            await stream.update("processing", "c")
            poll(stream, "1")
            heartbeat = await answer(stream, "1")
            stages = {held.lease_id: held.stage for held in heartbeat.held_leases}
            assert stages["d"] == pb.LEASE_STAGE_QUEUED
            assert len(worker.clis()) == 1


async def test_more_slots_start_waiting_leases(tmp_path: Path) -> None:
    async with scripted_scheduler() as scheduler:
        settings = {"CONTENTGEN_SLOTS": "1", "CONTENTGEN_QUEUE_SIZE": "1"}
        with worker_process(tmp_path, scheduler.target, **settings):
            stream, _ = await scheduler.session(heartbeat=60.0)
            heartbeat = await stream.until("heartbeat")
            stream.assign(1, heartbeat.number, *(lease(name, demo_seconds=FOR_EVER) for name in "ab"))
            await stream.update("processing", "a")
            stream.ack_heartbeat(heartbeat.number, desired=pb.DesiredState(slots=3))
            await stream.update("processing", "b")
            await stream.until("heartbeat", lambda beat: beat.free_slots == 2)
