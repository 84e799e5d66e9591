"""`contentgen task cancel|retry|cleanup`. Layer: commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from contentgen.cli import cells, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.each import each_task
from contentgen.cli.documents import Document, document
from contentgen.cli.failures import Status
from contentgen.cli.options import Limit, OnlyAccount, Statuses, TaskIds
from contentgen.cli.output import write_line
from contentgen.client.documents import TASK_STATUS
from contentgen.v1 import task_service_pb2 as pb

LONG_CALL = 600.0
"""Seconds for a call that works through many tasks."""

Force = Annotated[bool, typer.Option("--force", help="Also where a worker holds it; what runs is killed.")]
Reset = Annotated[bool, typer.Option("--reset-retry-count", help="Allow all of its retries anew.")]
AllFailed = Annotated[bool, typer.Option("--all", help="All that have failed or timed out, instead of named ones.")]
SomeTasks = Annotated[
    list[str] | None, typer.Argument(metavar="TASK_ID", help="The tasks to retry.", show_default=False)
]
Days = Annotated[int, typer.Option(min=0, help="Tasks that ended more than this many days ago; 0: all that ended.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count them.")]


def add_to(app: typer.Typer) -> None:
    """All of them."""
    command(
        app,
        "cancel",
        "contentgen task cancel task-0000000000000001",
        "contentgen task cancel --force task-0000000000000001 task-0000000000000002",
    )(cancel)
    command(
        app,
        "retry",
        "contentgen task retry task-0000000000000001",
        "contentgen task retry --reset-retry-count task-0000000000000001",
        "contentgen task retry --all --account 1 --status timeout",
    )(retry)
    command(
        app,
        "cleanup",
        "contentgen task cleanup --dry-run",
        "contentgen task cleanup --days 30",
        "contentgen task cleanup --days 0 --account 1",
    )(cleanup)


def cancel(session: Session, task_ids: TaskIds, force: Force = False) -> int:
    """Cancel tasks. One that a worker holds is cancelled by --force only."""

    def cancelled(task_id: str) -> Document:
        call, tasks = session.connection.call, session.connection.tasks
        return document(call(tasks.CancelTask, pb.CancelTaskRequest(task_id=task_id, force=force)).task)

    return _move_each(session, task_ids, cancelled)


def retry(
    session: Session,
    task_ids: SomeTasks = None,
    reset_retry_count: Reset = False,
    all_: AllFailed = False,
    account: OnlyAccount = 0,
    status: Statuses = None,
    limit: Limit = None,
) -> int:
    """Put failed and timed out tasks back to pending.

    Of a task that waits for its next attempt it takes the wait away. With --all: those of --account, in --status, up to
    --limit (1,000), the oldest first.
    """
    if bool(task_ids) == all_:
        raise typer.BadParameter("give either tasks or --all")
    if not all_ and (account or status or limit):
        raise typer.BadParameter("--account, --status and --limit go with --all")
    if all_ and reset_retry_count:
        raise typer.BadParameter("--reset-retry-count goes with named tasks: --all leaves what has used its retries up")
    if task_ids:
        return _retry_each(session, task_ids, reset_retry_count)
    return _retry_all(session, account, status or (), limit or 0)


def _retry_each(session: Session, task_ids: Sequence[str], reset: bool) -> int:
    def retried(task_id: str) -> Document:
        call, tasks = session.connection.call, session.connection.tasks
        return document(call(tasks.RetryTask, pb.RetryTaskRequest(task_id=task_id, reset_retry_count=reset)).task)

    return _move_each(session, task_ids, retried)


def _retry_all(session: Session, account: int, statuses: Sequence[str], limit: int) -> int:
    request = pb.BulkRetryTasksRequest(
        account_id=account,
        statuses=values.states(TASK_STATUS, statuses),  # type: ignore[arg-type] # plain numbers
        limit=limit,
    )
    connection = session.connection
    count = connection.call(connection.tasks.BulkRetryTasks, request, waits=LONG_CALL).retried_count
    session.output.text(f"put back to pending: {count:,}", {"retried_count": count})
    return Status.DONE


def cleanup(session: Session, days: Days = 7, dry_run: DryRun = False, account: OnlyAccount = 0) -> None:
    """Delete ended tasks with their history. Contents and the publish pool stay."""
    request = pb.CleanupTasksRequest(days=days, dry_run=dry_run, account_id=account)
    connection = session.connection
    count = connection.call(connection.tasks.CleanupTasks, request, waits=LONG_CALL).deleted_count
    said = "would be deleted" if dry_run else "deleted"
    session.output.text(f"{said}: {count:,}", {"deleted_count": count, "dry_run": dry_run})


def _move_each(session: Session, task_ids: Sequence[str], call: Callable[[str], Document]) -> int:
    def show(moved: Iterable[Document]) -> None:
        session.output.each(moved, _moved, several=len(task_ids) > 1)

    return each_task(session, task_ids, call, show)


def _moved(to: Console, task: Document) -> None:
    write_line(to, Text.assemble(f"{task['task_id']}  ", cells.state(task["status"])))
