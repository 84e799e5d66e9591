"""`contentgen doctor`: all checks in order, each a line. Layer: commands.

Here is what only this command can see: the way to the scheduler, TLS, the token, the services' health. The other checks
are in `contentgen.doctor`.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from rich.console import Console
from rich.text import Text

from contentgen.certificates import describe_expiry, earliest_expiry
from contentgen.cli import values
from contentgen.cli.command import Commands, Session
from contentgen.cli.connection import Connection
from contentgen.cli.failures import Status, error_line
from contentgen.cli.output import Document, broken
from contentgen.cli.values import option
from contentgen.client.client import AsyncMethods, MessageMethods
from contentgen.client.connection import stays_here
from contentgen.client.errors import RequestError
from contentgen.client.results import System
from contentgen.client.target import Target, Tls
from contentgen.client.transport import run
from contentgen.doctor import pool, schedulers, work
from contentgen.doctor.findings import Finding, Level, Phrase, fail, ok, warn
from contentgen.rpcs import SERVICES

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
_CHECK_WIDTH = 11
_ADVICE_INDENT = 8
_HANDSHAKE_TIMEOUT = 3.0

Check = Callable[[], Iterable[Finding]]

StuckAfter = Annotated[str, typer.Option(metavar="DURATION", help="From when on a submitted task counts as stuck.")]
QueueLimit = Annotated[
    int | None,
    option(
        "The limit that the schedulers were given, where they do not tell it.",
        min=1,
        envvar="CONTENTGEN_MAX_QUEUE_SIZE",
    ),
]

command = Commands()


@command(
    "doctor",
    "contentgen doctor",
    "contentgen --scheduler 10.0.0.5:50051 doctor",
    "contentgen -o json doctor | jq '.[] | select(.level != \"ok\")'",
)
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
    """Yields what all checks find; without a connection only that there is none."""
    finding = check_target(connection)
    yield finding
    if finding.level is Level.FAIL:
        return
    yield from check_tls(connection)
    yield from _safely("token", lambda: check_token(connection))
    yield from _safely("database", lambda: check_database(connection))
    client = AsyncMethods(connection.transport)
    system: System | None = None  # until the first check reads it, for those that follow

    def read_schedulers() -> Iterable[Finding]:
        nonlocal system
        system = run(schedulers.system_of(client))
        return schedulers.schedulers(system)

    yield from _stored(
        {
            "schedulers": read_schedulers,
            "workers": lambda: run(pool.examined(client, Phrase("this command"), schedulers.versions(system))),
            "queue": lambda: run(work.queue(client, system, queue_limit)),
            "dispatch": lambda: run(work.dispatch(client, stuck_after)),
            "submitted": lambda: run(work.submitted(client, stuck_after)),
            "options": lambda: run(work.refused_options(client)),
            "publishing": lambda: run(work.unpublished(client)),
        }
    )


def _stored(checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Yields what those find that read the database, up to the first that can't: each other would wait for it, too."""
    names = list(checks)
    for i, name in enumerate(names):
        try:
            yield from checks[name]()
        except RequestError as error:
            if error.reason == "STORE_UNAVAILABLE":
                skipped = f", so these were not looked at: {', '.join(names[i + 1 :])}" if names[i + 1 :] else ""
                yield fail(name, f"the database is away{skipped}", "look at PostgreSQL and the scheduler's log")
                return
            yield _failed(name, error)


def _safely(name: str, check: Check) -> Iterator[Finding]:
    """Runs a check. If its calls fail, that is its finding, and the other checks continue."""
    try:
        yield from check()
    except RequestError as error:
        yield _failed(name, error)


def _failed(name: str, error: RequestError) -> Finding:
    message, _, advice = error_line(error).partition("; ")
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


def check_target(connection: Connection) -> Finding:
    start = time.monotonic()
    try:
        _health(connection, "")
    except RequestError as error:
        message, _, advice = error_line(error).partition(": ")
        return fail("target", message, advice or "is it a scheduler?")
    return ok("target", f"{connection.target.scheduler} answers in {(time.monotonic() - start) * 1_000:.0f} ms")


def check_tls(connection: Connection) -> Iterator[Finding]:
    """Checks the TLS of a connection that works."""
    target = connection.target
    if target.tls is not None:
        remark = ", and our certificate is accepted" if target.tls.cert else ""
        yield ok("tls", f"the scheduler's certificate is one of CONTENTGEN_TLS_CA{remark}")
        yield from _expiry(target)
    elif stays_here(target.scheduler):
        yield ok("tls", "plaintext, on this machine only")
    else:
        traffic = "what is sent, the token included," if target.token else "what is sent"
        yield warn(
            "tls",
            f"plaintext to another machine: {traffic} can be read on the way",
            "give the scheduler CONTENTGEN_TLS_CERT and CONTENTGEN_TLS_KEY, and set CONTENTGEN_TLS_CA here",
        )


