"""One trace a task, and logs without a secret."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from contentgen import ContentGenerationClient, RequestError
from contentgen.v1 import task_pb2
from scheduler_svc.config.tokens import TokenLine, add_token, hash_of, new_token
from tests.harness.client import request
from tests.harness.process import STOP_LIMIT, inherited, installed, run_to_end
from tests.harness.processes import free_port
from tests.harness.receivers import OtlpReceiver
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker

pytestmark = pytest.mark.e2e


# One trace a task: from the caller's metadata through the scheduler and the worker to the CLI, over its retries.


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
STATE = "vendor=1"
WITHIN = 30.0
_CREATOR = """#!/bin/sh
[ "$1" = create ] || exit 0
for option; do
    case "$option" in --task-id=*) id=${option#*=} ;; esac
done
echo "${TRACEPARENT-none} ${TRACESTATE-none}" >> FOLDER/$id
[ "$(wc -l < FOLDER/$id)" -gt 1 ] || { echo 'the first try fails' >&2; exit 3; }
echo '{"content": "an article"}'
"""


class Creator:
    """A CLI that fails at the first attempt of each task, and notes what it gets of the trace."""

    def __init__(self, folder: Path) -> None:
        self._seen = folder / "seen"
        self._seen.mkdir()
        self.path = folder / "traced-creator"
        self.path.write_text(_CREATOR.replace("FOLDER", str(self._seen)))
        self.path.chmod(0o755)

    def seen(self, task_id: str) -> list[tuple[str, str]]:
        """TRACEPARENT and TRACESTATE of each attempt."""
        lines = (self._seen / task_id).read_text().splitlines()
        return [(parent, state) for parent, state in (line.split(" ", 1) for line in lines)]


@pytest.fixture
def creator(stack: Stack) -> Creator:
    return Creator(stack.folder)


def _submit(scheduler: Scheduler, *metadata: tuple[str, str]) -> str:
    """The id of a task that is retried at once."""
    account_id = scheduler.client.create_account()
    return scheduler.client.submit(account_id, metadata=metadata, max_retries=1, initial_backoff=Duration(nanos=10**6))


def _completed(scheduler: Scheduler, task_id: str) -> task_pb2.Task:
    task = scheduler.client.wait_completed(task_id, within=WITHIN)
    assert task.attempt == 2
    return task


def test_a_task_and_each_of_its_attempts_follow_a_valid_span_of_its_caller(stack: Stack, creator: Creator) -> None:
    scheduler = stack.scheduler(lease_ttl=30, PYTHONPROFILEIMPORTTIME="1").start()
    settings = {"CREATOR_CLI_PATH": str(creator.path), "PYTHONPROFILEIMPORTTIME": "1"}
    worker = stack.worker("worker", scheduler, slots=1, **settings).start()
    task_id = _submit(scheduler, ("traceparent", PARENT), ("tracestate", STATE))
    assert _completed(scheduler, task_id).trace_id == TRACE
    assert creator.seen(task_id) == [(PARENT, STATE), (PARENT, STATE)]
    (stopped,) = scheduler.events("attempt.stopped")
    assert (stopped["task_id"], stopped["trace_id"]) == (task_id, TRACE)
    ended = worker.events("lease.failed") + worker.events("lease.completed")
    assert [(event["task_id"], event["trace_id"]) for event in ended] == [(task_id, TRACE)] * 2
    for service in (scheduler, worker):  # their logs have each module that they import
        assert "structlog" in service.text()
        assert "opentelemetry" not in service.text()

    untraced = {_submit(scheduler), _submit(scheduler, ("traceparent", "00-0-0-0"), ("tracestate", STATE))}
    for task_id in untraced:
        assert _completed(scheduler, task_id).trace_id == ""
        assert creator.seen(task_id) == [("none", "none")] * 2
    _, *stops = scheduler.events("attempt.stopped")
    assert {event["task_id"] for event in stops} == untraced
    assert not [event for event in stops if "trace_id" in event]

    command = [installed("contentgen"), "-s", scheduler.target, "task"]
    environment = inherited() | {"TRACEPARENT": PARENT, "HOME": str(stack.folder)}
    submitted = run_to_end([*command, "submit", "-a", "1", "a topic"], environment, within=WITHIN)
    assert submitted.returncode == 0, submitted.stderr
    assert scheduler.client.task(submitted.stdout.strip()).trace_id == TRACE, "a command hands on its span"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def _traced_stack(stack: Stack, creator: Creator, endpoint: str) -> tuple[Scheduler, Worker]:
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    scheduler = stack.scheduler(lease_ttl=30, **exporting).start()
    worker = stack.worker("worker", scheduler, slots=1, CREATOR_CLI_PATH=str(creator.path), **exporting)
    return scheduler, worker.start()


def test_the_spans_of_a_task_and_its_retry_are_one_trace(
    stack: Stack, creator: Creator, receiver: OtlpReceiver
) -> None:
    scheduler, worker = _traced_stack(stack, creator, receiver.url)
    task_id = _submit(scheduler, ("traceparent", PARENT), ("tracestate", STATE))
    assert _completed(scheduler, task_id).trace_id == TRACE
    spans = receiver.wait_for(7, within=WITHIN)
    (submit,) = receiver.spans("TaskService/SubmitTask")
    dispatches, attempts, deliveries = map(receiver.spans, ("dispatch", "attempt", "deliver"))
    assert {span.trace_id for span in spans} == {TRACE}
    assert len(spans) == 1 + len(dispatches) + len(attempts) + len(deliveries)

    assert submit.parent_id == SPAN
    assert [span.parent_id for span in dispatches] == [submit.span_id] * 2
    assert [span.parent_id for span in attempts] == [span.span_id for span in dispatches]
    assert [span.parent_id for span in deliveries] == [span.span_id for span in attempts]
    assert creator.seen(task_id) == [(span.traceparent, STATE) for span in attempts]
    assert {span.service for span in (submit, *dispatches)} == {"contentgen-scheduler"}
    assert {span.service for span in (*attempts, *deliveries)} == {"contentgen-worker"}
    assert [submit.kind, dispatches[0].kind, attempts[0].kind] == ["server", "internal", "consumer"]

    for number, both in enumerate(zip(dispatches, attempts, deliveries, strict=True), 1):
        for part in both:
            assert part.attributes["contentgen.task_id"] == task_id
            assert part.attributes["contentgen.attempt"] == number
            assert part.attributes["contentgen.worker_id"] == "worker"
            assert part.start <= part.end
    assert [span.error for span in attempts] == ["CREATOR_ERROR", ""]
    assert [span.attributes["contentgen.ending"] for span in attempts] == ["failed", "completed"]
    assert [span.attributes["contentgen.outcome"] for span in deliveries] == ["committed"] * 2
    (stopped,) = scheduler.events("attempt.stopped")
    (ended,) = worker.events("lease.completed")
    assert stopped["trace_id"] == ended["trace_id"] == TRACE
    assert not [span for span in spans if "a topic" in str(span.attributes.values())]


def test_without_a_callers_trace_each_task_gets_one_and_one_that_is_not_sampled_goes_on_without_spans(
    stack: Stack, creator: Creator, receiver: OtlpReceiver
) -> None:
    scheduler, _ = _traced_stack(stack, creator, receiver.url)
    unsampled = _submit(scheduler, ("traceparent", f"00-{TRACE}-{SPAN}-00"))
    assert _completed(scheduler, unsampled).trace_id == TRACE
    assert [parent[:36] + parent[-2:] for parent, _ in creator.seen(unsampled)] == [f"00-{TRACE}-00"] * 2
    account_id = scheduler.client.create_account()
    at_once = Duration(nanos=10**6)
    alone = scheduler.client.submit(account_id, max_retries=1, initial_backoff=at_once)
    wanted = request(account_id, max_retries=1, initial_backoff=at_once)
    batch = scheduler.client.submit_all([wanted, wanted])
    tasks = {task_id: _completed(scheduler, task_id) for task_id in (alone, *batch)}
    spans = receiver.wait_for(3 * 7 + 1, within=WITHIN)  # those of the unsampled task would have come first
    assert TRACE not in {span.trace_id for span in spans}
    assert len({task.trace_id for task in tasks.values()}) == 3
    for task_id, task in tasks.items():
        followed = receiver.spans(trace_id=task.trace_id)
        assert len(followed) == 7
        (root,) = [span for span in followed if not span.parent_id]
        assert root.name == ("TaskService/SubmitTask" if task_id == alone else "create")
        assert root.attributes["contentgen.task_id"] == task_id
        attempts = receiver.spans("attempt", task.trace_id)
        assert [parent.split("-")[2] for parent, _ in creator.seen(task_id)] == [span.span_id for span in attempts]
    (call,) = receiver.spans("TaskService/BatchSubmitTasks")
    assert call.attributes["contentgen.task_count"] == 2
    assert [span.linked for span in receiver.spans("create")] == [(call.trace_id,)] * 2


def test_nothing_waits_for_a_receiver_that_is_away(stack: Stack, creator: Creator) -> None:
    scheduler, worker = _traced_stack(stack, creator, f"http://127.0.0.1:{free_port()}")
    task_id = _submit(scheduler, ("traceparent", PARENT))
    assert _completed(scheduler, task_id).trace_id == TRACE
    for service in (worker, scheduler):
        service.stop(STOP_LIMIT)


def test_what_can_not_be_exported_is_a_settings_error(stack: Stack) -> None:
    wrong = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    scheduler = stack.scheduler()
    for service in (scheduler, stack.worker("worker", scheduler)):
        service.launch(**wrong).ended(WITHIN, status=78)
        assert "OTEL_EXPORTER_OTLP_PROTOCOL=grpc" in service.text()


# With tokens: no log has a secret, a topic or a body, and what lies on the disk is its owner's only.


TOPIC = "a-topic-that-is-nobodys-business"


def test_no_log_has_a_secret_a_topic_or_a_body(stack: Stack) -> None:
    tokens = {role: new_token() for role in ("client", "worker", "operator")}
    for role, token in tokens.items():
        add_token(stack.folder / "tokens", TokenLine(role, hash_of(token), role))
    scheduler = stack.scheduler(CONTENTGEN_TOKENS_FILE=str(stack.folder / "tokens")).start()
    stack.worker("worker", scheduler, CONTENTGEN_TOKEN=tokens["worker"]).start()
    with ContentGenerationClient(scheduler.target, token=tokens["operator"]) as operator:
        account_id = int(operator.create_account("one")["account_id"])
    with ContentGenerationClient(scheduler.target, token=tokens["client"]) as client:
        quick = {"demo-seconds": "0.1"}
        done = client.submit_task(account_id, TOPIC, creator_options=quick)
        failed = client.submit_task(account_id, TOPIC, auto_retry=False, creator_options=quick | {"demo-fail": "exit"})
        task = client.wait(done, timeout=30)
        assert task["status"] == "completed"
        assert client.wait(failed, timeout=30)["status"] == "failed"
        content = client.get_content(task["content_id"])
    for wrong in ("a-guessed-token", tokens["worker"]):
        with ContentGenerationClient(scheduler.target, token=wrong) as refused, pytest.raises(RequestError):
            refused.list_tasks()
    scheduler.signal(signal.SIGHUP)
    scheduler.wait_for("reread", within=10)
    stack.stop()
    logs = "".join(path.read_text() for path in stack.folder.glob("*.log"))
    assert content
    body = content["body"]
    hidden = [TOPIC, *tokens.values(), *map(hash_of, tokens.values()), "a-guessed-token", "Bearer ", body[:40]]
    assert len(body) > 40
    assert len(logs) > 1_000
    assert [text for text in hidden if text in logs] == []


@pytest.mark.costly("two services and a server of a database", seconds=2)
def test_files_made_under_an_open_umask_are_private_or_writable_by_their_owner_only(stack: Stack) -> None:
    before = os.umask(0)
    try:
        scheduler = stack.scheduler(database_url=EMBEDDED).start()
        worker = stack.worker("worker", scheduler).start()
    finally:
        os.umask(before)
    client = scheduler.client
    account_id = client.create_account()
    client.wait_completed(client.submit(account_id, TOPIC, options={"demo-seconds": "0.1"}), within=30)
    lasting = client.submit(account_id, TOPIC, options={"demo-seconds": "60"})
    client.wait_processing(lasting, within=20)
    workers = worker.folder / "workers"
    kept = [path for path in workers.rglob("*") if path.is_file()]
    assert kept, "marks, ids and locks of the worker"
    private = [workers, *(path for path in workers.rglob("*") if path.is_dir()), scheduler.socket_folder()]
    private.append(scheduler.data_dir / "postgres" / "data")
    assert {path.name: oct(mode(path)) for path in private if mode(path) & 0o077} == {}
    sockets = [path for path in scheduler.socket_folder().iterdir() if path.is_socket()]
    assert sockets, "the database's own, behind its folder"
    client.cancel(lasting, force=True)
    stack.stop()
    paths = [scheduler.data_dir, *scheduler.data_dir.rglob("*"), *workers.rglob("*")]
    assert len(paths) > 100
    assert [path for path in paths if mode(path) & 0o022] == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)
