"""`contentgen task update`. Layer: commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.commands.schedule_settings import (
    AutoApprove,
    Category,
    Keywords,
    MaxRetries,
    NewTopic,
    Requirements,
    Tone,
)
from contentgen.cli.commands.submit import ExpireTime, Labels, ScheduleTime
from contentgen.cli.documents import document
from contentgen.cli.options import TaskId
from contentgen.client import fields
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

Priority = Annotated[
    int | None, typer.Option("--priority", "-p", min=1, max=10, help="10 goes first.", show_default=False)
]
AutoRetry = Annotated[
    bool | None,
    typer.Option(
        "--auto-retry/--no-auto-retry", help="Whether failures are retried by themselves.", show_default=False
    ),
]
RunLimit = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=values.seconds,
        metavar="DURATION",
        help="How long one attempt may take, such as 90s or 2h.",
        show_default=False,
    ),
]
Unschedule = Annotated[bool, typer.Option("--unschedule", help="Take its time away: it may run at once.")]
Unexpire = Annotated[bool, typer.Option("--unexpire", help="Let it wait for as long as it takes.")]


def add_to(app: typer.Typer) -> None:
    """`update`."""
    command(
        app,
        "update",
        "contentgen task update task-0000000000000001 --priority 9",
        'contentgen task update task-0000000000000001 --topic "Working well from home" --tone 专业',
        "contentgen task update task-0000000000000001 --schedule-time +2h --expire-time +1d",
        "contentgen task update task-0000000000000001 --unschedule",
    )(update)


def update(
    session: Session,
    task_id: TaskId,
    topic: NewTopic = None,
    keywords: Keywords = None,
    category: Category = None,
    requirements: Requirements = None,
    tone: Tone = None,
    priority: Priority = None,
    auto_approve: AutoApprove = None,
    max_retries: MaxRetries = None,
    auto_retry: AutoRetry = None,
    timeout: RunLimit = None,
    schedule_time: ScheduleTime = None,
    unschedule: Unschedule = False,
    expire_time: ExpireTime = None,
    unexpire: Unexpire = False,
    label: Labels = None,
) -> None:
    """Change a pending task: only what is given.

    It keeps its place in the order unless its priority or its schedule changes. The labels given replace all that it
    has; an empty text takes that text away.
    """
    if unschedule and schedule_time is not None:
        raise typer.BadParameter("--unschedule and --schedule-time contradict each other")
    if unexpire and expire_time is not None:
        raise typer.BadParameter("--unexpire and --expire-time contradict each other")
    given: dict[str, Any] = {
        "topic": topic,
        "keywords": keywords,
        "category": category,
        "requirements": requirements,
        "tone": tone,
        "priority": priority,
        "auto_approve": auto_approve,
        "max_retries": max_retries,
        "auto_retry": auto_retry,
        "timeout": fields.duration(timeout),
        "schedule_time": values.moment(schedule_time),
        "expire_time": values.moment(expire_time),
        "labels": values.pairs(label) or None,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    paths = [*changed, *["schedule_time"] * unschedule, *["expire_time"] * unexpire]
    if not paths:
        raise typer.BadParameter("give what to change, such as --priority or --topic")
    request = pb.UpdateTaskRequest(task=task_pb2.Task(task_id=task_id, **changed), update_mask=FieldMask(paths=paths))
    connection = session.connection
    session.output.one(document(connection.call(connection.stubs.tasks.UpdateTask, request).task), tables.task)
