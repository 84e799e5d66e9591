"""`contentgen schedule create|update|list|show|next|pause|resume|run|delete`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import typer

from contentgen.cli import lists, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.lists import each, write_list
from contentgen.cli.options import (
    OF_A_SCHEDULE,
    All,
    Limit,
    OfAccount,
    OnlyAccount,
    PageToken,
    ScheduleId,
    ScheduleIds,
    Yes,
    given_values,
    stands_for,
    with_options,
)
from contentgen.cli.output import document
from contentgen.cli.values import argument, option
from contentgen.client.documents import CATCH_UP, OVERLAP
from contentgen.submit_fields import ScheduledTask, TaskChanges

Topic = Annotated[str, argument("TOPIC", "What to write about.")]
NewTopic = Annotated[str | None, option("What to write about.")]
_CRON = "Minute, hour, day of month, month, day of week, such as '0 9 * * MON-FRI'."
Cron = Annotated[str, option(_CRON, metavar="LINE")]
CronLine = Annotated[str, argument("LINE", _CRON)]
NewCron = Annotated[str | None, option(_CRON, metavar="LINE")]
TimeZone = Annotated[str | None, option("IANA name, such as Asia/Shanghai. Default: UTC.", metavar="ZONE")]
_SETTINGS = {
    "name": Annotated[str | None, option("For people.")],
    "time_zone": TimeZone,
    "catch_up": Annotated[
        str | None,
        option(
            "Ticks that nobody ran in time: skip them, run one (the latest), or all (100 at most). Default: one.",
            metavar="skip|one|all",
        ),
    ],
    "overlap": Annotated[
        str | None,
        option(
            "While the last task has not ended: allow another one, or skip the tick. Default: allow.",
            metavar="allow|skip",
        ),
    ],
    "jitter": Annotated[
        float | None,
        option("How long after its tick a task may come, such as 5m.", parser=values.seconds, metavar="DURATION"),
    ],
}
Paused = Annotated[bool, option("Begin without ticks, until it is resumed.", "--paused")]


def _given_settings(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    """Returns those of the settings that are given."""
    settings = given_values(session, options)
    for name, enum in (("catch_up", CATCH_UP), ("overlap", OVERLAP)):
        if name in settings:
            (settings[name],) = values.states(enum, [settings[name]])
    return settings


command = Commands()
with_settings = stands_for("settings", _SETTINGS, _given_settings)


@command(
    "create",
    "contentgen schedule create --account 1 --cron '0 9 * * MON-FRI' \"News of the day\"",
    "contentgen schedule create -a 1 --cron '30 2 * * *' --time-zone Asia/Shanghai -p 8 --tone 专业 每日新闻",
    "contentgen schedule create -a 1 --cron '*/15 * * * *' --overlap skip --jitter 2m --catch-up skip Weather",
)
@with_options(OF_A_SCHEDULE)
@with_settings
def create(
    session: Session,
    topic: Topic,
    cron: Cron,
    account: OfAccount = None,
    *,
    settings: Mapping[str, Any],
    paused: Paused = False,
    given: Mapping[str, Any],
) -> None:
    """Make a schedule: a task at each time of a cron line.

    Its first tick is the first one after now. A local time that clocks skip runs when they skip it, and one that comes
    twice runs once. If a task is refused, say because its queue is full, the schedule says why and continues.
    """
    task = cast("ScheduledTask", {"topic": topic, **given})
    schedule = session.client.create_schedule(session.account(account), cron, task, paused=paused, **settings)
    session.output.one(document(schedule), tables.schedule)


@command(
    "update",
    "contentgen schedule update 3 --cron '0 8 * * *' --time-zone Europe/Berlin",
    'contentgen schedule update 3 --topic "News of the night" --priority 2',
)
@with_options(OF_A_SCHEDULE, defaults=False)
@with_settings
def update(
    session: Session,
    schedule_id: ScheduleId,
    topic: NewTopic = None,
    cron: NewCron = None,
    *,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    """Change a schedule: only what is given. Tasks that it submitted stay as they are.

    Another --cron, --time-zone or --jitter begins again: the next tick is the first one after now.
    """
    task = cast("TaskChanges", given if topic is None else {"topic": topic, **given})
    if cron is None and not (settings or task):
        raise typer.BadParameter("give what to change, such as --cron, --time-zone, --topic or --priority")
    schedule = session.client.update_schedule(schedule_id, cron=cron, task_changes=task, **settings)
    session.output.one(document(schedule), tables.schedule)


@command(
    "list",
    "contentgen schedule list",
    "contentgen schedule list --account 1 -o wide",
    "contentgen -o jsonl schedule list | jq 'select(.last_error) | .schedule_id'",
)
def list_(
    session: Session, account: OnlyAccount = None, limit: Limit = None, all_: All = False, page_token: PageToken = ""
) -> None:
    """List schedules by their id, with their next tick, and why their last one made no task."""
    pages = session.client.iter_schedules(session.accounts(account))
    write_list(session, pages, tables.SCHEDULES, "schedules", limit, all_, page_token, below=tables.last_error)


@command("show", "contentgen schedule show 3", "contentgen -o json schedule show 3 | jq .next_run_times")
def show(session: Session, schedule_id: ScheduleId) -> None:
    """Show a schedule: its next ticks, its last task, and what it submits."""
    session.output.one(document(session.client.get_schedule(schedule_id)), tables.schedule)


@command(
    "next",
    "contentgen schedule next '0 9 * * MON-FRI'",
    "contentgen schedule next '30 2 * * *' --time-zone Europe/Berlin",
)
def next_(session: Session, cron: CronLine, time_zone: TimeZone = None) -> None:
    """Show the next five ticks of a cron line, which no schedule need have."""
    session.output.one(document(session.client.get_next_runs(cron, time_zone=time_zone or "")), tables.next_runs)


@command("pause", "contentgen schedule pause 3 4")
def pause(session: Session, schedule_ids: ScheduleIds) -> int:
    """Stop the ticks of schedules, until they are resumed. Their tasks continue."""
    return each(session, schedule_ids, session.client.pause_schedule, "{schedule_id}  paused")


@command("resume", "contentgen schedule resume 3 4")
def resume(session: Session, schedule_ids: ScheduleIds) -> int:
    """Let paused schedules continue. Ticks of the time between are not caught up."""
    return each(session, schedule_ids, session.client.resume_schedule, "{schedule_id}  active")


@command("run", "contentgen schedule run 3", "id=$(contentgen schedule run 3)")
def run(session: Session, schedule_ids: ScheduleIds) -> int:
    """Submit the task of schedules now, beside their ticks, and print its id. Paused ones too."""
    return each(session, schedule_ids, session.client.run_schedule, "{task_id}")


@command("delete", "contentgen schedule delete 3", "contentgen schedule delete 3 4 --yes")
def delete(session: Session, schedule_ids: ScheduleIds, yes: Yes = False) -> int:
    """Delete schedules, after a prompt on a terminal. Their tasks stay."""
    delete_schedule = session.client.delete_schedule
    return lists.delete(session, "schedule", schedule_ids, delete_schedule, "{schedule_id}  deleted", yes=yes)
