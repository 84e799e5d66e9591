"""What the API says at the end: of every task that was acknowledged, its history and its content, and the counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from contentgen import ContentGenerationClient, RequestError
from contentgen.client.results import Task
from lab.chaos.evidence import AnsweredTask, Answers
from lab.chaos.stored import sha256
from scheduler_svc.domain.lifecycle import Status

_BATCH_SIZE = 500
_PAGE = 1_000
_CALLS = 8
_LIMIT = 60.0
_ALL = 0


def ask(target: str, task_ids: Iterable[str], accounts: Iterable[int]) -> Answers:
    """Asks schedulers that are well: for each task, for the counts of these accounts and for those of all."""
    with ContentGenerationClient(target, timeout=_LIMIT) as client, ThreadPoolExecutor(_CALLS) as callers:
        tasks = list(_tasks(client, sorted(set(task_ids))))
        names = [task["task_id"] for task in tasks]
        content_ids = {task["task_id"]: task["content_id"] for task in tasks if task["content_id"]}
        answers = zip(content_ids, callers.map(client.get_content, content_ids.values()), strict=True)
        contents = {task_id: content for task_id, content in answers if content}
        files = sorted({asset["sha256"] for content in contents.values() for asset in content["assets"]})

        def history(task_id: str) -> list[tuple[Status, int]]:
            events = client.iter_task_events(task_id, page_size=_PAGE)
            return [(Status[event["status"].upper()], event["attempt"]) for event in events]

        def stats(account_id: int) -> dict[str, int]:
            return dict(client.get_task_stats(account_id)["counts"].items())

        def digest(name: str) -> str:
            """Returns the SHA-256 of the bytes; what the API says instead, if it gives none."""
            try:
                return hashlib.sha256(client.read_asset(name)).hexdigest()
            except RequestError as error:
                return str(error)

        return Answers(
            tasks={
                task["task_id"]: AnsweredTask(Status[task["status"].upper()], task["account_id"], sha256(task["topic"]))
                for task in tasks
            },
            counts={account: stats(account) for account in (_ALL, *sorted(set(accounts)))},
            histories=dict(zip(names, callers.map(history, names), strict=True)),
            bodies={task_id: sha256(content["body"]) for task_id, content in contents.items()},
            pool=[entry["content_id"] for entry in client.iter_publish_pool(page_size=_PAGE)],
            files=dict(zip(files, callers.map(digest, files), strict=True)),
        )


def _tasks(client: ContentGenerationClient, task_ids: list[str]) -> Iterator[Task]:
    """Yields those that exist."""
    for begin in range(0, len(task_ids), _BATCH_SIZE):
        yield from filter(None, client.get_task_statuses(task_ids[begin : begin + _BATCH_SIZE]))
