"""Authentication: which identity a call's token belongs to, and whether it may call the method. Part of `api`.

Handlers get the identity from `caller()`, and from it the accounts that the call may concern.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Never, TypeVar

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from contentgen.rpcs import RPCS, path_of
from scheduler_svc.api.access.open_streams import OpenStreams
from scheduler_svc.api.messages.errors import status_of
from scheduler_svc.config.tokens import TokenLine
from scheduler_svc.domain.access import ANYONE, CallerIdentity, Role, Scope
from scheduler_svc.domain.errors import AccountForbidden, DomainError, RoleForbidden, TokenInvalid

Request = TypeVar("Request")
Response = TypeVar("Response")

_OPERATORS = frozenset({Role.OPERATOR})
_RULES: Mapping[str, tuple[frozenset[Role], str]] = {
    path_of(name): (_OPERATORS | {Role(role) for role in rpc.callers.split()}, rpc.all_accounts)
    for name, rpc in RPCS.items()
}
"""By path: the roles that may call it, and what it is about, if no token that is tied to accounts may call it."""
_FOREIGN = (_OPERATORS, "the schedulers, which serve all accounts")
"""The rule of reflection and channelz."""

OPEN = frozenset(
    f"/{service.full_name}/{method.name}"
    for service in health_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Methods that need no token: health, for load balancers."""

OnRefusal = Callable[[str, CallerIdentity | None, DomainError], None]
"""Is told of a call that is refused: the method, whose it is (None: the token is unknown), and why."""

_caller: ContextVar[CallerIdentity] = ContextVar("caller", default=ANYONE)
_log = structlog.get_logger(__name__)


def caller() -> CallerIdentity:
    """The identity that makes the current call."""
    return _caller.get()


def methods_of(identity: CallerIdentity) -> list[str]:
    """The methods of the contract that this caller may call, such as `TaskService/SubmitTask`, sorted."""
    return sorted(name for name in RPCS if _may_call(identity, path_of(name)))


def may_call(method: str) -> bool:
    """Whether the present caller may call a method of the contract, such as `TaskService/SubmitTask`."""
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
    if of_all_accounts:
        identity.about_everyone(of_all_accounts)


class KnownTokens:
    """Identities by their tokens' hashes.

    A lookup uses a digest with a key of this process, so that its duration reveals nothing about the known hashes; the
    result is compared in constant time.
    """

    def __init__(self, lines: Iterable[TokenLine]) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[bytes, CallerIdentity]] = {}
        for line in lines:
            digest = bytes.fromhex(line.sha256)
            identity = CallerIdentity(line.name, Role(line.role), Scope(line.accounts))
            self._known[self._keyed(digest)] = (digest, identity)

    def identify(self, digest: bytes) -> CallerIdentity | None:
        """The identity whose token has this SHA-256. Returns None if unknown."""
        known, identity = self._known.get(self._keyed(digest), (bytes(32), None))
        return identity if hmac.compare_digest(known, digest) else None

    def _keyed(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class AuthInterceptor(aio.ServerInterceptor):
    """Runs before every handler; it refuses a call before the request is read."""

    def __init__(self, tokens: KnownTokens, on_refusal: OnRefusal = lambda *_: None) -> None:
        self._tokens = tokens
        self._on_refusal = on_refusal
        self._streams: OpenStreams[tuple[bytes, CallerIdentity]] = OpenStreams()

    def use(self, tokens: KnownTokens) -> None:
        """Accepts these tokens from the next call on; ends streams whose token is gone or has another identity."""
        self._tokens = tokens
        self._streams.end(lambda credential: tokens.identify(credential[0]) != credential[1])

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """The method's handler, with the caller's identity set, or a handler that refuses the call."""
        method = handler_call_details.method
        if method in OPEN:
            return await continuation(handler_call_details)
        identity = None
        try:
            credential = self._authenticate(handler_call_details.invocation_metadata)
            identity = credential[1]
            _check(identity, method)
        except DomainError as error:
            _log.debug("a call is refused", action="auth", method=method, reason=str(error))
            self._on_refusal(method, identity, error)
            return _refusing(error)
        _caller.set(identity)
        handler = await continuation(handler_call_details)
        return handler and self._streams.handler(handler, credential)

    def _authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> tuple[bytes, CallerIdentity]:
        """The hash of the caller's token, and its identity. Raises TokenInvalid."""
        digest = hashlib.sha256(_bearer(metadata).encode()).digest()
        identity = self._tokens.identify(digest)
        if identity is None:
            raise TokenInvalid("the token is unknown")
        return digest, identity


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The one token in the metadata. Raises TokenInvalid."""
    given = [value for key, value in metadata or () if key == "authorization"]
    if not given:
        raise TokenInvalid("the call has no token")
    scheme, _, token = str(given[0]).partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("the metadata must have one `authorization`, as `Bearer TOKEN`")
    return token.strip()


def _refusing(error: DomainError) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler that reads no request, so that it fits every method."""
    status = rpc_status.to_status(status_of(error))

    async def refuse(_requests: object, context: aio.ServicerContext[Any, Any]) -> Never:
        await context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(refuse)
