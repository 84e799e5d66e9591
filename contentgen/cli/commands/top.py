"""`contentgen top`: the queue, the workers and what they run; reads, draws, waits, and reads again. Layer: commands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.workers import paused_text, pauses, slots_text
from contentgen.cli.connection import Connection
from contentgen.cli.failures import error_line
from contentgen.cli.keys import Key, keys
from contentgen.cli.options import OnlyAccount
from contentgen.cli.output import Column, Document, Format, chosen, document, table_lines, write_line
from contentgen.cli.values import option
from contentgen.client.errors import DeadlineExceeded, RequestError, Unavailable
from contentgen.client.results import TaskStatus
from contentgen.client.transport import run

Interval = Annotated[str, typer.Option("--interval", "-i", metavar="DURATION", help="Between two readings.")]
Once = Annotated[bool, option("One frame, after two readings an interval apart; so it is in a pipe too.", "--once")]

MIN_INTERVAL = 0.1
_ROWS_ONCE = 10
_LINES_BESIDE = 14
"""Lines of a frame that are no tasks: heads, titles, a few workers."""


command = Commands()


@command(
    "top",
    "contentgen top",
    "contentgen top --account 1 --interval 5s",
    "contentgen top --once",
    "contentgen -o jsonl top | jq '{time, queue_depth, rates}'",
)
def top(session: Session, account: OnlyAccount = None, interval: Interval = "2s", once: Once = False) -> None:
    """Show queue, workers and running tasks, live.

    And rates, progress and recent failures; drawn again until q or Ctrl-C. With --account the tasks are those of that
    account, and the workers are everyone's. With --output jsonl each reading is a line.
    """
    pause = values.seconds(interval)
    if pause < MIN_INTERVAL:
        raise typer.BadParameter(f"--interval should be {MIN_INTERVAL:g} s at least")
    account_id = session.accounts(account)
    before = read(session.connection, account_id)
    if session.output.format is Format.JSONL and not once:
        _stream(session, account_id, pause, before)
    elif session.output.tables and session.output.out.is_terminal and not once:
        _live(session, account_id, pause, before)
    else:
        time.sleep(pause)
        after = read(session.connection, account_id)
        _write_once(session, after, rates(before, after))


def _write_once(session: Session, reading: Reading, speed: Rates) -> None:
    def write(console: Console, _document: object) -> None:
        width = console.width if console.is_terminal else None
        for line in frame(reading, speed, _ROWS_ONCE, width, wide=session.output.format is Format.WIDE):
            write_line(console, line)

    session.output.one(frame_document(reading, speed), write)


def _stream(session: Session, account: int, pause: float, before: Reading) -> None:
    while True:
        time.sleep(pause)
        after = read(session.connection, account)
        session.output.event(frame_document(after, rates(before, after)), lambda _: Text())
        before = after


def _live(session: Session, account: int, pause: float, before: Reading) -> None:
    """Stays on the screen while no scheduler answers, and says so."""
    speed: Rates | None = None
    outage: RequestError | None = None
    with Live(console=session.output.out, screen=True, auto_refresh=False) as live, keys() as key:
        while True:
            live.update(_screen(session, before, speed, outage), refresh=True)
            if _told_to_end(key, pause):
                return
            try:
                after = read(session.connection, account)
            except (Unavailable, DeadlineExceeded) as error:
                outage = error
            else:
                before, speed, outage = after, rates(before, after), None


def _told_to_end(key: Key, pause: float) -> bool:
    """Waits for the next reading; returns whether somebody pressed q meanwhile."""
    deadline = time.monotonic() + pause
    while (seconds_left := deadline - time.monotonic()) > 0:
        if key(seconds_left) in {"q", "Q"}:
            return True
    return False


def _screen(session: Session, reading: Reading, speed: Rates | None, outage: RequestError | None) -> Group:
    target = session.connection.target
    clock = cells.clock_time(reading.time.isoformat())
    head = Text(f"contentgen top  {target.scheduler}  {clock}  (q ends it)", "reverse")
    out = session.output.out
    rows = max((out.height - _LINES_BESIDE - len(reading.pool["workers"])) // 3, 3)
    lines = [
        head,
        *([Text(error_line(outage), "bold red")] if outage else []),
        *frame(reading, speed, rows, out.width, wide=session.output.format is Format.WIDE),
    ][: out.height]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


MAX_TASKS = 50
"""Of running tasks, and of recent failures."""

_RUNNING: Sequence[TaskStatus] = ("processing", "submitted")
_FAILED: Sequence[TaskStatus] = ("failed", "timeout")


@dataclass(frozen=True, slots=True)
class Reading:
    """A deployment as of one moment, or nearly so: it is a few calls."""

    taken: float
    """By the monotonic clock, in seconds."""
    time: datetime
    stats: Document
    pool: Document
    dispatch: Document
    running: list[Document]
    failures: list[Document]
    """Tasks that failed or timed out for good, the last to end first, of the newest tasks."""


def read(connection: Connection, account: int) -> Reading:
    """Reads all that a frame shows. Raises RequestError if a call fails."""
    failures = _tasks(connection, account, _FAILED)
    taken, taken_at = time.monotonic(), datetime.now(UTC)
    stats = document(connection.client.get_task_stats(account))
    pool = document(connection.client.get_worker_pool_status())
    del pool["next_page_token"]  # it has the workers of all pages
    return Reading(
        taken=taken,
        time=taken_at,
        stats=stats,
        pool=pool,
        dispatch=pauses(connection),
        running=_tasks(connection, account, _RUNNING),
        failures=sorted(failures, key=lambda task: task["end_time"] or "", reverse=True),
    )


def _tasks(connection: Connection, account: int, statuses: Sequence[TaskStatus]) -> list[Document]:
    pages = connection.client.iter_tasks(account, statuses)
    return [document(task) for task in run(pages.next(MAX_TASKS)) or ()]


@dataclass(frozen=True, slots=True)
class Rates:
    """How many tasks moved in each second between two readings."""

    over: float
    """Seconds."""
    submitted: float
    completed: float
    failed: float
    """Failed or timed out for good."""


def rates(before: Reading, after: Reading) -> Rates:
    """Computes the rates from the counts: a cleanup in between makes them too small, never negative."""
    over = max(after.taken - before.taken, 1e-9)
    earlier: dict[str, int] = before.stats["counts"]
    later: dict[str, int] = after.stats["counts"]

    def rate(*statuses: str) -> float:
        first, last = (sum(counts.get(status, 0) for status in statuses) for counts in (earlier, later))
        return max(last - first, 0) / over

    return Rates(over, rate(*later), rate("completed"), rate("failed", "timeout"))


def _of_tasks(*titles: str) -> list[Column]:
    by_title = {column.title: column for column in tables.TASKS}
    return [by_title[title] for title in titles]


_RUNNING_COLUMNS = (
    *_of_tasks("TASK", "ACCOUNT", "STATUS", "ATTEMPT"),
    Column("FOR", lambda task: cells.brief_age(task["start_time"] or task["submit_time"]), right=True),
    *_of_tasks("WORKER", "STEP", "TOPIC"),
)
_FAILURE_COLUMNS = (
    *_of_tasks("TASK", "ACCOUNT", "STATUS", "ATTEMPT"),
    Column("AGE", lambda task: cells.brief_age(task["end_time"]), right=True),
    *_of_tasks("TOPIC"),
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
    yield _line("workers", slots_text(reading.pool))
    if paused := paused_text(reading.dispatch):
        yield _line("paused", paused).append(" (`contentgen dispatch resume`)", "dim")
    for title, documents, columns, below in (
        ("", reading.pool["workers"], tables.WORKERS, tables.last_error),
        ("running", reading.running, _RUNNING_COLUMNS, None),
        ("recent failures", reading.failures, _FAILURE_COLUMNS, cells.error),
    ):
        if documents:
            yield Text()
            if title:
                yield Text(title, "bold")
            yield from table_lines(documents[:rows], chosen(columns, wide=wide), below, width)
        if len(documents) > rows:
            yield Text(f"… and {len(documents) - rows} more", "dim")


def frame_document(reading: Reading, speed: Rates | None) -> Document:
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
