"""`contentgen worker list|drain|undrain|resize`. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.completion import worker_ids
from contentgen.cli.documents import document
from contentgen.cli.output import write_line

WorkerId = Annotated[
    str,
    typer.Argument(
        metavar="WORKER_ID",
        help="The worker, as `worker list` names it.",
        show_default=False,
        autocompletion=worker_ids,
    ),
]
Slots = Annotated[int, typer.Argument(metavar="SLOTS", min=1, max=1_000, help="CLIs at once.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of workers to `app`."""
    command(
        app,
        "list",
        "contentgen worker list",
        "contentgen worker list -o wide",
        "contentgen -o jsonl worker list | jq -r 'select(.unhealthy) | .worker_id + \": \" + .last_error'",
    )(list_)
    command(app, "drain", "contentgen worker drain host-1-3f2a")(drain)
    command(app, "undrain", "contentgen worker undrain host-1-3f2a")(undrain)
    command(app, "resize", "contentgen worker resize host-1-3f2a 8")(resize)


def list_(session: Session) -> None:
    """List the workers of the last hour, with what they run and the state of their CLIs."""
    pool = session.client.get_worker_pool_status()
    session.output.many((document(worker) for worker in pool.workers), tables.WORKERS, "workers", tables.worker_error)
    if session.output.tables:
        connected = [worker for worker in pool.workers if worker.running or worker.connected]
        busy, slots = sum(worker.busy_slots for worker in connected), sum(worker.slots for worker in connected)
        text = f"\n{pool.num_workers} connected, {busy} of {slots} slots busy, {pool.total_queue_size:,} tasks pending"
        write_line(session.output.out, Text(text))


def drain(session: Session, worker_id: WorkerId) -> None:
    """Let a worker finish what runs, release the rest, and take nothing new.

    It answers at once: `contentgen worker list` shows when no slot is busy any more. The worker stays connected and
    idle, until `contentgen worker undrain` or until it is restarted.
    """
    session.output.one(document(session.client.drain_worker(worker_id)), tables.worker)


def undrain(session: Session, worker_id: WorkerId) -> None:
    """Let a drained worker take tasks again.

    It answers at once: the worker follows within a heartbeat. A worker that is being stopped continues draining.
    """
    session.output.one(document(session.client.undrain_worker(worker_id)), tables.worker)


def resize(session: Session, worker_id: WorkerId, slots: Slots) -> None:
    """Change how many CLIs a worker runs at once, until it is restarted.

    It answers at once: the worker follows within a heartbeat, and running tasks above a smaller number continue.
    """
    session.output.one(document(session.client.resize_worker(worker_id, slots)), tables.worker)
