"""`contentgen top`: how all stands, and views of it; reads, draws, waits, and reads again. Layer: commands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import Annotated, NamedTuple

import typer
from google.protobuf.message import Message
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.workers import paused_text, pauses, slots_text
from contentgen.cli.connection import Connection
from contentgen.cli.failures import error_line
from contentgen.cli.keys import keys
from contentgen.cli.options import OnlyAccount
from contentgen.cli.output import (
    Below,
    Column,
    Document,
    Format,
    as_text,
    broken,
    chosen,
    document,
    table_lines,
    write_line,
)
from contentgen.cli.values import option
from contentgen.client.errors import DeadlineExceeded, PermissionDenied, RequestError, Unavailable
from contentgen.client.results import PublishStatus, TaskStatus
from contentgen.client.transport import run

Interval = Annotated[str, typer.Option("--interval", "-i", metavar="DURATION", help="Between two readings.")]
Once = Annotated[bool, option("One frame, after two readings an interval apart; so it is in a pipe too.", "--once")]

MIN_INTERVAL = 0.1
_ROWS_ONCE = 10
_NAME_WIDTH = 12


command = Commands()


@command(
    "top",
    "contentgen top",
    "contentgen top --account 1 --interval 5s",
    "contentgen top --once",
    "contentgen -o jsonl top | jq '{time, queue_depth, rates}'",
)
def top(session: Session, account: OnlyAccount = None, interval: Interval = "2s", once: Once = False) -> None:
    """Show the queue, what runs and what waits for people, live.

    Tasks, workers, schedulers, reviews, publications and webhooks; drawn again until q or Ctrl-C. Other keys: 1 to 4
    and the arrows switch the view, p pauses, ? shows them. With --account all but workers and schedulers are those of
    that account. What the token may not read is left out. With --output jsonl each reading is a line.
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
    view = View()
    with Live(console=session.output.out, screen=True, auto_refresh=False) as live, keys() as key:
        while True:
            next_at = time.monotonic() + pause
            while view.paused or time.monotonic() < next_at:
                live.update(_screen(session, before, speed, outage, view), refresh=True)
                pressed = key(None if view.paused else max(next_at - time.monotonic(), 0.0))
                if pressed in {"q", "Q"}:
                    return
                view = view.after(pressed)
            try:
                after = read(session.connection, account)
            except (Unavailable, DeadlineExceeded) as error:
                outage = error
            else:
                before, speed, outage = after, rates(before, after), None


VIEWS = ("tasks", "workers", "articles", "webhooks")
KEYS = "1 2 3 4 or ← →: another view   p: pause, or go on   ?: no keys   q: end"


@dataclass(frozen=True, slots=True)
class View:
    """What a terminal shows; the keys change it."""

    name: str = VIEWS[0]
    paused: bool = False
    help: bool = False

    def after(self, key: str) -> View:
        """Returns the view after a key. An arrow is three keys, of which only the last means something."""
        if key in {"C", "D"}:
            place = VIEWS.index(self.name) + (1 if key == "C" else -1)
            return replace(self, name=VIEWS[place % len(VIEWS)])
        if key in {"1", "2", "3", "4"}:
            return replace(self, name=VIEWS[int(key) - 1])
        if key == "p":
            return replace(self, paused=not self.paused)
        return replace(self, help=not self.help) if key == "?" else self


_HEAD_LINES, _TITLE_LINES = 11, 4
"""Lines of a screen above its tables, and of each table beside its rows."""


def _screen(session: Session, reading: Reading, speed: Rates | None, outage: RequestError | None, view: View) -> Group:
    out, wide = session.output.out, session.output.format is Format.WIDE
    tables = [table for table in TABLES if table.view == view.name]
    space = out.height - _HEAD_LINES - _TITLE_LINES * len(tables)
    rows = max(space // sum(2 if table.below else 1 for table in tables), 1)
    state = "paused" if view.paused else cells.clock_time(reading.time.isoformat())
    target = session.connection.target.scheduler
    lines = [
        Text(f"contentgen top  {view.name}  {state}  (q ends it, ? shows keys)  {target}", "reverse"),
        *([Text(KEYS, "dim")] if view.help else []),
        *([Text(error_line(outage), "bold red")] if outage else []),
        *frame(reading, speed, rows, out.width, wide=wide, view=view.name),
    ][: out.height]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


MAX_ROWS = 50
"""Of running tasks, of recent failures, and of each other list that has pages."""

_RUNNING: Sequence[TaskStatus] = ("processing", "submitted")
_FAILED: Sequence[TaskStatus] = ("failed", "timeout")
_OF_SCHEDULERS = ("scheduler_id", "version", "serving", "start_time", "last_heartbeat_time")
"""What is shown of them; `contentgen doctor` judges the rest."""
_PUBLISHING: Sequence[Sequence[PublishStatus]] = (("failed", "publishing"), ("pending",))


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
    schedulers: list[Document]
    reviews: list[Document]
    """Contents that wait for a review, the oldest first. This list, as those around it, is empty if the token may not
    ask."""
    publications: list[Document]
    """Entries that failed or are being published, and then those that wait."""
    webhooks: list[Document]


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
        schedulers=[
            {name: replica[name] for name in _OF_SCHEDULERS}
            for replica in _permitted(lambda: connection.client.get_system().replicas)
        ],
        reviews=_permitted(
            lambda: run(connection.client.iter_contents(account, "pending_review", oldest_first=True).first(MAX_ROWS))
        ),
        publications=_permitted(
            lambda: [
                entry
                for statuses in _PUBLISHING
                for entry in run(connection.client.iter_publish_pool(account, statuses).first(MAX_ROWS))
            ]
        ),
        webhooks=_permitted(lambda: run(connection.client.iter_webhooks(account).first(MAX_ROWS))),
    )


