"""Both clients' watches: streams that break, and streams that are quiet."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen import (
    AsyncContentGenerationClient,
    ContentGenerationClient,
    InvalidArgument,
    RequestError,
    ResourceExhausted,
    ResourceNotFoundException,
    ResumeTokenExpiredException,
    TaskChange,
    Unavailable,
    Watch,
)
from contentgen.client import connection
from contentgen.client.watch import STREAM_TIMEOUT
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.harness.client import opened
from tests.harness.http2 import ACK, PING, PREFACE, SETTINGS, Connection, frame
from tests.harness.scripted_server import AWAY, SILENCE, THREAD_NAME, Refused, ScriptedServices, Until
from tests.harness.waiting import wait_until, wait_until_gone

pytestmark = pytest.mark.contract


# Both clients' watches, against a server whose streams break by script.


A, B = "task-000000000000000a", "task-000000000000000b"
EXAMPLE = Path(__file__).parents[2] / "examples" / "python" / "watch.py"
Status = task_pb2.TaskStatus
DELAYED = Refused(grpc.StatusCode.UNAVAILABLE, "changes wait for session 7", "CHANGES_DELAYED", {"pid": "7"})


def event(token: str, status: Status.ValueType, task_id: str = A, *, ended: bool = False) -> pb.WatchTasksResponse:
    task = task_pb2.Task(task_id=task_id, status=status, end_time=Timestamp(seconds=9) if ended else None)
    return pb.WatchTasksResponse(event=pb.TaskChange(task=task, resume_token=token, event_time=Timestamp(seconds=5)))


def pending(token: str, task_id: str = A) -> pb.WatchTasksResponse:
    return event(token, Status.TASK_STATUS_PENDING, task_id)


def completed(token: str, task_id: str = A) -> pb.WatchTasksResponse:
    return event(token, Status.TASK_STATUS_COMPLETED, task_id, ended=True)


def tokens(scheduler: ScriptedServices) -> list[str]:
    """The request of each stream."""
    return [request.resume_token for request in scheduler.requests("WatchTasks")]


def test_an_event_is_a_dict(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    failed = event("t1", Status.TASK_STATUS_FAILED)
    failed.event.previous_status = Status.TASK_STATUS_PROCESSING
    failed.event.will_retry = True
    scheduler.will("WatchTasks", [failed, pending("t2"), SILENCE])
    with client.watch([A]) as events:
        first, second = next(events), next(events)
        assert events.resume_token == "t2"
    assert (first["task"]["task_id"], first["task"]["status"]) == (A, "failed")
    assert first == {
        "task": first["task"],
        "previous_status": "processing",
        "event_time": "1970-01-01T00:00:05+00:00",
        "will_retry": True,
        "resume_token": "t1",
    }
    assert second["previous_status"] is None
    [call] = scheduler.calls("WatchTasks")
    assert call.metadata["authorization"] == "Bearer secret"
    assert abs(call.limit - STREAM_TIMEOUT) < 60  # gRPC rounds what it sends
    assert (list(call.request.task_ids), call.request.account_id) == ([A], 0)


def test_a_watch_resumes_after_the_last_event_during_an_outage(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [AWAY], [AWAY], [pending("t1"), pending("t2"), AWAY], [AWAY])
    scheduler.will("WatchTasks", [pending("t3"), AWAY], [pending("t4"), SILENCE])
    with client.watch(account_id=7) as events:
        assert [next(events)["resume_token"] for _ in range(4)] == ["t1", "t2", "t3", "t4"]
    assert tokens(scheduler) == ["", "", "", "t2", "t2", "t3"]
    assert {request.account_id for request in scheduler.requests("WatchTasks")} == {7}


@pytest.mark.parametrize(
    ("end", "token"),
    [
        ([Refused(grpc.StatusCode.DEADLINE_EXCEEDED)], "t1"),
        ([Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "ask another replica", "TOO_MANY_WATCHERS")], "t1"),
        ([Refused(grpc.StatusCode.INTERNAL, "RST_STREAM")], "t1"),
        ([Refused(grpc.StatusCode.UNKNOWN, "Stream removed")], "t1"),
        ([Refused(grpc.StatusCode.CANCELLED, "CANCELLED")], "t1"),
        ([], "t1"),
        (
            [Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "unread", "WATCHER_TOO_SLOW", {"resume_token": "named"})],
            "named",
        ),
        ([Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "unread", "WATCH_OVERRUN", {"resume_token": "named"})], "named"),
    ],
    ids=["deadline", "many", "reset by a proxy", "removed", "cancelled by the server", "no status", "slow", "overrun"],
)
def test_a_watch_reconnects_if_its_stream_ends(
    scheduler: ScriptedServices, client: ContentGenerationClient, end: list[Refused], token: str
) -> None:
    """After its last event, or with the token that the error names."""
    scheduler.will("WatchTasks", [pending("t1"), *end], [pending("t2"), SILENCE])
    with client.watch([A]) as events:
        assert [next(events)["resume_token"] for _ in range(2)] == ["t1", "t2"]
    assert tokens(scheduler) == ["", token]


def test_a_watch_whose_changes_are_delayed_goes_on_beyond_the_client_s_timeout(
    kind: str, scheduler: ScriptedServices
) -> None:
    scheduler.will("WatchTasks", [DELAYED], [DELAYED], [pending("t1"), SILENCE])
    with opened(kind, scheduler.target, timeout=0) as client, client.watch([A]) as events:
        assert next(events)["resume_token"] == "t1"


def test_a_watch_starts_at_its_resume_token(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("WatchTasks", [AWAY], [pending("t8"), SILENCE])
    with client.watch([A], resume_token="t7") as events:
        assert events.resume_token == "t7"
        next(events)
    assert tokens(scheduler) == ["t7", "t7"]


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (Refused(grpc.StatusCode.OUT_OF_RANGE, "too old", "RESUME_TOKEN_EXPIRED"), ResumeTokenExpiredException),
        (Refused(grpc.StatusCode.NOT_FOUND, "no task", "RESOURCE_NOT_FOUND"), ResourceNotFoundException),
        (Refused(grpc.StatusCode.INVALID_ARGUMENT, "no token", "INVALID_ARGUMENT"), InvalidArgument),
        (Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "a proxy's limit"), ResourceExhausted),
        (Refused(grpc.StatusCode.INTERNAL, "a defect", "INTERNAL"), RequestError),
    ],
)
def test_a_permanent_error_is_raised_and_ends_the_watch(
    scheduler: ScriptedServices, client: ContentGenerationClient, refused: Refused, kind: type[Exception]
) -> None:
    scheduler.will("WatchTasks", [pending("t1"), refused])
    events = client.watch([A], resume_token="t0")
    next(events)
    with pytest.raises(kind, match=refused.message):
        next(events)
    assert list(events) == []
    assert tokens(scheduler) == ["t0"]


def test_entering_a_watch_waits_until_a_scheduler_accepts_it(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [AWAY], [], [AWAY], [SILENCE])
    with client.watch(account_id=7):
        assert len(scheduler.calls("WatchTasks")) == 4
        assert scheduler.open_calls == 1


def test_entering_a_watch_raises_its_error(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("WatchTasks", [Refused(grpc.StatusCode.NOT_FOUND, "no task", "RESOURCE_NOT_FOUND")])
    with pytest.raises(ResourceNotFoundException), client.watch([A]):
        pytest.fail("it was let in")


def test_closing_the_client_ends_the_entering_of_a_watch(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", *[[AWAY]] * 1_000)
    events = client.watch([A], patience=None)
    with ThreadPoolExecutor(1) as executor:
        entered = executor.submit(events.__enter__)
        wait_until(lambda: scheduler.calls("WatchTasks"), within=5, what="it tries to connect")
        client.close()
        assert list(entered.result(5)) == []


def test_a_watch_gives_up_after_its_patience(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("WatchTasks", [pending("t1"), AWAY])
    events = client.watch([A], patience=0)
    next(events)
    with pytest.raises(Unavailable, match="the scheduler is away"):
        next(events)
    assert list(events) == []


def test_a_watch_that_was_taken_outlasts_an_outage_before_its_first_event(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    outage = threading.Event()
    scheduler.will("WatchTasks", [Until(outage), AWAY], [AWAY], [pending("t1"), SILENCE])
    with client.watch([A], first_patience=0) as events:
        outage.set()
        assert next(events)["resume_token"] == "t1"


@pytest.mark.parametrize(("timeout", "patience"), [(0.3, None), (60.0, 0.3)])
def test_a_target_without_a_scheduler_is_reported_after_the_client_s_timeout_or_the_first_patience(
    kind: str, timeout: float, patience: float | None
) -> None:
    with opened(kind, "127.0.0.1:1", timeout=timeout) as client, pytest.raises(Unavailable) as raised:
        next(client.watch([A], first_patience=patience))
    assert raised.value.reason == ""


def test_a_stream_that_ends_repeatedly_raises_unavailable(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [])
    with pytest.raises(Unavailable, match="again and again"):
        next(client.watch([A], patience=0))


def test_until_ended_ends_with_the_last_task(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("WatchTasks", [pending("t1", A), completed("t2", B), AWAY], [completed("t3", A), SILENCE])
    events = list(client.watch([A, B], until_ended=True))
    assert [change["resume_token"] for change in events] == ["t1", "t2", "t3"]


def test_until_ended_waits_for_a_task_that_was_retried_after_its_end(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [pending("t1", B), completed("t2", A), pending("t3", A), completed("t4", B), AWAY])
    scheduler.will("WatchTasks", [completed("t5", A), SILENCE])
    assert [change["resume_token"] for change in client.watch([A, B], until_ended=True)][-1] == "t5"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"task_ids": []}, "at least one id"),
        ({"task_ids": [A], "account_id": 1}, "not both"),
        ({"task_ids": A}, "a list of ids"),
        ({"account_id": 1, "until_ended": True}, "until_ended goes with"),
        ({"until_ended": True}, "until_ended goes with"),
        ({"task_ids": [A], "resume_token": "t", "until_ended": True}, "until_ended goes with"),
        ({"task_ids": [A], "skip_present": True, "until_ended": True}, "until_ended goes with"),
    ],
)
def test_bad_watches_are_refused_at_once(client: ContentGenerationClient, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        client.watch(**arguments)


def ended_by(close: Callable[[], None], events: Watch[TaskChange], scheduler: ScriptedServices) -> list[TaskChange]:
    """The events that a thread still gets if `close` is called while it waits for one."""
    with ThreadPoolExecutor(1) as executor:
        rest = executor.submit(lambda: list(events))
        wait_until(lambda: scheduler.calls("WatchTasks"), within=5, what="the stream is open")
        close()
        return rest.result(5)


@pytest.mark.parametrize("streams", [[[SILENCE]], [[AWAY]] * 1_000], ids=["quiet", "backoff"])
def test_closing_a_watch_ends_the_iteration_of_another_thread(
    scheduler: ScriptedServices, client: ContentGenerationClient, streams: list[Any]
) -> None:
    scheduler.will("WatchTasks", *streams)
    events = client.watch([A], patience=None)
    assert ended_by(events.close, events, scheduler) == []
    events.close()


def test_closing_the_client_ends_its_watches_and_its_connection(scheduler: ScriptedServices) -> None:
    scheduler.will("WatchTasks", [SILENCE], [SILENCE], [SILENCE])
    threads = client_threads()
    with ThreadPoolExecutor(3) as executor:
        with ContentGenerationClient(scheduler.target) as client:
            watches = [client.watch([A]) for _ in range(3)]
            rest = [executor.submit(list, events) for events in watches]
            wait_until(lambda: scheduler.open_calls == 3, within=5, what="all streams are open")
            assert connections_to(scheduler)
            assert client_threads() - threads
        assert [future.result(5) for future in rest] == [[], [], []]
    wait_until(lambda: scheduler.open_calls == 0, within=5, what="no stream is left at the scheduler")
    wait_until_gone(lambda: connections_to(scheduler), within=5, what="the connection is closed")
    wait_until_gone(lambda: client_threads() - threads, within=5, what="the client's threads are gone")


def test_closing_the_client_leaves_the_caller_s_channel_open_and_ends_its_watches(scheduler: ScriptedServices) -> None:
    scheduler.will("WatchTasks", [SILENCE])
    scheduler.will("PollTask", pb.PollTaskResponse(status=Status.TASK_STATUS_PENDING))
    with grpc.insecure_channel(scheduler.target) as channel:
        with ContentGenerationClient("unused", channel=channel) as client:
            events = client.watch([A])
            assert ended_by(client.close, events, scheduler) == []
        assert ContentGenerationClient("unused", channel=channel).poll_single_task(A) == "pending"


def test_the_stream_of_a_garbage_collected_watch_ends(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("WatchTasks", [pending("t1"), SILENCE])
    for _ in client.watch([A]):
        break
    gc.collect()
    wait_until(lambda: scheduler.open_calls == 0, within=5, what="the stream is gone")


def client_threads() -> set[threading.Thread]:
    """All but the scripted server's."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(THREAD_NAME)}


