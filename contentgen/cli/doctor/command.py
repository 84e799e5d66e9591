"""`contentgen doctor` itself: all checks in order, each a line. Layer: the top of doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from contentgen.cli import values
from contentgen.cli.command import Session, command
from contentgen.cli.connection import Connection
from contentgen.cli.doctor import reach
from contentgen.cli.documents import Document
from contentgen.cli.failures import Status, error_line
from contentgen.cli.output import broken
from contentgen.client.client import AsyncMethods
from contentgen.client.errors import RequestError
from contentgen.client.results import System
from contentgen.client.transport import run
from contentgen.doctor import pool, schedulers, work
from contentgen.doctor.findings import Finding, Level, fail
from contentgen.doctor.phrases import Phrase

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
_CHECK_WIDTH = 11
_ADVICE_INDENT = 8
_QUEUE_LIMIT = 1_000_000

Check = Callable[[], Iterable[Finding]]

StuckAfter = Annotated[str, typer.Option(metavar="DURATION", help="From when on a submitted task counts as stuck.")]
QueueLimit = Annotated[
    int | None,
    typer.Option(
        "--max-queue-size",
        min=1,
        envvar="CONTENTGEN_MAX_QUEUE_SIZE",
        help="The limit that the schedulers were given, where they do not tell it.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the command `doctor` to `app`."""
    command(
        app,
        "doctor",
        "contentgen doctor",
        "contentgen --scheduler 10.0.0.5:50051 doctor",
        "contentgen -o json doctor | jq '.[] | select(.level != \"ok\")'",
    )(doctor)


def doctor(session: Session, stuck_after: StuckAfter = "5m", max_queue_size: QueueLimit = None) -> int:
    """Check a deployment, and say what to do.

    It looks at the way to it, TLS, the token, versions, database, schedulers, locks, workers and their CLIs, the queue,
    dispatch, stuck tasks, refused creator options and failed publications. Each line is ok, warn or fail, with what to
    do. Exit status: 0, or 1 when a line is fail.
    """
    failed, patience = False, values.seconds(stuck_after)

    def noted() -> Iterator[Document]:
        nonlocal failed
        for finding in findings(session.connection, patience, max_queue_size):
            failed = failed or finding.level is Level.FAIL
            yield finding.document()

    if session.output.tables:
        for finding in noted():
            _write(session.output.out, finding)
    else:
        session.output.many(noted(), (), "findings")
    return Status.FAILED if failed else Status.DONE


def findings(connection: Connection, stuck_after: float, queue_limit: int | None) -> Iterator[Finding]:
    """What all checks find; without a connection only that there is none."""
    (finding,) = reach.target(connection)
    yield finding
    if finding.level is Level.FAIL:
        return
    yield from reach.tls(connection)
    yield from _safely("token", connection, lambda: reach.token(connection))
    yield from _safely("database", connection, lambda: reach.database(connection))
    client = AsyncMethods(connection.transport)
    system = _System(client)
    yield from _stored(
        connection,
        {
            "schedulers": lambda: schedulers.schedulers(system.current),
            "workers": lambda: _workers(client, system.known),
            "queue": lambda: _queue(client, _limit(queue_limit, system.known)),
            "dispatch": lambda: run(work.dispatch(client, stuck_after)),
            "submitted": lambda: [run(work.submitted(client, stuck_after))],
            "options": lambda: run(work.refused_options(client)),
            "publishing": lambda: run(work.unpublished(client)),
        },
    )


class _System:
    """Requests GetSystem once and keeps its answer."""

    def __init__(self, client: AsyncMethods) -> None:
        self._client = client
        self.known: System | None = None
        """None until it is requested, too."""

    @property
    def current(self) -> System | None:
        """The schedulers' answer; None where they can't tell us. Raises RequestError."""
        self.known = run(schedulers.system_of(self._client))
        return self.known


def _limit(option: int | None, system: System | None) -> int:
    """Returns the limit of the queue, which an older scheduler does not tell."""
    return option or (system["limits"]["max_queue_size"] if system else 0) or _QUEUE_LIMIT


def _workers(client: AsyncMethods, system: System | None) -> Iterator[Finding]:
    pool_status = run(client.get_worker_pool_status())
    workers = pool_status["worker_statuses"]
    yield from pool.versions(Phrase("this command"), workers, schedulers.versions(system))
    yield from pool.workers(pool_status)
    yield from pool.clis(workers)


def _queue(client: AsyncMethods, limit: int) -> Iterator[Finding]:
    yield from work.queue(run(client.get_task_stats()), limit)


def _stored(connection: Connection, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Those that read the database, up to the first that can't: each of the others would wait for it, too."""
    names = list(checks)
    for i, name in enumerate(names):
        try:
            yield from checks[name]()
        except RequestError as error:
            if error.reason == "STORE_UNAVAILABLE":
                skipped = f", so these were not looked at: {', '.join(names[i + 1 :])}" if names[i + 1 :] else ""
                yield fail(name, f"the database is away{skipped}", "look at PostgreSQL and the scheduler's log")
                return
            yield _failed(name, connection, error)


def _safely(name: str, connection: Connection, check: Check) -> Iterator[Finding]:
    """Runs a check. If its calls fail, that is its finding, and the other checks continue."""
    try:
        yield from check()
    except RequestError as error:
        yield _failed(name, connection, error)


def _failed(name: str, connection: Connection, error: RequestError) -> Finding:
    message, _, advice = error_line(error, connection.target).partition("; ")
    return fail(name, message, advice)


def _write(console: Console, finding: Document) -> None:
    level = Level(finding["level"])
    width = console.width if console.is_terminal else None
    head = Text.assemble((f"{level:<4}", _STYLES[level]), f"  {finding['check']:<{_CHECK_WIDTH}}")
    first, *rest = broken(finding["message"], width, head.cell_len)
    console.print(head.append(first), soft_wrap=True)
    for part in rest:
        console.print(Text(" " * (_CHECK_WIDTH + 6) + part), soft_wrap=True)
    for i, part in enumerate(broken(finding["advice"], width, _ADVICE_INDENT) if finding["advice"] else ()):
        console.print(Text(f"      {' ' if i else '→'} {part}"), soft_wrap=True)
