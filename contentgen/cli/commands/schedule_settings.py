"""`contentgen schedule create|update`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.documents import document
from contentgen.cli.options import OfAccount, ScheduleId
from contentgen.cli.submit_options import OF_A_SCHEDULE, with_options
from contentgen.client.documents import CATCH_UP, OVERLAP


def _option(help_: str, *names: str, **parameters: Any) -> Any:
    return typer.Option(*names, help=help_, show_default=False, **parameters)


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


def add_to(app: typer.Typer) -> None:
    """Adds the commands that create and update schedules to `app`."""
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


@with_options(OF_A_SCHEDULE)
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
    *,
    given: Mapping[str, Any],
) -> None:
    """Make a schedule: a task at each time of a cron line.

    Its first tick is the first one after now. A local time that clocks skip runs when they skip it, and one that comes
    twice runs once. If a task is refused, say because its queue is full, the schedule says why and continues.
    """
    settings = _settings(name=name, time_zone=time_zone, catch_up=catch_up, overlap=overlap, jitter=jitter)
    task = {"topic": topic, **given}
    schedule = session.client.create_schedule(session.account(account), cron, task, paused=paused, **settings)
    session.output.one(document(schedule), tables.schedule)


@with_options(OF_A_SCHEDULE, defaults=False)
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
    *,
    given: Mapping[str, Any],
) -> None:
    """Change a schedule: only what is given. Tasks that it submitted stay as they are.

    Another --cron, --time-zone or --jitter begins again: the next tick is the first one after now.
    """
    settings = _settings(
        cron=cron,
        name=name,
        time_zone=time_zone,
        catch_up=catch_up,
        overlap=overlap,
        jitter=jitter,
    )
    task = {**given} if topic is None else {"topic": topic, **given}
    if not (settings or task):
        raise typer.BadParameter("give what to change, such as --cron, --time-zone, --topic or --priority")
    schedule = session.client.update_schedule(schedule_id, task_changes=task, **settings)
    session.output.one(document(schedule), tables.schedule)


def _settings(catch_up: str | None, overlap: str | None, **settings: str | float | None) -> dict[str, Any]:
    """Returns those of a schedule's settings that are given."""
    options = {
        "catch_up": None if catch_up is None else values.states(CATCH_UP, [catch_up])[0],
        "overlap": None if overlap is None else values.states(OVERLAP, [overlap])[0],
        **settings,
    }
    return {name: value for name, value in options.items() if value is not None}