def _tasks(connection: Connection, account: int, statuses: Sequence[TaskStatus]) -> list[Document]:
    return [document(task) for task in run(connection.client.iter_tasks(account, statuses).first(MAX_ROWS))]


def _permitted(read: Callable[[], Iterable[Message]]) -> list[Document]:
    """Returns what this token may read; nothing if it may not."""
    try:
        return [document(message) for message in read()]
    except PermissionDenied:
        return []


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


def _brief(column: Column) -> Column:
    """Returns a column whose cells are short."""

    def cell(row: Document) -> Text:
        text = as_text(column.cell(row))
        text.truncate(_MAX_CELL, overflow="ellipsis")
        return text

    return replace(column, cell=cell)


_MAX_CELL = 24
_SCHEDULER_COLUMNS = (
    Column("SCHEDULER", lambda replica: cells.line(replica["scheduler_id"])),
    Column("STATE", lambda replica: Text("serving", "green") if replica["serving"] else Text("away", "red")),
    Column("UP", lambda replica: cells.brief_age(replica["start_time"]), right=True),
    Column("SEEN", lambda replica: f"{cells.brief_age(replica['last_heartbeat_time'])} ago", right=True),
    Column("VERSION", lambda replica: cells.line(replica["version"])),
)


class Table(NamedTuple):
    view: str
    title: str
    rows: Callable[[Reading], list[Document]]
    columns: Sequence[Column]
    below: Below | None = None


TABLES = (
    Table("workers", "workers", lambda reading: reading.pool["workers"], tables.WORKERS, tables.last_error),
    Table("workers", "schedulers", lambda reading: reading.schedulers, _SCHEDULER_COLUMNS),
    Table("tasks", "running", lambda reading: reading.running, _RUNNING_COLUMNS),
    Table("tasks", "recent failures", lambda reading: reading.failures, _FAILURE_COLUMNS, cells.error),
    Table("articles", "reviews", lambda reading: reading.reviews, tables.CONTENTS),
    Table("articles", "publications", lambda reading: reading.publications, tables.POOL, tables.pool_error),
    Table("webhooks", "webhooks", lambda reading: reading.webhooks, tables.WEBHOOKS, tables.last_error),
)


def frame(
    reading: Reading, speed: Rates | None, rows: int, width: int | None = None, *, wide: bool = False, view: str = ""
) -> Iterator[Text]:
    """Yields the lines of one frame.

    Args:
        reading: what is shown.
        speed: None where there is nothing to compare with yet.
        rows: of each table.
        width: of a terminal, where names are cut and long lines are broken, but for remarks below the rows of a view;
            None: nowhere.
        wide: whether tables have more columns than 80 characters hold.
        view: whose tables are shown. Empty: all.
    """
    yield from _summary(reading, speed, width)
    for table in TABLES:
        if view not in {"", table.view} or not (documents := table.rows(reading)):
            continue
        yield Text()
        yield Text(table.title, "bold")
        first, *others = chosen(table.columns, wide=wide)
        columns = [_brief(first) if width else first, *others]
        yield from table_lines(documents[:rows], columns, table.below, None if view else width)
        if len(documents) > rows:
            yield Text(f"… and {_count(documents, rows)} more", "dim")


def _summary(reading: Reading, speed: Rates | None, width: int | None) -> Iterator[Text]:
    """Yields how all stands, each in a line or two."""
    for name, text in (
        ("queue", _queue(reading)),
        ("rates", _rates(speed)),
        ("workers", slots_text(reading.pool)),
        ("schedulers", _parts(reading.schedulers, lambda replica: "serving" if replica["serving"] else "away")),
        ("reviews", f"{_count(reading.reviews)} waiting" if reading.reviews else ""),
        ("publishing", _parts(reading.publications, itemgetter("status"))),
        ("webhooks", _parts(reading.webhooks, lambda hook: "failing" if hook["last_error"] else "fine")),
        ("paused", f"{paused} (`contentgen dispatch resume`)" if (paused := paused_text(reading.dispatch)) else ""),
    ):
        for i, part in enumerate(broken(text, width, _NAME_WIDTH) if text else ()):
            yield _line("" if i else name, part)


def _count(documents: Sequence[Document], beyond: int = 0) -> str:
    return f"{len(documents) - beyond}{'+' if len(documents) >= MAX_ROWS else ''}"


def _parts(documents: Sequence[Document], kind: Callable[[Document], str]) -> str:
    """Returns how many there are of each kind, as `2 serving, 1 away`."""
    kinds = Counter(map(kind, documents))
    return ", ".join(f"{count}{'+' if count >= MAX_ROWS else ''} {name}" for name, count in kinds.items())


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
        "schedulers": reading.schedulers,
        "reviews": reading.reviews,
        "publications": reading.publications,
        "webhooks": reading.webhooks,
    }


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), text)


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
