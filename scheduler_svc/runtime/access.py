"""Who calls, what they may call, and how many calls each caller has in progress.

A caller is known by its token's name, or by its address if the call has no token. Handlers get the identity from
`caller()`, and from it the accounts that the call may concern: those of the token that the request names, or all of
them. Open streams end when their token is revoked; unary calls are too short to need it.

gRPC enforces the limits of connections, `Callers` those of callers, and the interceptor the time of a message. A call
is counted on the event loop from before its message is read until its response is sent: a response that the client does
not read still holds memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, Never, TypeAlias

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from contentgen.rpcs import PERSON, RPCS, accounts_of, path_of
from contentgen.service.launch import most_connections
from scheduler_svc.config.tokens import TokenLine, read_person
from scheduler_svc.domain.account import ANYONE, CallerIdentity, Role, Scope
from scheduler_svc.domain.errors import (
    AccountForbidden,
    DelegationForbidden,
    DomainError,
    RoleForbidden,
    TokenInvalid,
    TooManyCalls,
)
from scheduler_svc.domain.task import TraceContext, read_trace
from scheduler_svc.runtime.calls import CALLER
from scheduler_svc.runtime.errors import status_of

_OPEN_FILES_FOR_OTHERS = 200
"""Files that the process needs besides, such as connections to the database."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults let one caller use at most half of the calls of the server."""

    calls: int = 1_000
    """Calls of a caller in progress, other than the following kinds."""
    waits: int = 2_000
    """WaitTask calls of a caller."""
    watches: int = 2_000
    """WatchTasks streams of a caller; 5,000 of all callers are a further limit."""
    leases: int = 5_000
    """Lease streams of a caller, since all workers may share one token."""
    probes: int = 100
    """Health checks of an address."""
    all_probes: int = 1_000
    """Health checks of all addresses together; a further one ends the oldest, and is not refused."""
    health_watches: int = 10
    """Health watches of an address."""
    all_health_watches: int = 1_000
    """Health watches of all addresses together."""
    receiving: int = 100
    """Messages of a caller that are being received, each of up to 4 MiB; further ones wait."""
    message_timeout: float = 30.0
    """Seconds that the message of a call may take: 4 MiB at 1.1 Mbit/s."""
    open_message_timeout: float = 2.0
    """The same where no token is needed: such messages are small."""
    all_calls: int = 10_000
    """Calls of all callers together; gRPC refuses further ones."""
    pending: int = 10_000
    """Calls that have not started: above it gRPC drops some at random, above twice as many all."""
    streams: int = 1_024
    """Calls on one connection; a client queues further ones."""
    connections: int = 10_000
    """Connections of all callers together; fewer if the limit of open files is lower."""
    handshake_timeout: float = 10.0
    """Seconds from the connection to the first HTTP/2 settings, TLS included."""
    idle_timeout: float = 300.0
    """Seconds after which a connection without a call is closed; a client reconnects when needed."""
    metadata: int = 16 * 1024
    """Bytes of a call's headers."""

    def without_tokens(self) -> Limits:
        """Returns the limits of a server whose calls need no token."""
        return replace(self, calls=self.probes, message_timeout=self.open_message_timeout)

    def options(self) -> tuple[tuple[str, int], ...]:
        """Returns the limits that gRPC enforces, under its names."""
        return (
            ("grpc.max_concurrent_streams", self.streams),
            ("grpc.max_allowed_incoming_connections", most_connections(self.connections, _OPEN_FILES_FOR_OTHERS)),
            ("grpc.server_handshake_timeout_ms", round(self.handshake_timeout * 1e3)),
            ("grpc.max_connection_idle_ms", round(self.idle_timeout * 1e3)),
            ("grpc.max_metadata_size", self.metadata),  # both the same, since between them it refuses at random
            ("grpc.absolute_max_metadata_size", self.metadata),
            ("grpc.server.max_pending_requests", self.pending),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.pending),
        )


