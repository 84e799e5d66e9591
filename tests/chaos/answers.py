"""What the API says at the end, of every task that was acknowledged and of the counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import grpc
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub

from scheduler_svc.domain.lifecycle import Status
from tests.chaos.evidence import AnsweredTask, Answers
from tests.chaos.stored import sha256

_AT_ONCE = 500
_LIMIT = 60.0
_ALL = 0


def ask(target: str, task_ids: Iterable[str], accounts: Iterable[int]) -> Answers:
    """Asks schedulers that are well: for each task, for the counts of these accounts and for those of all."""
    with grpc.insecure_channel(target) as channel:
        stub = TaskServiceStub(channel)
        tasks = {task_id: task for ids in _cut(sorted(set(task_ids))) for task_id, task in _tasks(stub, ids)}
        return Answers(tasks, {account: _counts(stub, account) for account in (_ALL, *sorted(set(accounts)))})


def _cut(task_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(task_ids), _AT_ONCE):
        yield task_ids[begin : begin + _AT_ONCE]


def _tasks(stub: TaskServiceStub, task_ids: Sequence[str]) -> Iterator[tuple[str, AnsweredTask]]:
    for task in stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=task_ids), timeout=_LIMIT).tasks:
        yield task.task_id, AnsweredTask(Status(task.status), task.account_id, sha256(task.topic))


def _counts(stub: TaskServiceStub, account_id: int) -> dict[str, int]:
    return dict(stub.GetTaskStats(pb.GetTaskStatsRequest(account_id=account_id), timeout=_LIMIT).counts)
