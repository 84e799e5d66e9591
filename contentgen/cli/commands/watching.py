"""`contentgen task watch`: every move of tasks as it happens. Layer: commands."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer
from rich.text import Text

from contentgen.cli import cells, completion
from contentgen.cli.changes import changes
from contentgen.cli.command import Session, command
from contentgen.cli.documents import Document
from contentgen.cli.failures import Status
from contentgen.cli.options import account_option

WatchedTasks = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TASK_ID",
        help="Tasks to watch until they have ended.",
        show_default=False,
        autocompletion=completion.task_ids,
    ),
]
WatchedAccount = Annotated[int | None, account_option("All tasks of this account, until Ctrl-C.")]
Everything = Annotated[bool, typer.Option("--all", help="All tasks of all accounts, until Ctrl-C.")]
ResumeToken = Annotated[
    str,
    typer.Option(
        metavar="TOKEN", help="Continue after the event with this token, with the same selection.", show_default=False
    ),
]

FromNow = Annotated[bool, typer.Option("--from-now", help="Leave out how they stand now.")]


def add_to(app: typer.Typer) -> None:
    """Adds the command `watch` to `app`."""
    command(
        app,
        "watch",
        "contentgen task watch task-0000000000000001",
        "contentgen task watch --account 1",
        "contentgen task watch --all --from-now",
        "contentgen --output jsonl task watch -a 1 | jq -r 'select(.task.status == \"failed\").task.task_id'",
        "contentgen task watch -a 1 --resume-token TOKEN_OF_THE_LAST_EVENT",
    )(watch)


def watch(
    session: Session,
    task_ids: WatchedTasks = None,
    account: WatchedAccount = None,
    all_: Everything = False,
    resume_token: ResumeToken = "",
    from_now: FromNow = False,
) -> int:
    """Follow tasks, move by move.

    First how they stand now (--from-now: not), then every move as it is committed, each once. It continues by itself
    after a lost connection, on whichever scheduler answers. Tasks that are named are watched until they have ended:
    exit status 0 when all of them are completed, else 1. With JSON each event is a line, and its resume_token is where
    to continue.
    """
    if sum(map(bool, (task_ids, account, all_))) != 1:
        raise typer.BadParameter("give either tasks, or --account, or --all")
    if task_ids and from_now:
        raise typer.BadParameter("leave out --from-now: tasks that are named are watched until they have ended")
    watched_ids = set(task_ids or ())
    completed: dict[str, bool] = {}
    moves = changes(session.connection, task_ids or (), account or 0, resume_token, skip_present=from_now)
    with closing(moves) as events:
        for event in events:
            session.output.event(event, line)
            if watched_ids:
                _note(completed, event["task"])
                if completed.keys() == watched_ids:
                    break
    return Status.DONE if all(completed.values()) else Status.FAILED


def _note(completed: dict[str, bool], task: Document) -> None:
    """Whether a task that has ended is completed; one that was retried after its end runs again."""
    if task["end_time"]:
        completed[task["task_id"]] = task["status"] == "completed"
    else:
        completed.pop(task["task_id"], None)


def line(change: Document) -> Text:
    """Returns one event as one line."""
    task = change["task"]
    move = [cells.state(change["previous_status"]), " → "] if change["previous_status"] else ["is "]
    parts = [f"{cells.clock_time(change['event_time'])}  {task['task_id']}  ", *move, cells.state(task["status"])]
    return Text.assemble(*parts, *(f"  {fact}" for fact in _facts(change) if fact))


def _facts(change: Document) -> list[str]:
    task = change["task"]
    is_held = task["status"] in {"submitted", "processing"}
    return [
        f"attempt {task['attempt']} on {cells.line(task['worker_id'])}" if is_held else "",
        f"content {task['content_id']}" if task["content_id"] else "",
        cells.error(task) if task["status"] != "completed" else "",
        "will be retried" if change["will_retry"] else "",
    ]
