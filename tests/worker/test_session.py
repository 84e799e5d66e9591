"""A real worker process against a scripted scheduler: leases, deferrals, polls, resizes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from contentgen.v1 import worker_service_pb2 as pb
from tests.harness.creators import ARTICLE
from tests.harness.scripted_scheduler import Stream, held, lease, stages
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import FOR_EVER, lease_in, no_cli, running, worker_session
from worker_svc.session.tails import MAX_PIECE

pytestmark = pytest.mark.integration


# Leases and their ends.


async def test_a_task_runs_from_hello_to_acknowledged_result(tmp_path: Path) -> None:
    async with worker_session(tmp_path, CONTENTGEN_TOKEN="secret") as (_, worker, stream):
        hello = stream.received[0].hello
        assert stream.metadata["authorization"] == "Bearer secret"
        assert (hello.slots, hello.session_number) == (3, 1)
        assert hello.process_id
        assert (hello.creator_path, hello.creator_version) == (str(tmp_path / "quick-creator"), "quick creator 1")
        assert not hello.held_leases

        heartbeat = await stream.grant(lease("a"))
        assert (heartbeat.number, heartbeat.free_slots, heartbeat.last_assignment) == (1, 3, 0)
        assert (await stream.update("completed", "a")).completed.result.body == ARTICLE
        assert [u.lease_id for u in stream.updates("accepted")] == ["a"]
        assert [u.lease_id for u in stream.updates("processing")] == ["a"]

        heartbeat = await stream.idle()
        assert (heartbeat.free_slots, heartbeat.last_assignment) == (3, 1)
        assert worker.leftovers() == set()
        worker.term()
        assert await worker.exited() == 0


async def test_a_queue_ahead_of_the_slots_is_stated_and_run_in_order(tmp_path: Path) -> None:
    settings = {"CONTENTGEN_SLOTS": "1", "CONTENTGEN_QUEUE_SIZE": "2"}
    go = tmp_path / "go"
    async with worker_session(tmp_path, **settings) as (_, _, stream):
        heartbeat = await stream.grant(*(lease(name, until=str(go)) for name in "abc"))
        assert heartbeat.free_slots == 3
        heartbeat = await stream.until("heartbeat", lambda s: len(s.held_leases) == 3)
        first, *others = stages(heartbeat).values()
        assert first in (pb.LEASE_STAGE_ACCEPTED, pb.LEASE_STAGE_PROCESSING)
        assert others == [pb.LEASE_STAGE_QUEUED, pb.LEASE_STAGE_QUEUED]
        assert (heartbeat.free_slots, heartbeat.last_assignment) == (0, 1)
        go.touch()
        await stream.update("completed", "c")
        assert [u.lease_id for u in stream.updates("completed")] == ["a", "b", "c"]
        assert (await stream.idle()).free_slots == 3


async def test_a_finished_lease_is_held_until_acknowledged_and_takes_no_slot(tmp_path: Path) -> None:
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="1") as (_, worker, stream):
        stream.answer_all(reports=False)
        await stream.grant(lease("a"))
        report = await stream.until("report", lambda r: r.updates[-1].HasField("completed"))
        heartbeat = await stream.until("heartbeat", lambda s: s.free_slots == 1 and s.held_leases)
        assert stages(heartbeat) == {"a": pb.LEASE_STAGE_FINISHED}
        assert worker.leftovers() == {"spool/1.batch"}
        for number in range(1, report.number):
            stream.ack_report(next(m.report for m in stream.received if m.report.number == number))
        stream.ack_report(report, pb.UPDATE_OUTCOME_LEASE_LOST)
        await stream.idle()
        assert worker.leftovers() == set()
        [event] = worker.events("lease.answered")
        assert (event["outcome"], event["worker_id"]) == ("lease_lost", stream.received[0].hello.worker_id)
        assert lease_in(event) == ("task-a", "a", 1)


async def test_a_large_result_is_sent_alone_after_a_heartbeat(tmp_path: Path) -> None:
    async with worker_session(tmp_path, heartbeat=60.0) as (_, _, stream):
        await stream.grant(lease("a", characters="1500000"))
        report = await stream.until("report", lambda r: r.updates[-1].HasField("completed"))
        assert len(report.updates) == 1
        assert len(report.updates[0].completed.result.body) == 1_500_000 + len(ARTICLE)
        at = next(i for i, m in enumerate(stream.received) if m.HasField("report") and m.report.number == report.number)
        assert stream.received[at - 1].WhichOneof("message") == "heartbeat"


async def test_a_large_result_is_sent_in_parts_with_heartbeats_and_results_in_between(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with worker_session(tmp_path, accepts_report_parts=True) as (_, _, stream):
        small = lease("small", until=str(go))
        await stream.grant(lease("large", characters="1500000"), small, wanted=lambda s: s.free_slots > 1)
        part = await stream.until("report_part")
        assert not part.last
        for _ in range(3):  # the part is not answered yet
            heartbeat = await stream.until("heartbeat", lambda s: s.last_assignment == 1)
            assert (heartbeat.free_slots, "large" in held(heartbeat)) == (0, True)
        go.touch()
        await stream.update("completed", "small")
        assert [message.HasField("report_part") for message in stream.received].count(True) == 1
        data, sizes = part.data, [len(part.data)]
        while not part.last:
            stream.ack_part(part)
            part = await stream.until("report_part")
            data += part.data
            sizes.append(len(part.data))
        report = pb.Report.FromString(data)
        assert [update.lease_id for update in report.updates] == ["large"]
        assert report.updates[0].completed.result.body == ARTICLE + 1_500_000 * "a"
        assert report.number == part.report_number
        assert sizes[:-1] == sorted(sizes[:-1])
        assert sizes[-2] > 8 * sizes[0], "they grow where the link is quick"
        stream.ack_report(report)
        assert (await stream.idle()).free_slots > 0


async def test_a_lost_lease_is_stopped_and_reported(tmp_path: Path) -> None:
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="4") as (_, worker, stream):
        stream.answer_all(reports=False)
        names = ("cancelled", "unrenewed", "lost", "kept")
        await running(stream, worker, *(lease(name, seconds=FOR_EVER) for name in names))
        stream.send(cancel=pb.Cancel(lease_id="cancelled", reason="CANCELLED_BY_CLIENT"))
        heartbeat = await stream.until("heartbeat", lambda s: len(s.held_leases) == 4)
        stream.ack_heartbeat(heartbeat.number, not_renewed=["unrenewed"])
        reports = (message.report for message in stream.received)
        report = next(report for report in reports if any(update.lease_id == "lost" for update in report.updates))
        lost = pb.UpdateResult(lease_id="lost", attempt=1, outcome=pb.UPDATE_OUTCOME_LEASE_LOST)
        answers = [lost if update.lease_id == "lost" else pb.UpdateResult() for update in report.updates]
        stream.send(acknowledgement=pb.Acknowledgement(report_number=report.number, results=answers))
        for name in names[:3]:
            assert (await stream.update("released", name)).released.started
        await wait_until_async(lambda: len(worker.clis()) == 1, within=8, what="the other one runs on")
        assert {lease_in(event) for event in worker.events("lease.revoked")} == {
            (f"task-{name}", name, 1) for name in names[:3]
        }
        assert len(stream.updates("released")) == 3
        heartbeat = await stream.until("heartbeat", lambda s: s.free_slots == 3)
        assert "kept" in held(heartbeat)


async def test_a_lease_lost_at_its_start_frees_its_slot(tmp_path: Path) -> None:
    """One acknowledgement frees a slot for a waiting lease and reports that lease as lost: it never runs."""
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="1") as (_, worker, stream):
        stream.answer_all(heartbeats=True, reports=False)
        await running(stream, worker, lease("a", seconds=FOR_EVER))
        stream.send(cancel=pb.Cancel(lease_id="a"))
        stream.ack_report(await stream.until("report", lambda report: report.updates[-1].HasField("released")))
        heartbeat = await stream.idle()
        stream.assign(2, heartbeat.number, lease("b", seconds=FOR_EVER), lease("a", attempt=2))
        await stream.update("processing", "b")
        lost = pb.UpdateResult(lease_id="a", attempt=1, outcome=pb.UPDATE_OUTCOME_LEASE_LOST)
        stream.send(
            acknowledgement=pb.Acknowledgement(
                heartbeat_number=heartbeat.number,
                desired_state=pb.DesiredState(slots=2),
                report_number=1,
                results=[lost],
            )
        )
        stream.answer_all()
        await stream.until("heartbeat", lambda beat: beat.free_slots == 1 and len(beat.held_leases) == 1)
        released = stream.updates("released")[-1]
        assert (released.lease_id, released.attempt, released.released.started) == ("a", 2, False)


@pytest.mark.parametrize("profile", ["json", "reference"])
async def test_a_run_without_acknowledgements_ends_at_its_deadline_and_is_released(
    tmp_path: Path, profile: str
) -> None:
    settings = {"CREATOR_PROFILE": profile, "CREATOR_POLL_INTERVAL": "600"}  # it ends between two polls, too
    async with worker_session(tmp_path, lease_ttl=5.0, **settings) as (_, worker, stream):
        stream.answer_all(heartbeats=False)
        heartbeat = await stream.until("heartbeat")
        built_at = time.monotonic()
        stream.assign(1, heartbeat.number, lease("a", seconds=FOR_EVER))
        released = await stream.update("released", "a")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_EXPIRED, started=True)
        assert time.monotonic() - built_at < 5.0, "the lease can expire at the scheduler from then on"
        assert not worker.clis()
        stream.answer_all()
        await stream.grant(lease("b", status="3"), wanted=lambda s: not s.held_leases)
        await stream.update("failed", "b")


async def test_acknowledged_heartbeats_let_a_run_outlast_the_lease_time(tmp_path: Path) -> None:
    async with worker_session(tmp_path, lease_ttl=2.0, heartbeat=0.3) as (_, _, stream):
        await stream.grant(lease("a", seconds="4"))
        await stream.update("completed", "a")
        assert stream.updates("released") == []


async def test_the_task_s_timeout_bounds_its_run_and_its_wait(tmp_path: Path) -> None:
    settings = {"CONTENTGEN_SLOTS": "1", "CONTENTGEN_QUEUE_SIZE": "1"}
    async with worker_session(tmp_path, **settings) as (_, worker, stream):
        await stream.grant(lease("runs", timeout=2.0, seconds=FOR_EVER), lease("waits", timeout=0.5))
        released = await stream.update("released", "waits")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_QUEUED_TOO_LONG, started=False)
        error = (await stream.update("failed", "runs")).failed.error
        assert (error.reason, error.message) == ("TASK_TIMEOUT", "the run took longer than 2 s")
        await no_cli(worker)


async def test_a_cli_that_fails_is_the_task_s_error(tmp_path: Path) -> None:
    async with worker_session(tmp_path) as (_, worker, stream):
        await stream.grant(lease("a", status="3"), lease("b", leaves="1", seconds="0.1"))
        error = (await stream.update("failed", "a")).failed.error
        assert (error.reason, error.details["exit_code"]) == ("CREATOR_ERROR", "3")
        await stream.idle()
        assert [u.lease_id for u in stream.updates("completed")] == ["b"]
        assert not worker.clis(), "what the CLI left behind ended with its run"
        assert worker.leftovers() == set()


async def test_a_failing_disk_loses_no_result_and_takes_no_task(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with worker_session(tmp_path) as (_, worker, stream):
        await running(stream, worker, lease("a", until=str(go)))
        folder = tmp_path / "workers/1"
        for name in ("spool", "started"):
            (folder / name).rename(folder / f"{name}.away")
        go.touch()
        assert (await stream.update("completed", "a")).completed.result.body
        assert lease_in(worker.events("spool.refused")[0]) == ("task-a", "a", 1)
        heartbeat = await stream.grant(lease("b"), wanted=lambda s: not s.held_leases)
        assert heartbeat.free_slots == 0
        assert heartbeat.last_error == "the data folder can't be written: No such file or directory"
        released = await stream.update("released", "b")
        assert released.released == pb.Released(reason=pb.RELEASE_REASON_REFUSED, started=False)

        for name in ("spool", "started"):
            (folder / f"{name}.away").rename(folder / name)
        await stream.grant(lease("b", attempt=2), wanted=lambda s: s.free_slots == 3)
        await stream.update("completed", "b")


# A CLI that defers.


async def test_a_deferral_is_reported_and_frees_the_slot(tmp_path: Path) -> None:
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="1") as (_, worker, stream):
        await stream.grant(lease("a", retry_after="2.5"))
        update = await stream.update("deferred", "a")
        assert (update.attempt, update.deferred.retry_after.ToMilliseconds()) == (1, 2_500)
        assert update.deferred.message == "over quota"
        assert (await stream.idle()).free_slots == 1
        assert worker.leftovers() == set()
        assert [lease_in(event) for event in worker.events("lease.deferred")] == [("task-a", "a", 1)]


async def test_a_scheduler_of_the_previous_version_gets_a_failure_and_the_next_one_the_deferral(
    tmp_path: Path,
) -> None:
    """It is in the spool, so another process of the worker sends it."""
    async with worker_session(tmp_path, accepts_deferrals=False) as (scheduler, worker, stream):
        stream.answer_all(reports=False)
        await stream.grant(lease("a", attempt=3, retry_after="2.5"))
        update = await stream.update("failed", "a")
        assert (update.attempt, update.failed.error.reason) == (3, "CREATOR_ERROR")
        assert update.failed.error.message.endswith(": over quota")
        assert not stream.updates("deferred")
        worker.kill()
        worker.launch()
        again, hello = await scheduler.session(keep_leases=["a"])
        assert stages(hello) == {"a": pb.LEASE_STAGE_FINISHED}
        assert not hello.lost_leases
        assert (await again.update("deferred", "a")).deferred.retry_after.ToMilliseconds() == 2_500
        await again.idle()
        assert worker.leftovers() == set()


# A worker that is polled, and resized.


async def poll(stream: Stream, poll_id: str) -> pb.Heartbeat:
    """Polls, and returns the first heartbeat that answers it."""
    stream.send(poll_now=pb.PollNow(poll_id=poll_id))
    heartbeat: pb.Heartbeat = await stream.until("heartbeat", lambda beat: beat.last_poll_id == poll_id)
    return heartbeat


_CREATOR = """\
#!/bin/sh
for option; do case "$option" in --task-id=*) id=${{option#*=}} ;; esac; done
case "$1" in
    status)
        echo "$id" >> {folder}/asked
        printf '{{"status": "%s", "progress": %d}}' "$(cat {folder}/status-$id || echo running)" 7 ;;
    result) echo '{{"content": "an article"}}' ;;
