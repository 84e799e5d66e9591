"""One frame of `top`, as lines and as a document. Layer: inside top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.text import Text

from contentgen.cli import cells, tables
from contentgen.cli.dispatching import paused_text
from contentgen.cli.documents import Document
from contentgen.cli.output import Below, Column, chosen, table_lines
from contentgen.cli.top.readings import Rates, Reading

_RUNNING = (
    Column("TASK", lambda task: task["task_id"]),
    Column("ACCOUNT", lambda task: str(task["account_id"]), right=True, wide=True),
    Column("STATUS", cells.state_and_progress),
    Column("ATTEMPT", lambda task: str(task["attempt"]), right=True),
    Column("FOR", lambda task: cells.brief_age(task["start_time"] or task["submit_time"]), right=True),
    Column("WORKER", lambda task: cells.line(task["worker_id"]), wide=True),
    Column("STEP", lambda task: cells.line((task["progress"] or {}).get("step")), wide=True),
    Column("TOPIC", lambda task: cells.line(task["topic"])),
)
_FAILURES = (
    Column("TASK", lambda task: task["task_id"]),
    Column("ACCOUNT", lambda task: str(task["account_id"]), right=True, wide=True),
    Column("STATUS", lambda task: cells.state(task["status"])),
    Column("ATTEMPT", lambda task: str(task["attempt"]), right=True),
    Column("AGE", lambda task: cells.brief_age(task["end_time"]), right=True),
    Column("TOPIC", lambda task: cells.line(task["topic"])),
)


def frame(
    reading: Reading, speed: Rates | None, rows: int, width: int | None = None, *, wide: bool = False
) -> Iterator[Text]:
    """Yields the lines of one frame.

    Args:
        reading: what is shown.
        speed: None where there is nothing to compare with yet.
        rows: of tasks, running and failed each.
        width: where reasons are broken; None: nowhere.
        wide: whether tables have more columns than 80 characters hold.
    """
    yield _line("queue", _queue(reading))
    yield _line("rates", _rates(speed))
    yield _line("workers", _pool(reading.pool))
    if paused := paused_text(reading.dispatch):
        yield _line("paused", paused).append(" (`contentgen dispatch resume`)", "dim")
    for title, documents, columns, below in (
        ("", reading.pool["workers"], tables.WORKERS, tables.worker_error),
        ("running", reading.running, _RUNNING, None),
        ("recent failures", reading.failures, _FAILURES, cells.error),
    ):
        yield from _section(title, documents[:rows], chosen(columns, wide=wide), below, width)
        if len(documents) > rows:
            yield Text(f"… and {len(documents) - rows} more", "dim")


def document(reading: Reading, speed: Rates | None) -> Document:
    """Returns the same reading as a document for programs."""
    return {
        "time": reading.time.isoformat(),
        **reading.stats,
        "rates": None if speed is None else asdict(speed),
        "worker_pool": reading.pool,
        "dispatch": reading.dispatch,
        "running": reading.running,
        "recent_failures": reading.failures,
    }


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<9}", "bold"), text)


def _queue(reading: Reading) -> str:
    counts = reading.stats["counts"]
    oldest = cells.duration(reading.stats["oldest_pending_age"])
    waits = f", the oldest for {oldest}" if oldest else ""
    return (
        f"{counts['pending']:,} pending ({reading.stats['queue_depth']:,} due{waits}), "
        f"{counts['submitted']:,} submitted, {counts['processing']:,} processing"
    )


def _rates(speed: Rates | None) -> str:
    if speed is None:
        return "…"
    rates = f"{speed.submitted:.1f}/s submitted, {speed.completed:.1f}/s completed, {speed.failed:.1f}/s failed"
    return f"{rates} (over {cells.duration(speed.over)})"


def _pool(pool: Document) -> str:
    connected = [worker for worker in pool["workers"] if worker["running"] or worker["connected"]]
    busy, slots = sum(worker["busy_slots"] for worker in connected), sum(worker["slots"] for worker in connected)
    return f"{pool['num_workers']} connected, {busy} of {slots} slots busy"


def _section(
    title: str, documents: Sequence[Document], columns: Sequence[Column], below: Below | None, width: int | None
) -> Iterator[Text]:
    if not documents:
        return
    yield Text()
    if title:
        yield Text(title, "bold")
    yield from table_lines(documents, columns, below, width)
