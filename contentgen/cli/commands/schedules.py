"""`contentgen schedule list|show|pause|resume|run|delete`. Layer: commands."""

from __future__ import annotations

from typing import Any

import typer

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.commands.each import each
from contentgen.cli.commands.schedule_settings import CronLine, TimeZone
from contentgen.cli.documents import Document, document
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, ScheduleId, ScheduleIds, Yes


def add_to(app: typer.Typer) -> None:
    """Adds the commands that list, show, run, pause and delete schedules to `app`."""
    command(
        app,
        "list",
        "contentgen schedule list",
        "contentgen schedule list --account 1 -o wide",
        "contentgen -o jsonl schedule list | jq 'select(.last_error) | .schedule_id'",
    )(list_)
    command(app, "show", "contentgen schedule show 3", "contentgen -o json schedule show 3 | jq .next_run_times")(show)
    command(
        app,
        "next",
        "contentgen schedule next '0 9 * * MON-FRI'",
        "contentgen schedule next '30 2 * * *' --time-zone Europe/Berlin",
    )(next_)
    command(app, "pause", "contentgen schedule pause 3 4")(pause)
    command(app, "resume", "contentgen schedule resume 3 4")(resume)
    command(app, "run", "contentgen schedule run 3", "id=$(contentgen schedule run 3)")(run)
    command(app, "delete", "contentgen schedule delete 3", "contentgen schedule delete 3 4 --yes")(delete)


def list_(
    session: Session,
    account: OnlyAccount = None,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List schedules by their id, with their next tick, and why their last one made no task."""
    pages = session.client.iter_schedules(session.accounts(account))
    listing = Listing(session, pages, limit=limit, all_=all_, page_token=page_token)
    listing.write(tables.SCHEDULES, "schedules", tables.schedule_error)


def show(session: Session, schedule_id: ScheduleId) -> None:
    """Show a schedule: its next ticks, its last task, and what it submits."""
    session.output.one(document(session.client.get_schedule(schedule_id)), tables.schedule)


def next_(session: Session, cron: CronLine, time_zone: TimeZone = None) -> None:
    """Show the next five ticks of a cron line, which no schedule need have."""
    session.output.one(document(session.client.get_next_runs(cron, time_zone=time_zone or "")), tables.next_runs)


def pause(session: Session, schedule_ids: ScheduleIds) -> int:
    """Stop the ticks of schedules, until they are resumed. Their tasks continue."""

    def stop(schedule_id: int) -> Document:
        return document(session.client.pause_schedule(schedule_id))

    return each(session, schedule_ids, stop, lambda schedule: f"{schedule['schedule_id']}  paused")


def resume(session: Session, schedule_ids: ScheduleIds) -> int:
    """Let paused schedules continue. Ticks of the time between are not caught up."""

    def go_on(schedule_id: int) -> Document:
        return document(session.client.resume_schedule(schedule_id))

    return each(session, schedule_ids, go_on, lambda schedule: f"{schedule['schedule_id']}  active")


def run(session: Session, schedule_ids: ScheduleIds) -> int:
    """Submit the task of schedules now, beside their ticks, and print its id. Paused ones too."""

    def submit(schedule_id: int) -> Document:
        return document(session.client.run_schedule(schedule_id))

    return each(session, schedule_ids, submit, lambda task: str(task["task_id"]))


def delete(session: Session, schedule_ids: ScheduleIds, yes: Yes = False) -> int:
    """Delete schedules, after a prompt on a terminal. Their tasks stay."""
    subject = f"schedule {schedule_ids[0]}" if len(schedule_ids) == 1 else f"{len(schedule_ids)} schedules"
    session.confirm(f"Delete {subject}?", yes=yes)

    def remove(schedule_id: int) -> dict[str, Any]:
        session.client.delete_schedule(schedule_id)
        return {"schedule_id": schedule_id, "deleted": True}

    return each(session, schedule_ids, remove, lambda schedule: f"{schedule['schedule_id']}  deleted")
