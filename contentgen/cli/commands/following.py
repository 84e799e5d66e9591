"""`contentgen task wait|watch|tail`: until tasks end, every move as it happens, or what a CLI prints. Layer: commands.

The client's streams, set up for a terminal: how long a command is patient with an outage.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Annotated

import typer
from rich.text import Text

from contentgen.cli import cells, completion, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.connection import Connection
from contentgen.cli.failures import Failure, Status
from contentgen.cli.options import TaskId, TaskIds, account_option
from contentgen.cli.output import Document, document
from contentgen.cli.progress import progress
from contentgen.cli.values import argument, option
from contentgen.client.errors import RequestError, Unavailable
from contentgen.client.transport import run
from contentgen.client.watch import Backoff

WaitLimit = Annotated[
    float | None,
    option(
        "How long to wait, such as 90s or 10m. Default: until they have ended.",
        parser=values.seconds,
        metavar="DURATION",
    ),
]

LOOK_AGAIN = 0.5
"""Seconds between two looks at the tasks; the end of the first that has not ended is seen at once."""
_MAX_TASKS = 1_000
PATIENCE = 60.0
"""Seconds without a scheduler before a command that follows tasks gives up; at first, when the address may be wrong, it
gives up at once.
"""


command = Commands()


@command(
    "wait",
    "contentgen task wait task-0000000000000001",
    "contentgen task wait --timeout 10m task-0000000000000001 task-0000000000000002",
    "contentgen task wait task-0000000000000001 && echo published",
)
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
    """Returns the tasks at the end of the wait, and what they come to; they are shown meanwhile.

    Raises Failure where one of them is not there.
    """
    if len(task_ids) > _MAX_TASKS:
        raise typer.BadParameter(f"{len(task_ids)} tasks are more than {_MAX_TASKS:,} at once: wait for fewer")
    deadline = None if limit is None else time.monotonic() + limit
    tasks, outage_backoff = _look(session.connection, task_ids), Backoff(PATIENCE, at_first=PATIENCE)
    with progress(session.output.err) as show:
        show(tasks)
        while (open_task_id := _open(tasks)) and (deadline is None or time.monotonic() < deadline):
            try:
                pause = LOOK_AGAIN if deadline is None else min(max(deadline - time.monotonic(), 0.0), LOOK_AGAIN)
                session.client.wait(open_task_id, pause)
                tasks = _look(session.connection, task_ids)
            except RequestError as error:
                pause_after = outage_backoff.pause() if isinstance(error, Unavailable) else None
                if pause_after is None:  # it is no outage, or one that has lasted too long
                    raise
                time.sleep(pause_after)
            else:
                outage_backoff.reset()
                show(tasks)
    if any(task["end_time"] is not None and task["status"] != "completed" for task in tasks):
        return tasks, Status.FAILED
    return tasks, Status.DONE if all(task["end_time"] for task in tasks) else Status.WRONG_STATE


def _open(tasks: Iterable[Document]) -> str | None:
    """Returns the id of the first task that has not ended; None if all have."""
    return next((task["task_id"] for task in tasks if task["end_time"] is None), None)


def _look(connection: Connection, task_ids: Sequence[str]) -> list[Document]:
    ids = list(dict.fromkeys(task_ids))
    tasks = connection.client.get_task_statuses(ids)
    if missing_ids := [task_id for task_id, task in zip(ids, tasks, strict=True) if task is None]:
        raise Failure(Status.NOT_FOUND, f"no such task: {', '.join(missing_ids)}")
    return [document(task) for task in tasks if task is not None]


WatchedTasks = Annotated[
    list[str] | None, argument("TASK_ID", "Tasks to watch until they have ended.", autocompletion=completion.task_ids)
]
WatchedAccount = Annotated[int | None, account_option("All tasks of this account, until Ctrl-C.")]
Everything = Annotated[bool, option("All tasks of all accounts, until Ctrl-C.", "--all")]
ResumeToken = Annotated[
    str, option("Continue after the event with this token, with the same selection.", metavar="TOKEN")
]
FromNow = Annotated[bool, option("Leave out how they stand now.", "--from-now")]


@command(
    "watch",
    "contentgen task watch task-0000000000000001",
    "contentgen task watch --account 1",
    "contentgen task watch --all --from-now",
    "contentgen --output jsonl task watch -a 1 | jq -r 'select(.task.status == \"failed\").task.task_id'",
    "contentgen task watch -a 1 --resume-token TOKEN_OF_THE_LAST_EVENT",
)
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
    stream = session.client.watch(
        task_ids or None, account, resume_token, skip_present=from_now, patience=PATIENCE, first_patience=0.0
    )
    tasks: dict[str, Document] = {}
    with closing(stream):
        while (change := run(stream.next())) is not None:
            event = document(change)
            session.output.event(event, line)
            if task_ids:
                tasks[event["task"]["task_id"]] = event["task"]
                if len(tasks) == len(set(task_ids)) and _open(tasks.values()) is None:
                    break
    return Status.DONE if {task["status"] for task in tasks.values()} == {"completed"} else Status.FAILED


def line(change: Document) -> Text:
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


@command(
    "tail",
    "contentgen task tail task-0000000000000001",
    "contentgen --output jsonl task tail task-0000000000000001 | jq -rj 'select(.stderr).output'",
)
def tail(session: Session, task_id: TaskId) -> None:
    """Follow what the CLI prints in the attempt that runs now, until it has ended or Ctrl-C.

    First the end of what it has printed. Stdout and stderr come as they are printed; what was left out, because it was
    too much or too long ago, is counted on standard error. `contentgen task logs` shows attempts that have ended.
    """
    begun: bool | None = None  # whether the line that has begun is of stderr; None: none has begun
    with closing(session.client.tail_attempt(task_id, patience=PATIENCE, first_patience=0.0)) as stream:
        while (message := run(stream.next())) is not None:
            output = document(message)
            if not session.output.tables:
                session.output.event(output, lambda _: Text())
                continue
            text, notice = cells.lines(output["output"] or ""), _notice(output)
            if begun is not None and (notice or (text and begun is not output["stderr"])):
                session.output.raw("\n")
                begun = None
            if notice:
                session.output.note(notice)
            if text:
                session.output.raw(text)
                begun = None if text.endswith("\n") else output["stderr"]
    if begun is not None:
        session.output.raw("\n")


def _notice(output: Document) -> str:
    if output["worker_silent"]:
        return "the worker sends no output: it is of an older version, or not connected"
    return f"… {output['left_out_bytes']:,} bytes left out" if output["left_out_bytes"] else ""