esac
"""
"""Says of each task that it is running, or what the file `status-…` of the task says."""


async def test_a_poll_is_answered_after_the_updates_of_its_clis(tmp_path: Path) -> None:
    creator = tmp_path / "creator"
    creator.write_text(_CREATOR.format(folder=tmp_path))
    creator.chmod(0o755)
    settings = {"CREATOR_CLI_PATH": str(creator), "CREATOR_PROFILE": "reference", "CREATOR_POLL_INTERVAL": FOR_EVER}
    async with worker_session(tmp_path, heartbeat=60.0, **settings) as (_, _, stream):
        await stream.grant(*map(lease, "abc"))
        for name in "abc":
            await stream.update("progress", name)
        for name, status in (("a", "completed"), ("b", "failed")):
            (tmp_path / f"status-task-{name}").write_text(status)

        assert "c" in held(await poll(stream, "17"))
        at = [message.heartbeat.last_poll_id for message in stream.received].index("17")
        before = (update for message in stream.received[:at] for update in message.report.updates)
        assert {update.lease_id: update.WhichOneof("update") for update in before} == {
            "a": "completed",
            "b": "failed",
            "c": "progress",
        }
        assert (tmp_path / "asked").read_text().splitlines().count("task-c") == 2


async def test_a_new_stream_answers_no_poll_of_the_last_one(tmp_path: Path) -> None:
    """A worker that holds nothing answers at once."""
    async with worker_session(tmp_path, heartbeat=60.0) as (scheduler, _, stream):
        await stream.until("heartbeat")
        await poll(stream, "1")
        stream.send(reconnect=pb.Reconnect())
        again, _ = await scheduler.session(heartbeat=60.0)
        heartbeat = await again.until("heartbeat")
        assert heartbeat.last_poll_id == ""
        await poll(again, "1")


async def test_another_number_of_slots_applies_at_once_and_running_clis_continue(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with worker_session(tmp_path, CONTENTGEN_SLOTS="3", heartbeat=60.0) as (_, worker, stream):
        heartbeat = await stream.grant(lease("a", until=str(go)), lease("b", until=str(go)))
        assert heartbeat.free_slots == 3
        for name in "ab":
            await stream.update("processing", name)
        stream.send(resize=pb.Resize(slots=1))
        heartbeat = await stream.until("heartbeat", lambda beat: beat.last_assignment == 1 and beat.free_slots == 0)
        assert len(heartbeat.held_leases) == 2
        go.touch()
        for name in "ab":
            await stream.update("completed", name)
        heartbeat = await stream.grant(
            lease("c", seconds=FOR_EVER), lease("d", seconds=FOR_EVER), wanted=lambda beat: beat.free_slots > 0
        )
        assert heartbeat.free_slots == 1

        await stream.update("processing", "c")
        heartbeat = await poll(stream, "1")
        assert stages(heartbeat)["d"] == pb.LEASE_STAGE_QUEUED
        assert len(worker.clis()) == 1

        stream.ack_heartbeat(heartbeat.number, desired=pb.DesiredState(slots=4))
        await stream.update("processing", "d")
        await stream.until("heartbeat", lambda beat: beat.free_slots == 2)


# What a CLI prints, for callers who read along.


async def outputs(stream: Stream, tail_id: str, *, ends: bool = False) -> list[pb.Output]:
    """Returns the tail's outputs up to one that is empty, or the last one. Each is acknowledged."""
    read: list[pb.Output] = []
    while not read or read[-1].size or (ends and not read[-1].ended):
        read.append(await stream.until("output", lambda output: output.tail_id == tail_id))
        stream.send(output_received=pb.OutputReceived())
    return read