def connections_to(scheduler: ScriptedServices) -> list[Any]:
    """Of this process, as a client."""
    port = int(scheduler.target.rpartition(":")[2])
    connections = psutil.Process().net_connections("tcp")
    return [
        connection
        for connection in connections
        if connection.raddr and connection.raddr.port == port and connection.status == "ESTABLISHED"
    ]


def test_the_example_shows_each_move(scheduler: ScriptedServices) -> None:
    for task_id in (A, B):
        scheduler.will("SubmitTask", pb.SubmitTaskResponse(task=task_pb2.Task(task_id=task_id)))
    scheduler.will("WatchTasks", [pending("t1", A), pending("t2", B), AWAY], [completed("t3", B), completed("t4", A)])
    ran = subprocess.run(
        [sys.executable, EXAMPLE, scheduler.target], capture_output=True, text=True, timeout=30, check=True
    )
    lines = [line.split("  ", maxsplit=1)[1] for line in ran.stdout.splitlines()]
    assert lines == [f"{A}  now → pending", f"{B}  now → pending", f"{B}  now → completed", f"{A}  now → completed"]
    assert [list(request.task_ids) for request in scheduler.requests("WatchTasks")] == [[A, B]] * 2


# A client whose watch is quiet: it keeps asking whether its scheduler is there.


