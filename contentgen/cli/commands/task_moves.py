"""`contentgen task cancel|retry|cleanup`. Layer: commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from contentgen.cli import cells, completion, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.each import each
from contentgen.cli.documents import Document, document
from contentgen.cli.failures import Status
from contentgen.cli.options import Limit, OnlyAccount, Statuses, TaskIds, Yes
from contentgen.client.documents import TASK_STATUS, label
from contentgen.v1 import task_service_pb2 as pb

LONG_CALL = 600.0
"""Seconds for a call that works through many tasks."""
_DEFAULT_RETRY_LIMIT = 1_000
"""By one call that names no limit."""

Force = Annotated[bool, typer.Option("--force", help="Also where a worker holds it; what runs is killed.")]
Reset = Annotated[bool, typer.Option("--reset-retry-count", help="Allow all of its retries anew.")]
AllFailed = Annotated[bool, typer.Option("--all", help="All that have failed or timed out, instead of named ones.")]
SomeTasks = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TASK_ID", help="The tasks to retry.", show_default=False, autocompletion=completion.task_ids
    ),
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
        "contentgen task retry --all --dry-run",
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
        call, tasks = session.connection.call, session.connection.stubs.tasks
        return document(call(tasks.CancelTask, pb.CancelTaskRequest(task_id=task_id, force=force)).task)

    return _move_each(session, task_ids, cancelled)


def retry(
    session: Session,
    task_ids: SomeTasks = None,
    reset_retry_count: Reset = False,
    all_: AllFailed = False,
    account: OnlyAccount = None,
    status: Statuses = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Put failed and timed out tasks back to pending.

    This ends the wait of a task that waits for its next attempt. With --all: those of --account, in --status, up to
    --limit (1,000), the oldest first, after a prompt on a terminal. Retries may cost money.
    """
    if bool(task_ids) == all_:
        raise typer.BadParameter("give either tasks or --all")
    if not all_ and (account or status or limit or dry_run):
        raise typer.BadParameter("--account, --status, --limit and --dry-run go with --all")
    if all_ and reset_retry_count:
        raise typer.BadParameter("--reset-retry-count goes with named tasks: --all leaves what has used its retries up")
    if task_ids:
        return _retry_each(session, task_ids, reset_retry_count)
    request = pb.BulkRetryTasksRequest(
        account_id=session.accounts(account),
        statuses=values.states(TASK_STATUS, status or ()),  # type: ignore[arg-type] # plain numbers
        limit=limit or 0,
    )
    return _retry_all(session, request, dry_run=dry_run, yes=yes)


def _retry_each(session: Session, task_ids: Sequence[str], reset: bool) -> int:
    def retried(task_id: str) -> Document:
        call, tasks = session.connection.call, session.connection.stubs.tasks
        return document(call(tasks.RetryTask, pb.RetryTaskRequest(task_id=task_id, reset_retry_count=reset)).task)

    return _move_each(session, task_ids, retried)


def _retry_all(session: Session, request: pb.BulkRetryTasksRequest, *, dry_run: bool, yes: bool) -> int:
    most = _retryable(session, request)
    if dry_run:
        session.output.text(f"would be put back to pending: {most:,} at most", {"retried_count": most, "dry_run": True})
        return Status.DONE
    session.confirm(f"Run up to {most:,} tasks again?", yes=yes)
    connection = session.connection
    count = connection.call(connection.stubs.tasks.BulkRetryTasks, request, waits=LONG_CALL).retried_count
    session.output.text(f"put back to pending: {count:,}", {"retried_count": count})
    return Status.DONE


def _retryable(session: Session, request: pb.BulkRetryTasksRequest) -> int:
    """How many tasks stand where it would retry them: some of them may have used their retries up."""
    connection = session.connection
    stats = connection.call(connection.stubs.tasks.GetTaskStats, pb.GetTaskStatsRequest(account_id=request.account_id))
    states = [label(TASK_STATUS, status) for status in request.statuses] or ["failed", "timeout"]
    return min(sum(stats.counts[state] for state in set(states)), request.limit or _DEFAULT_RETRY_LIMIT)


def cleanup(
    session: Session, days: Days = 7, dry_run: DryRun = False, account: OnlyAccount = None, yes: Yes = False
) -> None:
    """Delete ended tasks with their history. Contents and the publish pool stay.

    On a terminal it prompts first.
    """
    request = pb.CleanupTasksRequest(days=days, dry_run=dry_run, account_id=session.accounts(account))
    connection = session.connection
    if not dry_run:
        _confirm_cleanup(session, request, yes=yes)
    count = connection.call(connection.stubs.tasks.CleanupTasks, request, waits=LONG_CALL).deleted_count
    said = "would be deleted" if dry_run else "deleted"
    session.output.text(f"{said}: {count:,}", {"deleted_count": count, "dry_run": dry_run})


def _confirm_cleanup(session: Session, request: pb.CleanupTasksRequest, *, yes: bool) -> None:
    whose = f"account {request.account_id}" if request.account_id else "all accounts"
    session.confirm(
        f"Delete the tasks of {whose} that ended more than {request.days} days ago, with their history?", yes=yes
    )


def _move_each(session: Session, task_ids: Sequence[str], call: Callable[[str], Document]) -> int:
    def line(task: Document) -> Text:
        return Text.assemble(f"{task['task_id']}  ", cells.state(task["status"]))

    return each(session, task_ids, call, line)
