"""`contentgen worker list|drain|undrain|resize`, `contentgen dispatch status|pause|resume`, `contentgen maintenance
on|off`. Layer: commands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.completion import worker_ids
from contentgen.cli.connection import Connection
from contentgen.cli.options import account_option
from contentgen.cli.output import Document, document, fields, write_line
from contentgen.cli.values import argument, option
from contentgen.client.client import AsyncMethods
from contentgen.client.transport import run
from contentgen.doctor import work
from contentgen.doctor.findings import paused

WorkerId = Annotated[str, argument("WORKER_ID", "The worker, as `worker list` names it.", autocompletion=worker_ids)]
Slots = Annotated[int, argument("SLOTS", "CLIs at once.", min=1, max=1_000)]

command, dispatch_command, maintenance_command = Commands(), Commands(), Commands()


@command(
    "list",
    "contentgen worker list",
    "contentgen worker list -o wide",
    "contentgen -o jsonl worker list | jq -r 'select(.unhealthy) | .worker_id + \": \" + .last_error'",
)
def list_(session: Session) -> None:
    """List the workers of the last hour, with what they run and the state of their CLIs."""
    pool = document(session.client.get_worker_pool_status())
    session.output.many(pool["workers"], tables.WORKERS, "workers", tables.last_error)
    if session.output.tables:
        text = f"\n{slots_text(pool)}, {pool['total_queue_size']:,} tasks pending"
        write_line(session.output.out, Text(text))


def slots_text(pool: Document) -> str:
    """Returns how many workers are connected, and how many of their slots are busy."""
    connected = [worker for worker in pool["workers"] if worker["running"] or worker["connected"]]
    busy, slots = sum(worker["busy_slots"] for worker in connected), sum(worker["slots"] for worker in connected)
    return f"{pool['num_workers']} connected, {busy} of {slots} slots busy"


@command("drain", "contentgen worker drain host-1-3f2a")
def drain(session: Session, worker_id: WorkerId) -> None:
    """Let a worker finish what runs, release the rest, and take nothing new.

    It answers at once: `contentgen worker list` shows when no slot is busy any more. The worker stays connected and
    idle, until `contentgen worker undrain` or until it is restarted.
    """
    session.output.one(document(session.client.drain_worker(worker_id)), tables.worker)


@command("undrain", "contentgen worker undrain host-1-3f2a")
def undrain(session: Session, worker_id: WorkerId) -> None:
    """Let a drained worker take tasks again.

    It answers at once: the worker follows within a heartbeat. A worker that is being stopped continues draining.
    """
    session.output.one(document(session.client.undrain_worker(worker_id)), tables.worker)


@command("resize", "contentgen worker resize host-1-3f2a 8")
def resize(session: Session, worker_id: WorkerId, slots: Slots) -> None:
    """Change how many CLIs a worker runs at once, until it is restarted.

    It answers at once: the worker follows within a heartbeat, and running tasks above a smaller number continue.
    """
    session.output.one(document(session.client.resize_worker(worker_id, slots)), tables.worker)


Account = Annotated[int | None, account_option("The switch of this account.")]
Everything = Annotated[bool, option("The switch of everything.", "--all")]


@dispatch_command("status", "contentgen dispatch status", "contentgen -o json dispatch status | jq .all_paused")
def status(session: Session) -> None:
    """Show whether dispatch is paused, of everything and of accounts, and whether new tasks are taken."""
    session.output.one(document(session.client.get_dispatch_status()), _status)


def _status(console: Console, dispatch: Document) -> None:
    everything = Text("paused", "yellow") if dispatch["all_paused"] else Text("on", "green")
    accounts = ", ".join(map(str, dispatch["paused_account_ids"])) or "none"
    maintenance = dispatch["maintenance"]
    until = f"refused until {cells.local_time(maintenance['until_time'])}" if maintenance else "taken"
    fields(console, [("everything", everything), ("paused accounts", accounts), ("new tasks", until)])


@dispatch_command("pause", "contentgen dispatch pause --account 1", "contentgen dispatch pause --all")
def pause(session: Session, account: Account = None, all_: Everything = False) -> None:
    """Dispatch no more tasks, of an account or of everything, until `resume`.

    Running tasks continue, and submits are taken. The two switches are separate: a task waits while either is on. It
    lasts over restarts.
    """
    _switch(session, account, all_, session.client.pause_dispatch, paused=True)


@dispatch_command("resume", "contentgen dispatch resume --account 1", "contentgen dispatch resume --all")
def resume(session: Session, account: Account = None, all_: Everything = False) -> None:
    """Dispatch tasks again. It takes back the pause of the same switch only."""
    _switch(session, account, all_, session.client.resume_dispatch, paused=False)


def _switch(
    session: Session, account: int | None, everything: bool, call: Callable[[int | None], None], *, paused: bool
) -> None:
    """Calls for the account, or for everything, which nobody should name by accident."""
    if (account is not None) == everything:
        raise typer.BadParameter("give either --account ID or --all")
    call(account)
    subject = f"account {account}" if account else "everything"
    text = f"dispatch of {subject} is {'paused' if paused else 'on again'}"
    session.output.text(text, {"account_id": account or None, "paused": paused})


For = Annotated[str, option("How long, such as 10m; at most 7d.", "--for", metavar="DURATION")]
Reason = Annotated[str, option("Why: shown to those whose submits are refused.")]


@maintenance_command("on", "contentgen maintenance on --for 10m --reason 'new disks'")
def maintenance_on(session: Session, for_: For, reason: Reason = "") -> None:
    """Take no new tasks for a while: submits are refused, schedules wait, and all else goes on.

    It ends by itself, and lasts over restarts. Repeated, it replaces what was said before.
    """
    end = datetime.now(UTC) + timedelta(seconds=values.seconds(for_))
    session.client.set_maintenance(end, reason=reason)
    until = end.isoformat()
    session.output.text(f"no new tasks are taken until {cells.local_time(until)}", {"until_time": until})


@maintenance_command("off", "contentgen maintenance off")
def maintenance_off(session: Session) -> None:
    """Take new tasks again, at once."""
    session.client.set_maintenance()
    session.output.text("new tasks are taken", {"until_time": None})


def pauses(connection: Connection) -> Document:
    """Returns what is paused: nothing if the scheduler's version can't tell."""
    return dict(run(work.pauses(AsyncMethods(connection.transport))))


def paused_text(dispatch: Document) -> str:
    """Names what is paused, as `everything; accounts 1, 3`; empty if nothing is."""
    return str(paused(dispatch["all_paused"], dispatch["paused_account_ids"]))
