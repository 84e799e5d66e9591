"""What the API says at the end: of every task that was acknowledged, its history and its content, and the counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc

from contentgen.v1 import asset_service_pb2 as asset_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.asset_service_pb2_grpc import AssetServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from lab.chaos.evidence import AnsweredTask, Answers
from lab.chaos.stored import sha256
from scheduler_svc.domain.lifecycle import Status

_BATCH_SIZE = 500
_PAGE = 1_000
_CALLS = 8
_LIMIT = 60.0
_ALL = 0

Move = tuple[Status, int]


def ask(target: str, task_ids: Iterable[str], accounts: Iterable[int]) -> Answers:
    """Asks schedulers that are well: for each task, for the counts of these accounts and for those of all."""
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(_CALLS) as callers:
        asker = _Asker(channel)
        tasks = [task for ids in _cut(sorted(set(task_ids))) for task in asker.tasks(ids)]
        names = [task.task_id for task in tasks]
        content_ids = {task.task_id: task.content_id for task in tasks if task.content_id}
        contents = dict(zip(content_ids, callers.map(asker.content, content_ids.values()), strict=True))
        files = sorted({asset.sha256 for content in contents.values() for asset in content.assets})
        return Answers(
            tasks={
                task.task_id: AnsweredTask(Status(task.status), task.account_id, sha256(task.topic)) for task in tasks
            },
            counts={account: asker.counts(account) for account in (_ALL, *sorted(set(accounts)))},
            histories=dict(zip(names, callers.map(asker.history, names), strict=True)),
            bodies={task_id: sha256(content.body) for task_id, content in contents.items()},
            pool=list(asker.pool()),
            files=dict(zip(files, callers.map(asker.file, files), strict=True)),
        )


class _Asker:
    """The calls, for any number of threads."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._tasks = TaskServiceStub(channel)
        self._contents = ContentServiceStub(channel)
        self._assets = AssetServiceStub(channel)

    def tasks(self, task_ids: Sequence[str]) -> Sequence[task_pb2.Task]:
        """Returns those of the tasks that exist."""
        return self._tasks.BatchGetTasks(task_pb.BatchGetTasksRequest(task_ids=task_ids), timeout=_LIMIT).tasks

    def counts(self, account_id: int) -> dict[str, int]:
        return dict(self._tasks.GetTaskStats(task_pb.GetTaskStatsRequest(account_id=account_id), timeout=_LIMIT).counts)

    def history(self, task_id: str) -> list[Move]:
        moves: list[Move] = []
        request = task_pb.ListTaskEventsRequest(task_id=task_id, page_size=_PAGE)
        while True:
            page = self._tasks.ListTaskEvents(request, timeout=_LIMIT)
            moves += ((Status(event.status), event.attempt) for event in page.events)
            if not page.next_page_token:
                return moves
            request.page_token = page.next_page_token

    def content(self, content_id: int) -> content_pb.Content:
        request = content_pb.GetContentRequest(content_id=content_id)
        return self._contents.GetContent(request, timeout=_LIMIT).content

    def file(self, name: str) -> str:
        """Returns the SHA-256 of the bytes; what the API says instead, if it gives none."""
        request = asset_pb.GetAssetRequest(sha256=name)
        try:
            chunks = [answer.chunk for answer in self._assets.GetAsset(request, timeout=_LIMIT)]
        except grpc.RpcError as error:
            return str(error)
        return hashlib.sha256(b"".join(chunks)).hexdigest()

    def pool(self) -> Iterator[int]:
        request = content_pb.ListPublishPoolRequest(page_size=_PAGE)
        while True:
            page = self._contents.ListPublishPool(request, timeout=_LIMIT)
            yield from (entry.content_id for entry in page.entries)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _cut(task_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(task_ids), _BATCH_SIZE):
        yield task_ids[begin : begin + _BATCH_SIZE]