Credential = tuple[bytes, CallerIdentity]
"""The hash of a caller's token, and its identity."""
Context = aio.ServicerContext[Any, Any]
Behavior = Callable[..., Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # the class itself takes no parameters
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"

_TOKEN_REVOKED = rpc_status.to_status(status_of(TokenInvalid("the token of this stream was revoked")))


class OpenStreams:
    """The open streams, each with the credential that it was accepted with. Runs on the event loop."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[Any], Credential] = {}
        self._ending: set[asyncio.Task[Any]] = set()

    def end(self, is_revoked: Callable[[Credential], bool]) -> None:
        for task, credential in self._open.items():
            if is_revoked(credential) and task not in self._ending:
                self._ending.add(task)
                task.cancel()

    def handler(self, inner: Handler, credential: Credential) -> Handler:
        """Returns the handler as one whose stream can be ended; that of a unary call unchanged."""
        assert not inner.unary_stream  # `ErrorInterceptor` makes stream_stream handlers of all streams
        behavior: Behavior | None = inner.stream_stream
        if behavior is None:
            return inner

        async def write(request: object, context: Context) -> None:
            with self._registered(credential) as task:
                try:
                    await behavior(request, context)
                except asyncio.CancelledError:
                    await self._abort(task, context)

        return grpc.stream_stream_rpc_method_handler(write, inner.request_deserializer, inner.response_serializer)

    async def _abort(self, task: asyncio.Task[Any], context: Context) -> None:
        """Sends the status if `end` cancelled the stream; any other stream stays cancelled."""
        if task not in self._ending:
            raise asyncio.CancelledError
        task.uncancel()
        await context.abort_with_status(_TOKEN_REVOKED)

    @contextmanager
    def _registered(self, credential: Credential) -> Iterator[asyncio.Task[Any]]:
        task = asyncio.current_task()
        assert task
        self._open[task] = credential
        try:
            yield task
        finally:
            del self._open[task]
            self._ending.discard(task)


_OPERATORS = frozenset({Role.OPERATOR})
_RULES: Mapping[str, tuple[frozenset[Role], str]] = {
    path_of(name): (_OPERATORS | {Role(role) for role in rpc.callers.split()}, rpc.all_accounts)
    for name, rpc in RPCS.items()
}
"""By path: the roles that may call it, and what is only for tokens of all accounts: see `Rpc.all_accounts`."""
_RIGHTS = {role: frozenset(path for path, (roles, _) in _RULES.items() if role in roles) for role in Role}
"""By role: the paths that it may call."""
_FOREIGN = (_OPERATORS, "the schedulers, which serve all accounts")
"""The rule of reflection and channelz."""

_NAMED = {path_of(name): read for name in RPCS if (read := accounts_of(name))}
"""By path: what reads the accounts that a request names."""

OPEN = frozenset(
    f"/{service.full_name}/{method.name}"
    for service in health_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Methods that need no token: health, for load balancers."""

OnRefusal = Callable[[str, CallerIdentity | None, DomainError], None]
"""Is told of a call that is refused: the method, whose it is (None: the token is unknown), and why."""

MAY_BE_STALE: ContextVar[bool] = ContextVar("may the call show what was so a moment ago", default=False)
"""Set when a call comes in; unset once a read of it had to go to the primary, where its other reads follow."""
STALE = frozenset(path_of(name) for name, rpc in RPCS.items() if rpc.may_be_stale)
"""The paths of the RPCs that may be answered by a standby."""
_caller: ContextVar[CallerIdentity] = ContextVar("caller", default=ANYONE)
_log = structlog.get_logger(__name__)


def caller() -> CallerIdentity:
    return _caller.get()


def narrow(method: str, request: object) -> None:
    """Keeps the current call to the accounts that its request names, if any. Raises AccountForbidden."""
    if method not in _NAMED:
        return
    if account_ids := _NAMED[method](request) - {0}:
        _caller.set(caller().about(account_ids))
    elif of_all_accounts := _RULES[method][1]:
        caller().require_all_accounts(of_all_accounts)


def allow_stale(request: Any) -> None:
    """Lets the current call, of an RPC that may be stale, read from a standby.

    The later pages of a list come from the primary: an older state than the first page's would lack what was there.
    """
    MAY_BE_STALE.set(not getattr(request, "page_token", ""))


def methods_of(identity: CallerIdentity) -> list[str]:
    """Returns the methods of the contract that this caller may call, such as `TaskService/SubmitTask`, sorted."""
    return sorted(name for name in RPCS if _may_call(identity, path_of(name)))


def may_call(method: str) -> bool:
    """Returns whether the present caller may call a method of the contract, such as `TaskService/SubmitTask`."""
    return _may_call(caller(), path_of(method))


def _may_call(identity: CallerIdentity, path: str) -> bool:
    try:
        _check(identity, path)
    except (RoleForbidden, AccountForbidden):
        return False
    return True


def _check(identity: CallerIdentity, path: str) -> None:
    """Raises RoleForbidden, or AccountForbidden, if this caller may not call the RPC, whatever it asks for."""
    roles, of_all_accounts = _RULES.get(path, _FOREIGN)
    identity.require(roles, path.lstrip("/"))
    if of_all_accounts and path not in _NAMED:
        identity.require_all_accounts(of_all_accounts)


class KnownTokens:
    """Identities by their tokens' hashes.

    A lookup uses a digest with a key of this process, so that its duration reveals nothing about the known hashes; the
    result is compared in constant time.
    """

    def __init__(self, lines: Iterable[TokenLine]) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[bytes, CallerIdentity]] = {}
        self._names: set[str] = set()
        for line in lines:
            digest = bytes.fromhex(line.sha256)
            identity = CallerIdentity(line.name, Role(line.role), Scope(line.accounts), line.delegates)
            self._known[self._keyed(digest)] = (digest, identity)
            self._names.add(line.name)

    def identify(self, digest: bytes) -> CallerIdentity | None:
        """Returns the identity whose token has this SHA-256, or None if unknown."""
        stored_digest, identity = self._known.get(self._keyed(digest), (bytes(32), None))
        return identity if hmac.compare_digest(stored_digest, digest) else None

    def person(self, token: CallerIdentity, named: bytes) -> CallerIdentity:
        """Returns the person for whom a token calls. Raises DelegationForbidden for one with rights beyond its own."""
        person = read_person(named)
        if not token.delegates:
            raise DelegationForbidden(token.name, "its line in the tokens file does not say `delegates`")
        if person is None:
            raise DelegationForbidden(token.name, f"`{PERSON}` must be JSON with name, role and, if any, accounts")
        if person.name in self._names:
            raise DelegationForbidden(token.name, f"a token has the name {person.name!r}, too")
        if not _RIGHTS[Role(person.role)] <= _RIGHTS[token.role]:
            raise DelegationForbidden(token.name, f"its own role is {token.role}, which may do less than {person.role}")
        if token.scope.accounts is not None and not set(token.scope.accounts).issuperset(person.accounts or (0,)):
            raise DelegationForbidden(token.name, f"it is itself tied to {token.scope.accounts}")
        return CallerIdentity(person.name, Role(person.role), Scope(person.accounts))

    def _keyed(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class AuthInterceptor(aio.ServerInterceptor):
    """Runs before every handler; it refuses a call before the request is read."""

    def __init__(self, tokens: KnownTokens, on_refusal: OnRefusal) -> None:
        self._tokens = tokens
        self._on_refusal = on_refusal
        self._streams = OpenStreams()

    def use(self, tokens: KnownTokens) -> None:
        """Accepts these tokens from the next call on; ends streams whose token is gone or has another identity."""
        self._tokens = tokens
        self._streams.end(lambda credential: tokens.identify(credential[0]) != credential[1])

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Returns the method's handler, with the caller's identity set, or a handler that refuses the call."""
        method = handler_call_details.method
        if method in OPEN:
            return await continuation(handler_call_details)
        identity = None
        try:
            credential = self._authenticate(handler_call_details.invocation_metadata)
            identity = credential[1]
            named = _values(handler_call_details.invocation_metadata, PERSON)
            if named or identity.delegates:
                identity = self._tokens.person(identity, _bytes(named))
            _check(identity, method)
        except DomainError as error:
            _log.debug("a call is refused", action="auth", method=method, reason=str(error))
            self._on_refusal(method, identity, error)
            return _refusing(error)
        _caller.set(identity)
        handler = await continuation(handler_call_details)
        return handler and self._streams.handler(handler, credential)

    def _authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Credential:
        """Raises TokenInvalid."""
        digest = hashlib.sha256(_bearer(metadata).encode()).digest()
        identity = self._tokens.identify(digest)
        if identity is None:
            raise TokenInvalid("the token is unknown")
        return digest, identity


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Returns the one token in the metadata. Raises TokenInvalid."""
    values = _values(metadata, "authorization")
    if not values:
        raise TokenInvalid("the call has no token")
    scheme, _, token = str(values[0]).partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("the metadata must have one `authorization`, as `Bearer TOKEN`")
    return token.strip()


def _values(metadata: Iterable[tuple[str, str | bytes]], name: str) -> list[str | bytes]:
    return [value for key, value in metadata or () if key == name]


def _bytes(values: list[str | bytes]) -> bytes:
    """Returns the one value of a binary header; empty if there is none, or several."""
    return values[0] if len(values) == 1 and isinstance(values[0], bytes) else b""


def _refusing(error: DomainError) -> Handler:
    """Returns a handler that reads no request, so that it fits every method."""
    status = rpc_status.to_status(status_of(error))

    async def refuse(_requests: object, context: Context) -> Never:
        await context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(refuse)


class CallKind(Enum):
    """What is counted separately, with its name in error messages."""

    CALL = "calls"
    WAIT = "WaitTask calls"
    WATCH = "WatchTasks streams"
    LEASE = "Lease streams"
    PROBE = "health checks"
    HEALTH_WATCH = "health watches"


_KINDS: Mapping[str, CallKind] = {
    **{path_of(name): CallKind[rpc.counted_as.upper()] for name, rpc in RPCS.items()},
    **dict.fromkeys(OPEN, CallKind.PROBE),
    "/grpc.health.v1.Health/Watch": CallKind.HEALTH_WATCH,
}
"""By path; reflection and channelz are CALL."""


class _OpenCalls(NamedTuple):
    counts: Counter[CallKind]
    receiving: asyncio.Semaphore


class Callers:
    def __init__(self, limits: Limits, end: Callable[[asyncio.Task[Any]], None]) -> None:
        self._max_receiving = limits.receiving
        self._max = {
            CallKind.CALL: limits.calls,
            CallKind.WAIT: limits.waits,
            CallKind.WATCH: limits.watches,
            CallKind.LEASE: limits.leases,
            CallKind.PROBE: limits.probes,
            CallKind.HEALTH_WATCH: limits.health_watches,
        }
        self._end_call = end
        self._max_probes = limits.all_probes
        self._probes: dict[Context, asyncio.Task[Any]] = {}  # the oldest first
        self._max_health_watches = limits.all_health_watches
        self._health_watches = 0
        self._callers: dict[str, _OpenCalls] = {}

    def begin(self, method: str, context: Context) -> asyncio.Semaphore:
        """Counts a call until it ends, and runs it for its caller. Raises TooManyCalls.

        Returns the semaphore to hold while its message is read.
        """
        # The name of the caller's token, or the address without its port; neither can look like the other.
        name = caller().name or context.peer().rpartition(":")[0]
        kind = _KINDS.get(method, CallKind.CALL)
        open_calls = self._callers.get(name) or _OpenCalls(Counter(), asyncio.Semaphore(self._max_receiving))
        self._check(kind, open_calls)
        self._callers[name] = open_calls
        CALLER.set(name)
        open_calls.counts[kind] += 1
        self._health_watches += kind is CallKind.HEALTH_WATCH
        if kind is CallKind.PROBE:
            self._begin_probe(context)
        context.add_done_callback(partial(self._end, kind, name))  # type: ignore[arg-type] # the stubs name no function
        return open_calls.receiving

    def _end(self, kind: CallKind, name: str, context: Context) -> None:
        open_calls = self._callers[name]
        open_calls.counts[kind] -= 1
        self._health_watches -= kind is CallKind.HEALTH_WATCH
        self._probes.pop(context, None)
        if not open_calls.counts.total():
            del self._callers[name]

    def _check(self, kind: CallKind, open_calls: _OpenCalls) -> None:
        if open_calls.counts[kind] >= self._max[kind]:
            raise TooManyCalls(f"this caller has {self._max[kind]:,} {kind.value} in progress")
        if kind is CallKind.HEALTH_WATCH and self._health_watches >= self._max_health_watches:
            raise TooManyCalls(f"{self._max_health_watches:,} {kind.value} are in progress")

    def _begin_probe(self, context: Context) -> None:
        """Ends the oldest if there are too many: a balancer's check is never refused because others stall theirs."""
        task = asyncio.current_task()
        assert task
        if len(self._probes) >= self._max_probes:
            self._end_call(self._probes.pop(next(iter(self._probes))))
        self._probes[context] = task


def caller_trace(context: Context) -> TraceContext | None:
    """Returns the span that the caller sent as W3C Trace Context; None if it sent none, or none that is valid."""
    parent, states = "", []
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            parent = str(value)
        elif key == "tracestate":
            states.append(str(value))
    return read_trace(parent, ",".join(states)) if parent else None
