"""`contentgen schedule create|update`. Layer: commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.documents import document
from contentgen.cli.options import OfAccount, ScheduleId
from contentgen.client import fields
from contentgen.client.documents import CATCH_UP, OVERLAP
from contentgen.v1 import schedule_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb


def _option(help_: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_, show_default=False, **more)


Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="What to write about.", show_default=False)]
NewTopic = Annotated[str | None, _option("What to write about.")]
_CRON = "Minute, hour, day of month, month, day of week, such as '0 9 * * MON-FRI'."
Cron = Annotated[str, _option(_CRON, metavar="LINE")]
CronLine = Annotated[str, typer.Argument(metavar="LINE", help=_CRON, show_default=False)]
NewCron = Annotated[str | None, _option(_CRON, metavar="LINE")]
Name = Annotated[str | None, _option("For people.")]
TimeZone = Annotated[str | None, _option("IANA name, such as Asia/Shanghai. Default: UTC.", metavar="ZONE")]
MissedTicks = Annotated[
    str | None,
    _option(
        "Ticks that nobody ran in time: skip them, run one (the latest), or all (100 at most). Default: one.",
        metavar="skip|one|all",
    ),
]
LastTask = Annotated[
    str | None,
    _option(
        "While the last task has not ended: allow another one, or skip the tick. Default: allow.",
        metavar="allow|skip",
    ),
]
Jitter = Annotated[
    float | None,
    _option("How long after its tick a task may come, such as 5m.", parser=values.seconds, metavar="DURATION"),
]
Paused = Annotated[bool, _option("Begin without ticks, until it is resumed.", "--paused")]
Keywords = Annotated[str | None, _option("Keywords by comma.")]
Category = Annotated[str | None, _option("Category, kept with the content.")]
Requirements = Annotated[str | None, _option("What the text must follow.")]
Tone = Annotated[str | None, _option("Tone of the text.")]
Priority = Annotated[int | None, _option("10 goes first. Default: 5.", "--priority", "-p", min=1, max=10)]
AutoApprove = Annotated[
    bool | None, _option("Whether the content skips the review.", "--auto-approve/--no-auto-approve")
]
MaxRetries = Annotated[int | None, _option("Retries after failures. Default: 3.", min=0, max=100)]
RunLimit = Annotated[
    float | None,
    _option("How long one attempt may take. Default: 30m.", "--timeout", parser=values.seconds, metavar="DURATION"),
]
Labels = Annotated[list[str] | None, _option("A label; several times.", "--label", "-l", metavar="KEY=VALUE")]
CreatorOptions = Annotated[
    list[str] | None, _option("An extra option for the CLI.", "--creator-option", metavar="KEY=VALUE")
]


def add_to(app: typer.Typer) -> None:
    """Both."""
    command(
        app,
        "create",
        "contentgen schedule create --account 1 --cron '0 9 * * MON-FRI' \"News of the day\"",
        "contentgen schedule create -a 1 --cron '30 2 * * *' --time-zone Asia/Shanghai -p 8 --tone 专业 每日新闻",
        "contentgen schedule create -a 1 --cron '*/15 * * * *' --overlap skip --jitter 2m --catch-up skip Weather",
    )(create)
    command(
        app,
        "update",
        "contentgen schedule update 3 --cron '0 8 * * *' --time-zone Europe/Berlin",
        'contentgen schedule update 3 --topic "News of the night" --priority 2',
    )(update)


def create(
    session: Session,
    topic: Topic,
    cron: Cron,
    account: OfAccount = None,
    name: Name = None,
    time_zone: TimeZone = None,
    catch_up: MissedTicks = None,
    overlap: LastTask = None,
    jitter: Jitter = None,
    paused: Paused = False,
    keywords: Keywords = None,
    category: Category = None,
    requirements: Requirements = None,
    tone: Tone = None,
    priority: Priority = None,
    auto_approve: AutoApprove = None,
    max_retries: MaxRetries = None,
    timeout: RunLimit = None,
    label: Labels = None,
    creator_option: CreatorOptions = None,
) -> None:
    """Make a schedule: a task at each time of a cron line.

    Its first tick is the first one after now. A local time that clocks skip runs when they skip it, and one that comes
    twice runs once. If a task is refused, say because its queue is full, the schedule says why and goes on.
    """
    task = _task(
        topic=topic,
        keywords=keywords,
        category=category,
        requirements=requirements,
        tone=tone,
        priority=priority,
        auto_approve=auto_approve,
        max_retries=max_retries,
        timeout=fields.duration(timeout),
        labels=values.pairs(label),
        creator_options=values.pairs(creator_option),
    )
    given = _given(name=name, time_zone=time_zone, catch_up=catch_up, overlap=overlap, jitter=fields.duration(jitter))
    request = pb.CreateScheduleRequest(
        account_id=session.account(account), cron=cron, template=task, paused=paused, **given
    )
    made = session.connection.call(session.connection.stubs.schedules.CreateSchedule, request).schedule
    session.output.one(document(made), tables.schedule)


def update(
    session: Session,
    schedule_id: ScheduleId,
    topic: NewTopic = None,
    cron: NewCron = None,
    name: Name = None,
    time_zone: TimeZone = None,
    catch_up: MissedTicks = None,
    overlap: LastTask = None,
    jitter: Jitter = None,
    keywords: Keywords = None,
    category: Category = None,
    requirements: Requirements = None,
    tone: Tone = None,
    priority: Priority = None,
    auto_approve: AutoApprove = None,
    max_retries: MaxRetries = None,
    timeout: RunLimit = None,
    label: Labels = None,
    creator_option: CreatorOptions = None,
) -> None:
    """Change a schedule: only what is given. Tasks that it submitted stay as they are.

    Another --cron, --time-zone or --jitter begins anew: the next tick is the first one after now.
    """
    task = _task(
        topic=topic,
        keywords=keywords,
        category=category,
        requirements=requirements,
        tone=tone,
        priority=priority,
        auto_approve=auto_approve,
        max_retries=max_retries,
        timeout=fields.duration(timeout),
        labels=values.pairs(label),
        creator_options=values.pairs(creator_option),
    )
    given = _given(
        cron=cron,
        name=name,
        time_zone=time_zone,
        catch_up=catch_up,
        overlap=overlap,
        jitter=fields.duration(jitter),
    )
    if task.ListFields():
        given["template"] = _merged(session, schedule_id, task)
    if not given:
        raise typer.BadParameter("give what to change, such as --cron, --time-zone, --topic or --priority")
    schedule = pb.Schedule(schedule_id=schedule_id, **given)
    request = pb.UpdateScheduleRequest(schedule=schedule, update_mask=FieldMask(paths=list(given)))
    changed = session.connection.call(session.connection.stubs.schedules.UpdateSchedule, request).schedule
    session.output.one(document(changed), tables.schedule)


def _task(**given: Any) -> task_pb.SubmitTaskRequest:
    """What is given of a submit."""
    return task_pb.SubmitTaskRequest(**{name: value for name, value in given.items() if value is not None})


def _given(catch_up: str | None, overlap: str | None, **rest: str | Duration | None) -> dict[str, Any]:
    """What is given of a schedule's settings."""
    given = {
        "catch_up": None if catch_up is None else values.states(CATCH_UP, [catch_up])[0],
        "overlap": None if overlap is None else values.states(OVERLAP, [overlap])[0],
        **rest,
    }
    return {name: value for name, value in given.items() if value is not None}


def _merged(session: Session, schedule_id: int, change: task_pb.SubmitTaskRequest) -> task_pb.SubmitTaskRequest:
    """The present template with these changes; labels or options that are given replace all of those."""
    request = pb.GetScheduleRequest(schedule_id=schedule_id)
    task = session.connection.call(session.connection.stubs.schedules.GetSchedule, request).schedule.template
    for field, _ in change.ListFields():
        task.ClearField(field.name)  # type: ignore[arg-type] # a field of this message
    task.MergeFrom(change)
    return task