def _expiry(target: Target) -> Iterator[Finding]:
    assert target.tls
    certificates = {"CONTENTGEN_TLS_CA": target.tls.ca, "CONTENTGEN_TLS_CLIENT_CERT": target.tls.cert}
    ends = {name: earliest_expiry(pem) for name, pem in certificates.items() if pem}
    ends |= {f"the certificate of {address}": end_of_certificate(address, target.tls) for address in target.addresses}
    for name, end in ends.items():
        if end and (expiry := describe_expiry(end, datetime.now(UTC))):
            yield warn(
                "tls", f"{name} {expiry}", "replace it in time: both sides read the file again without a restart"
            )


def check_token(connection: Connection) -> Iterator[Finding]:
    """Yields what our token may do, found out by a call that changes nothing whoever makes it."""
    has_token = connection.target.token is not None
    refusal = _refusal_of_probe(connection.client)
    if refusal.reason == "TOKEN_INVALID":
        message = "the token is not known" if has_token else "a token is required, and none is given"
        yield fail("token", message, "set CONTENTGEN_TOKEN to one that `contentgen-scheduler token create` made")
    elif refusal.reason == "ROLE_FORBIDDEN":
        yield _lesser_role(refusal.metadata.get("role", "unknown"))
    elif not has_token:
        yield ok("token", "none is given, and none is required")
    elif _refusal_of_probe(connection.client_without_token()).reason == "TOKEN_INVALID":
        yield ok("token", "accepted, with the role operator")
    else:
        yield warn("token", "one is given, and none is required", "set the scheduler's CONTENTGEN_TOKENS_FILE")


_MAY_NOT = {"client": "change workers, dispatch and accounts", "viewer": "change anything"}
"""Of the roles that may call what the checks call."""


def _lesser_role(role: str) -> Finding:
    if role in _MAY_NOT:
        return ok("token", f"accepted, with the role {role}: it may not {_MAY_NOT[role]}")
    return fail("token", f"its role is {role}, which may not ask for what is checked here", "use one of role operator")


def _refusal_of_probe(client: MessageMethods) -> RequestError:
    """Returns how an empty call of an operators' method is refused: access is checked before the request."""
    try:
        client.update_account(0)
    except RequestError as error:
        return error
    raise AssertionError("an empty call is refused")


def check_database(connection: Connection) -> Iterator[Finding]:
    """Yields the health of each service that the scheduler has, and one read."""
    states = {name: _state(connection, f"contentgen.v1.{name}") for name in SERVICES}
    if missing := [name for name, state in states.items() if state == HealthCheckResponse.SERVICE_UNKNOWN]:
        yield warn(
            "version",
            f"the scheduler is of another version than this command: it has no {', '.join(missing)}",
            "bring all to one version, schedulers first",
        )
    present = len(SERVICES) - len(missing)
    outages = [name for name, state in states.items() if state == HealthCheckResponse.NOT_SERVING]
    if outages:
        yield fail(
            "database",
            f"NOT_SERVING: {f'all {len(outages)} services' if len(outages) == present else ', '.join(outages)}",
            "its database is away, its work stands still, or it is being stopped: look at the scheduler's log and at"
            " PostgreSQL",
        )
        return
    start = time.monotonic()
    connection.client.get_task_stats()
    duration = (time.monotonic() - start) * 1_000
    yield ok("database", f"all {present} services serve, and a read takes {duration:.0f} ms")


def _state(connection: Connection, service: str) -> int:
    try:
        return _health(connection, service).status
    except RequestError as error:
        if error.code == "NOT_FOUND":
            return HealthCheckResponse.SERVICE_UNKNOWN
        raise


def _health(connection: Connection, service: str) -> HealthCheckResponse:
    check = connection.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return run(connection.transport.call(check, HealthCheckRequest(service=service)))


def end_of_certificate(address: str, tls: Tls) -> datetime | None:
    """Returns when the certificate at host:port expires; None where that can't be found out, as for other targets."""
    host, colon, port = address.rpartition(":")
    if not (tls.ca and colon and port.isdecimal()):
        return None
    host = host.strip("[]")
    try:
        context = ssl.create_default_context(cadata=tls.ca.decode("ascii", "replace"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as gRPC; Python 3.13 is strict unless it is told
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), _HANDSHAKE_TIMEOUT) as plain_socket,
            context.wrap_socket(plain_socket, server_hostname=host) as tls_socket,
        ):
            certificate = tls_socket.getpeercert()
    except (OSError, ValueError):
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC) if certificate else None
