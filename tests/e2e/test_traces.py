"""One trace a task: from the caller's metadata through the scheduler and the worker to the CLI, over its retries."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_pb2
from tests.harness.stack import Scheduler, Stack

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


def test_a_task_and_each_of_its_attempts_follow_the_callers_span(stack: Stack, creator: Creator) -> None:
    scheduler = stack.scheduler(lease_ttl=30, PYTHONPROFILEIMPORTTIME="1").start()
    settings = {"CREATOR_CLI_PATH": str(creator.path), "PYTHONPROFILEIMPORTTIME": "1"}
    worker = stack.worker("worker", scheduler, slots=1, **settings).start()
    task_id = _submit(scheduler, ("traceparent", PARENT), ("tracestate", STATE))
    assert _completed(scheduler, task_id).trace_id == TRACE
    assert creator.seen(task_id) == [(PARENT, STATE), (PARENT, STATE)]
    (stopped,) = scheduler.events("attempt.stopped")
    assert (stopped["task_id"], stopped["trace_id"]) == (task_id, TRACE)
    ended = worker.events("lease.failed") + worker.events("lease.completed")
    assert [(it["task_id"], it["trace_id"]) for it in ended] == [(task_id, TRACE)] * 2
    for service in (scheduler, worker):  # their logs have each module that they import
        assert "structlog" in service.text()
        assert "opentelemetry" not in service.text()


@pytest.mark.parametrize("metadata", [(), (("traceparent", "00-0-0-0"), ("tracestate", STATE))])
def test_without_a_valid_traceparent_there_is_no_trace(
    stack: Stack, creator: Creator, metadata: tuple[tuple[str, str], ...]
) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    stack.worker("worker", scheduler, CREATOR_CLI_PATH=str(creator.path)).start()
    task_id = _submit(scheduler, *metadata)
    assert _completed(scheduler, task_id).trace_id == ""
    assert creator.seen(task_id) == [("none", "none")] * 2
    (stopped,) = scheduler.events("attempt.stopped")
    assert "trace_id" not in stopped
