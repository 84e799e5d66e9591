"""Waiting for tasks to end, and `contentgen task wait`. Layer: commands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from contentgen.cli import tables, values
from contentgen.cli.changes import backoff, endure
from contentgen.cli.command import Session, command
from contentgen.cli.connection import Connection
from contentgen.cli.documents import Document, document
from contentgen.cli.failures import Failure, Status
from contentgen.cli.options import TaskIds
from contentgen.cli.progress import progress
from contentgen.client.errors import RequestError

WaitLimit = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=values.seconds,
        metavar="DURATION",
        help="How long to wait, such as 90s or 10m. Default: until they have ended.",
        show_default=False,
    ),
]

LOOK_AGAIN = 0.5
"""Seconds between two looks at the tasks; the end of the first that has not ended is seen at once."""
_MAX_TASKS = 1_000


def add_to(app: typer.Typer) -> None:
    """Adds the command `wait` to `app`."""
    command(
        app,
        "wait",
        "contentgen task wait task-0000000000000001",
        "contentgen task wait --timeout 10m task-0000000000000001 task-0000000000000002",
        "contentgen task wait task-0000000000000001 && echo published",
    )(wait)


def wait(session: Session, task_ids: TaskIds, timeout: WaitLimit = None) -> int:
    """Wait until tasks have ended, and show how far they are.

    Ended is completed, cancelled, or failed or timed out with no retry to come. Exit status: 0 when all of them are
    completed, 1 when one is not, 5 when the time is up before that.
    """
    tasks, status = wait_for(session, task_ids, timeout)
    if len(tasks) == 1:
        session.output.one(tasks[0], tables.task)
    else:
        session.output.many(tasks, tables.TASKS, "tasks")
    return status


def wait_for(session: Session, task_ids: Sequence[str], limit: float | None) -> tuple[list[Document], Status]:
    """The tasks at the end of the wait, and what they come to; they are shown meanwhile.

    Raises Failure where one of them is not there.
    """
    if len(task_ids) > _MAX_TASKS:
        raise typer.BadParameter(f"{len(task_ids)} tasks are more than {_MAX_TASKS:,} at once: wait for fewer")
    deadline = None if limit is None else time.monotonic() + limit
    tasks, outage_backoff = _look(session.connection, task_ids), backoff()
    outage_backoff.reset()
    with progress(session.output.err) as display:
        display.show(tasks)
        while (open_task_id := _open(tasks)) and (deadline is None or time.monotonic() < deadline):
            try:
                _wait_once(session.connection, open_task_id, deadline)
                tasks = _look(session.connection, task_ids)
            except RequestError as error:
                endure(outage_backoff, error)
            else:
                outage_backoff.reset()
                display.show(tasks)
    return tasks, _outcome(tasks)


def _open(tasks: Sequence[Document]) -> str | None:
    """Returns the id of the first task that has not ended; None if all have."""
    return next((task["task_id"] for task in tasks if task["end_time"] is None), None)


def _look(connection: Connection, task_ids: Sequence[str]) -> list[Document]:
    ids = list(dict.fromkeys(task_ids))
    tasks = connection.client.get_task_statuses(ids)
    if missing_ids := [task_id for task_id, task in zip(ids, tasks, strict=True) if task is None]:
        raise Failure(Status.NOT_FOUND, f"no such task: {', '.join(missing_ids)}")
    return [document(task) for task in tasks if task is not None]


def _wait_once(connection: Connection, task_id: str, deadline: float | None) -> None:
    pause = LOOK_AGAIN if deadline is None else min(max(deadline - time.monotonic(), 0.0), LOOK_AGAIN)
    connection.client.wait(task_id, pause)


def _outcome(tasks: Sequence[Document]) -> Status:
    if any(task["end_time"] is not None and task["status"] != "completed" for task in tasks):
        return Status.FAILED
    return Status.DONE if all(task["end_time"] for task in tasks) else Status.WRONG_STATE
