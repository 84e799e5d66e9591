"""`contentgen top` itself: reads, draws, waits, and reads again. Layer: the top of top."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from contentgen.cli import cells, values
from contentgen.cli.command import Session, command
from contentgen.cli.failures import error_line
from contentgen.cli.keys import Key, keys
from contentgen.cli.options import OnlyAccount
from contentgen.cli.output import Format, write_line
from contentgen.cli.top.frame import document, frame
from contentgen.cli.top.readings import Rates, Reading, rates, read
from contentgen.client.errors import DeadlineExceeded, RequestError, Unavailable

Interval = Annotated[str, typer.Option("--interval", "-i", metavar="DURATION", help="Between two readings.")]
Once = Annotated[
    bool, typer.Option("--once", help="One frame, after two readings an interval apart; so it is in a pipe too.")
]

MIN_INTERVAL = 0.1
_ROWS_ONCE = 10
_LINES_BESIDE = 14
"""Lines of a frame that are no tasks: heads, titles, a few workers."""


def add_to(app: typer.Typer) -> None:
    """Adds the command `top` to `app`."""
    command(
        app,
        "top",
        "contentgen top",
        "contentgen top --account 1 --interval 5s",
        "contentgen top --once",
        "contentgen -o jsonl top | jq '{time, queue_depth, rates}'",
    )(top)


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
        for line in frame(
            reading, speed, _ROWS_ONCE, console.width if console.is_terminal else None, wide=_is_wide(session)
        ):
            write_line(console, line)

    session.output.one(document(reading, speed), write)


def _is_wide(session: Session) -> bool:
    return session.output.format is Format.WIDE


def _stream(session: Session, account: int, pause: float, before: Reading) -> None:
    while True:
        time.sleep(pause)
        after = read(session.connection, account)
        session.output.event(document(after, rates(before, after)), lambda _: Text())
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
    """Waits for the next reading; whether somebody pressed q meanwhile."""
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
        *([Text(error_line(outage, target), "bold red")] if outage else []),
        *frame(reading, speed, rows, out.width, wide=_is_wide(session)),
    ][: out.height]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)
