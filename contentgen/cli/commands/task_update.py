"""`contentgen task update`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.documents import document
from contentgen.cli.options import TaskId
from contentgen.cli.submit_options import CHANGEABLE, with_options

Unschedule = Annotated[bool, typer.Option("--unschedule", help="Take its time away: it may run at once.")]
Unexpire = Annotated[bool, typer.Option("--unexpire", help="Let it wait for as long as it takes.")]


def add_to(app: typer.Typer) -> None:
    """Adds the command `update` to `app`."""
    command(
        app,
        "update",
        "contentgen task update task-0000000000000001 --priority 9",
        'contentgen task update task-0000000000000001 --topic "Working well from home" --tone 专业',
        "contentgen task update task-0000000000000001 --schedule-time +2h --expire-time +1d",
        "contentgen task update task-0000000000000001 --unschedule",
    )(update)


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