async def test_a_tail_brings_what_a_cli_prints_until_its_run_is_over(tmp_path: Path) -> None:
    prints, go = tmp_path / "prints", tmp_path / "go"

    def print_out(data: bytes) -> None:
        (tmp_path / "ready").write_bytes(data)
        (tmp_path / "ready").rename(prints)

    async with worker_session(tmp_path) as (scheduler, worker, stream):
        await running(stream, worker, lease("a", until=str(go), prints=str(prints)))
        stream.send(tail=pb.Tail(tail_id="nothing", lease_id="b"))
        assert (await outputs(stream, "nothing", ends=True))[0].ended, "it holds no such lease"
        stream.send(tail=pb.Tail(tail_id="t", lease_id="a"))
        assert [(first.size, first.ended) for first in await outputs(stream, "t")] == [(0, False)]

        print_out("一半\n\x1b[31mred\x1b[0m".encode() + "半".encode()[:2])
        first = await stream.until("output")
        assert (first.text, first.stderr, first.offset, first.size) == ("一半\nred", True, 0, 19)
        print_out("半".encode()[2:] + b"!" * 30_000)
        await wait_until_async(lambda: not prints.exists(), within=8, what="it is printed")
        assert [message.HasField("output") for message in stream.received].count(True) == 3, "none while one is unread"
        stream.end()

        again, _ = await scheduler.session(keep_leases=["a"])
        again.send(tail=pb.Tail(tail_id="t", lease_id="a", stderr_offset=first.size))
        first = await again.until("output")  # the worker knows of the tail before the run is over
        go.touch()
        again.send(output_received=pb.OutputReceived())
        *read, last = [first, *await outputs(again, "t", ends=True)]
        on_stderr, on_stdout = ([output for output in read if output.stderr is stderr] for stderr in (True, False))
        assert last.ended
        assert "".join(output.text for output in on_stdout) == f'{{"content": "{ARTICLE}"}}\n'
        assert on_stderr[0].offset > 19, "more is left out than what is kept"
        assert on_stderr[-1].offset + on_stderr[-1].size == 19 + 3 + 30_000
        assert max(output.size for output in on_stderr) == MAX_PIECE
        await again.update("completed", "a")