PINGS = 5
"""More than gRPC sends within a minute where no data goes out, unless it is told to."""
WITHIN_S = 40


async def test_a_quiet_watch_pings_its_scheduler_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    often = {**dict(connection._OPTIONS), "grpc.keepalive_time_ms": 500}
    monkeypatch.setattr(connection, "_OPTIONS", tuple(often.items()))
    answered = 0
    enough = asyncio.Event()

    async def say_nothing_but_that_it_is_there(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        server.close()  # the client, which dials again, finds nobody
        try:
            await reader.readexactly(len(PREFACE))
            writer.write(frame(SETTINGS))
            async for received in Connection(reader, writer).frames():
                if received.kind in {PING, SETTINGS} and not received.flags & ACK:
                    writer.write(frame(received.kind, ACK, payload=received.payload if received.kind == PING else b""))
                    answered += received.kind == PING
                if answered == PINGS:
                    enough.set()
                    break
        finally:
            writer.transport.abort()

    with closing(await asyncio.start_server(say_nothing_but_that_it_is_there, "127.0.0.1", 0)) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncContentGenerationClient(f"127.0.0.1:{port}") as client, asyncio.timeout(WITHIN_S):
            asking = asyncio.ensure_future(anext(client.watch(account_id=1)))
            await enough.wait()
        await asyncio.gather(asking, return_exceptions=True)
