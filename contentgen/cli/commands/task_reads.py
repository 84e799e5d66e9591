"""`contentgen task status|list|events|logs|stats`. Layer: commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.task_filter import Selection, selects
from contentgen.cli.lists import each_of, write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, TaskId, TaskIds
from contentgen.cli.output import Document, document, fields, table
from contentgen.cli.values import option
from contentgen.client.documents import TASK_STATUS, label
from contentgen.client.results import Resolution, TaskOrder

PerPeriod = Annotated[Resolution | None, option("Show each hour or day instead.", "--by")]
Since = Annotated[
    str | None,
    option(
        "With --by: from then on; local without a zone. Default: a day, or 30 days, before --until.", metavar="TIME"
    ),
]
Until = Annotated[str | None, option("With --by: up to then. Default: now.", metavar="TIME")]
OrderBy = Annotated[
    TaskOrder | None,
    option(
        'By creation or by end; "desc" is falling. By end: only those that have ended. Default: "create_time desc".'
    ),
]
Attempt = Annotated[int | None, option("Only of this attempt.", metavar="N", min=1)]

command = Commands()


@command(
    "status",
    "contentgen task status task-0000000000000001",
    "contentgen --output json task status task-0000000000000001 | jq .error",
)
def status(session: Session, task_ids: TaskIds) -> int:
    """Show how tasks stand.

    Of one task all that is known: its error, its progress, why it still waits; of several a line each.
    """

    def show(documents: Iterator[Document]) -> None:
        if len(task_ids) > 1:
            session.output.many(documents, tables.TASKS, "tasks", tables.task_error)
        else:
            session.output.each(documents, tables.task, several=False)

    return each_of(session, task_ids, session.client.get_task_status, show)


@command(
    "list",
    "contentgen task list --account 1 --status processing",
    "contentgen task list --status failed,timeout --limit 20 -o wide",
    "contentgen task list --schedule 3 --status failed",
    "contentgen task list --since 2026-01-31 --reason CREATOR_TIMEOUT --worker w1",
    "contentgen task list --topic 咖啡",
    "contentgen task list --order-by 'end_time desc'",
    "contentgen task list --all",
    "contentgen --output jsonl task list --label campaign=spring | jq -r .task_id",
)
@selects
def list_(
    session: Session,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
    order_by: OrderBy = None,
    *,
    selection: Selection,
) -> None:
    """List tasks, the newest first or as --order-by says."""
    pages = session.client.iter_tasks(order_by=order_by, **selection.filter)
    write_list(session, pages, tables.TASKS, "tasks", limit, all_, page_token)


@command("events", "contentgen task events task-0000000000000001")
def events(session: Session, task_id: TaskId) -> None:
    """List every move of a task, the oldest first."""
    documents = map(document, session.client.iter_task_events(task_id))
    session.output.many(documents, tables.EVENTS, "events", lambda event: cells.line(event["message"]))


@command(
    "logs",
    "contentgen task logs task-0000000000000001",
    "contentgen task logs task-0000000000000001 --attempt 2",
    "contentgen -o json task logs task-0000000000000001 | jq -r '.[-1].stderr'",
)
def logs(session: Session, task_id: TaskId, attempt: Attempt = None) -> None:
    """Show what the CLI printed in a task's attempts.

    Of each attempt that ended, successful or not, the last 8,192 characters of stdout and of stderr are kept, for the
    20 newest attempts. Attempts that printed nothing, still run, or lost their worker are missing. Oldest first.
    """
    documents = map(document, session.client.iter_attempt_logs(task_id))
    attempt_logs = (log for log in documents if attempt in {None, log["attempt"]})
    has_output = session.output.each(attempt_logs, tables.attempt_log, several=True)
    if not has_output and session.output.tables:
        session.output.note("no output" if attempt is None else f"no output of attempt {attempt}")


@command(
    "stats",
    "contentgen task stats",
    "contentgen -o json task stats --account 1 | jq .queue_depth",
    "contentgen task stats --by hour",
    "contentgen task stats --by day --since 2026-01-01 --account 1",
)
def stats(
    session: Session, account: OnlyAccount = None, by: PerPeriod = None, since: Since = None, until: Until = None
) -> None:
    """Count tasks by status, and say how long the queue is.

    With --by it shows what happened in each hour or day (of UTC): how many tasks were submitted and ended, and how long
    completing attempts took in their slots, half of them (P50) and 95 % (P95), within 5 %. Hours are kept for 40 days,
    days for 400.
    """
    if by is not None:
        _write_history(session, session.accounts(account), by, since, until)
        return
    if since or until:
        raise typer.BadParameter("--since and --until go with --by")
    session.output.one(document(session.client.get_task_stats(session.accounts(account))), _counts)


def _counts(console: Console, statistics: Document) -> None:
    status_names = [label(TASK_STATUS, value.number) for value in TASK_STATUS.values if value.number]
    counts = statistics["counts"]
    table(console, ({"status": status, "tasks": counts.get(status, 0)} for status in status_names), tables.COUNTS)
    console.print()
    oldest_age = cells.duration(statistics["oldest_pending_age"])
    fields(console, [("due now", cells.number(statistics["queue_depth"])), ("oldest pending", oldest_age)])


def _write_history(session: Session, account_id: int, by: Resolution, since: str | None, until: str | None) -> None:
    """Writes what happened to tasks in each hour or day, oldest first; a table leaves out those without any task."""
    start, end = values.moment(since), values.moment(until)
    points = session.client.get_task_history(account_id, by, start_time=start, end_time=end)
    documents = [document(point) for point in points]
    if session.output.tables:
        documents = [point for point in documents if point["submitted"] or any(point["counts"].values())]
    session.output.many(documents, tables.HISTORY, "tasks")
