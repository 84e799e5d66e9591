"""Whether the scheduler is there, and lets us in: target, TLS, token, database. Layer: inside doctor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from contentgen.cli.connection import Connection, Target
from contentgen.cli.doctor.certificate import end_of_certificate
from contentgen.cli.failures import error_line
from contentgen.client.client import MessageMethods
from contentgen.client.errors import RequestError
from contentgen.doctor.findings import Finding, fail, ok, warn
from contentgen.validity import describe_expiry, earliest_expiry

SERVICES = (
    "TaskService",
    "WorkerService",
    "WorkerPoolService",
    "ContentService",
    "AssetService",
    "AccountService",
    "ScheduleService",
    "SystemService",
    "WebhookService",
    "AuditService",
)


def target(connection: Connection) -> Iterator[Finding]:
    """Checks that a scheduler answers. It yields one finding, a failure where nobody answers."""
    start = time.monotonic()
    scheduler = connection.target.scheduler
    try:
        _health(connection, "")
    except RequestError as error:
        text = error_line(error, connection.target)
        message, _, advice = text.partition(": ")
        yield fail("target", message, advice or "is it a scheduler?")
    else:
        yield ok("target", f"{scheduler} answers in {(time.monotonic() - start) * 1_000:.0f} ms")


def tls(connection: Connection) -> Iterator[Finding]:
    """Checks the TLS of a connection that works."""
    target = connection.target
    if target.tls is not None:
        remark = ", and our certificate is accepted" if target.tls.cert else ""
        yield ok("tls", f"the scheduler's certificate is one of CONTENTGEN_TLS_CA{remark}")
        yield from _expiry(target)
    elif target.loopback:
        yield ok("tls", "plaintext, on this machine only")
    else:
        traffic = "what is sent, the token included," if target.token else "what is sent"
        yield warn(
            "tls",
            f"plaintext to another machine: {traffic} can be read on the way",
            "give the scheduler CONTENTGEN_TLS_CERT and CONTENTGEN_TLS_KEY, and set CONTENTGEN_TLS_CA here",
        )


def _expiry(target: Target) -> Iterator[Finding]:
    """Warns of certificates that expire before long."""
    assert target.tls
    certificates = {"CONTENTGEN_TLS_CA": target.tls.ca, "CONTENTGEN_TLS_CLIENT_CERT": target.tls.cert}
    ends = {name: earliest_expiry(pem) for name, pem in certificates.items() if pem}
    ends |= {f"the certificate of {address}": end_of_certificate(address, target.tls) for address in target.addresses}
    for name, end in ends.items():
        if end and (expiry := describe_expiry(end, datetime.now(UTC))):
            yield warn(
                "tls", f"{name} {expiry}", "replace it in time: both sides read the file again without a restart"
            )


def token(connection: Connection) -> Iterator[Finding]:
    """What our token may do, found out by a call that changes nothing whoever makes it."""
    has_token = connection.target.token is not None
    refusal = _refusal_of_probe(connection.client)
    if refusal.reason == "TOKEN_INVALID":
        message = "the token is not known" if has_token else "a token is required, and none is given"
        yield fail("token", message, "set CONTENTGEN_TOKEN to one that `contentgen-scheduler token create` made")
    elif refusal.reason == "ROLE_FORBIDDEN":
        yield _lesser_role(refusal.metadata.get("role", "unknown"))
    elif not has_token:
        yield ok("token", "none is given, and none is required")
    elif _refusal_of_probe(connection.client_with(None)).reason == "TOKEN_INVALID":
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
    """How an empty call of an operators' method is refused: access is checked before the request."""
    try:
        client.update_account(0)
    except RequestError as error:
        return error
    raise AssertionError("an empty call is refused")


def database(connection: Connection) -> Iterator[Finding]:
    """The health of each service that the scheduler has, and one read."""
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
    return connection.call(check, HealthCheckRequest(service=service))
