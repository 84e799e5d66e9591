"""`contentgen task update|cancel|retry|cleanup`. Layer: commands.

All tasks that match are moved in steps: they are counted, a prompt follows, and a bar shows how far it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer
from rich.text import Text

from contentgen.cli import cells, completion, tables
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.task_filter import Selection, selects
from contentgen.cli.failures import Status
from contentgen.cli.lists import each
from contentgen.cli.options import CHANGEABLE, Limit, TaskId, Yes, with_options
from contentgen.cli.output import Document, document
from contentgen.cli.progress import counting
from contentgen.cli.values import argument, option

Unschedule = Annotated[bool, option("Take its time away: it may run at once.", "--unschedule")]
Unexpire = Annotated[bool, option("Let it wait for as long as it takes.", "--unexpire")]

command = Commands()


@command(
    "update",
    "contentgen task update task-0000000000000001 --priority 9",
    'contentgen task update task-0000000000000001 --topic "Working well from home" --tone 专业',
    "contentgen task update task-0000000000000001 --schedule-time +2h --expire-time +1d",
    "contentgen task update task-0000000000000001 --unschedule",
)
@with_options(CHANGEABLE, defaults=False)
def update(
    session: Session,
    task_id: TaskId,
    *,
    given: Mapping[str, Any],
    unschedule: Unschedule = False,
    unexpire: Unexpire = False,
) -> None:
    """Change a pending task: only what is given.

    It keeps its place in the order unless its priority or its schedule changes. The labels given replace all that it
    has; an empty text takes that text away.
    """
    if unschedule and "schedule_time" in given:
        raise typer.BadParameter("--unschedule and --schedule-time contradict each other")
    if unexpire and "expire_time" in given:
        raise typer.BadParameter("--unexpire and --expire-time contradict each other")
    if not (given or unschedule or unexpire):
        raise typer.BadParameter("give what to change, such as --priority or --topic")
    task = session.client.update_task(task_id, **given, unschedule=unschedule, unexpire=unexpire)
    session.output.one(document(task), tables.task)


Force = Annotated[bool, option("Also where a worker holds it; what runs is killed.", "--force")]
Reset = Annotated[bool, option("Allow all retries again.", "--reset-retry-count")]
AllMatching = Annotated[bool, option("All that match the options, instead of named ones.", "--all")]
SomeTasks = Annotated[list[str] | None, argument("TASK_ID", "The tasks.", autocompletion=completion.task_ids)]
Days = Annotated[int, typer.Option(min=0, help="Tasks that ended more than this many days ago; 0: all that ended.")]
DryRun = Annotated[bool, option("Only count them.", "--dry-run")]


@command(
    "cancel",
    "contentgen task cancel task-0000000000000001",
    "contentgen task cancel --force task-0000000000000001 task-0000000000000002",
    "contentgen task cancel --all --label campaign=spring --dry-run",
    "contentgen task cancel --all --account 1 --topic 咖啡 --since 2026-01-31",
)
@selects
def cancel(
    session: Session,
    task_ids: SomeTasks = None,
    force: Force = False,
    all_: AllMatching = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    *,
    selection: Selection,
) -> int:
    """Cancel tasks. One that a worker holds is cancelled by --force only.

    With --all: all that match, the oldest first, after a prompt on a terminal.
    """
    _check_all(task_ids, all_=all_, given=selection.given or bool(limit) or dry_run)
    if task_ids:
        return each(session, task_ids, partial(session.client.cancel_task, force=force), _line)
    call = partial(session.client.bulk_cancel_tasks, **selection.filter, force=force)
    move = BulkMove(call, "cancelled", "cancelled_count")
    return move.run(session, "Cancel {}?", limit=limit, dry_run=dry_run, yes=yes)


@command(
    "retry",
    "contentgen task retry task-0000000000000001",
    "contentgen task retry --reset-retry-count task-0000000000000001",
    "contentgen task retry --all --account 1 --status timeout",
    "contentgen task retry --all --reason CREATOR_TIMEOUT --dry-run",
    "contentgen task retry --all --reset-retry-count --since 2026-01-31",
)
@selects
def retry(
    session: Session,
    task_ids: SomeTasks = None,
    reset_retry_count: Reset = False,
    all_: AllMatching = False,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    *,
    selection: Selection,
) -> int:
    """Put failed and timed out tasks back to pending.

    This ends the wait of a named task that waits for its next attempt. With --all: all that match and have retries
    left, or with --reset-retry-count all that match, the oldest first, after a prompt on a terminal. Retries may cost
    money.
    """
    _check_all(task_ids, all_=all_, given=selection.given or bool(limit) or dry_run)
    if task_ids:
        return each(session, task_ids, partial(session.client.retry_task, reset_retry_count=reset_retry_count), _line)
    call = partial(session.client.bulk_retry_tasks, **selection.filter, reset_retry_count=reset_retry_count)
    move = BulkMove(call, "put back to pending", "retried_count")
    return move.run(session, "Run {} again?", limit=limit, dry_run=dry_run, yes=yes)


def _check_all(task_ids: Sequence[str] | None, *, all_: bool, given: bool) -> None:
    if bool(task_ids) == all_:
        raise typer.BadParameter("give either tasks or --all")
    if given and not all_:
        raise typer.BadParameter("what selects tasks, --limit and --dry-run go with --all")


@command(
    "cleanup",
    "contentgen task cleanup --dry-run",
    "contentgen task cleanup --days 30",
    "contentgen task cleanup --days 0 --account 1 --status cancelled",
)
@selects
def cleanup(
    session: Session,
    days: Days = 7,
    limit: Limit = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    *,
    selection: Selection,
) -> int:
    """Delete ended tasks with their history. Contents and the publish pool stay.

    All that match, the oldest first; on a terminal it prompts first.
    """
    move = BulkMove(partial(session.client.cleanup_tasks, **selection.filter, days=days), "deleted", "deleted_count")
    question = f"Delete {{}} that ended more than {days} days ago, with all history?"
    return move.run(session, question, limit=limit, dry_run=dry_run, yes=yes)


def _line(task: Document) -> Text:
    return Text.assemble(f"{task['task_id']}  ", cells.state(task["status"]))


STEP = 5_000
"""Tasks of one call: it takes a second or two, and another one follows."""


@dataclass(frozen=True, slots=True)
class BulkMove:
    """A call that moves many tasks, and the words for it."""

    call: Callable[..., int]
    """A method of the client, which takes `limit` and `dry_run`."""
    done: str
    """What is said of the tasks then, such as `cancelled`."""
    count: str
    """The name of their number in JSON."""

    def run(self, session: Session, question: str, *, limit: int | None, dry_run: bool, yes: bool) -> int:
        """Moves up to `limit` tasks (None: all), after a prompt on a terminal, where `{}` is how many tasks."""
        match_count = self.call(dry_run=True)
        total = match_count if limit is None else min(match_count, limit)
        if dry_run:
            session.output.text(f"would be {self.done}: {total:,}", {self.count: total, "dry_run": True})
            return Status.DONE
        if total:
            session.confirm(question.format("1 task" if total == 1 else f"{total:,} tasks"), yes=yes)
        moved_count = self._move(session, total)
        session.output.text(f"{self.done}: {moved_count:,}", {self.count: moved_count, "dry_run": False})
        return Status.DONE

    def _move(self, session: Session, total: int) -> int:
        """Moves so many in steps, or fewer if no more are left; returns how many."""
        moved_count = 0
        err = session.output.err
        with counting(err, self.done, total) as show:
            while moved_count < total:
                step = min(STEP, total - moved_count)
                changed_count = self.call(limit=step)
                moved_count += changed_count
                show(moved_count)
                if changed_count < step:
                    break
                if moved_count < total and not err.is_terminal:
                    session.output.note(f"{self.done}: {moved_count:,} of {total:,}")
        return moved_count
