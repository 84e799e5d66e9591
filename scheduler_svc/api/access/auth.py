"""The door: whose token a call carries, and whether its role may make this call. Part of `api`.

Handlers ask `caller()` for the identity, and it for the accounts that the call may be about.
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

from contentgen.v1 import (
    account_service_pb2,
    content_service_pb2,
    system_service_pb2,
    task_service_pb2,
    worker_pool_service_pb2,
    worker_service_pb2,
)
from scheduler_svc.api.access.open_streams import OpenStreams
from scheduler_svc.api.messages.errors import status_of
from scheduler_svc.config.tokens import TokenLine
from scheduler_svc.domain.access import ANYONE, Identity, Role, Scope
from scheduler_svc.domain.errors import DomainError, TokenInvalid

Request = TypeVar("Request")
Response = TypeVar("Response")

MODULES = (
    task_service_pb2,
    worker_service_pb2,
    worker_pool_service_pb2,
    content_service_pb2,
    account_service_pb2,
    system_service_pb2,
)
"""Where the services of the contract are described."""

_OPERATORS = frozenset({Role.OPERATOR})
_CLIENTS = frozenset({Role.CLIENT, Role.OPERATOR})
_WORKERS = frozenset({Role.WORKER, Role.OPERATOR})

_BY_NAME: Mapping[str, frozenset[Role]] = {
    "contentgen.v1.TaskService": _CLIENTS,
    "contentgen.v1.ContentService": _CLIENTS,
    "contentgen.v1.WorkerService": _WORKERS,
    "contentgen.v1.WorkerPoolService.GetWorkerPool": _CLIENTS,
    "contentgen.v1.WorkerPoolService.GetDispatchStatus": _CLIENTS,
    "contentgen.v1.AccountService.GetAccount": _CLIENTS,
    "contentgen.v1.AccountService.ListAccounts": _CLIENTS,
}
"""Services and methods that not only operators may call."""

ROLES: Mapping[str, frozenset[Role]] = {
    f"/{service.full_name}/{method.name}": _BY_NAME.get(method.full_name, _BY_NAME.get(service.full_name, _OPERATORS))
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Which roles may make which call. What is not here, reflection and channelz, is for operators."""

OPEN = frozenset(
    f"/{service.full_name}/{method.name}"
    for service in health_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
"""Calls that need no token: health, for load balancers."""

_caller: ContextVar[Identity] = ContextVar("caller", default=ANYONE)
_log = structlog.get_logger(__name__)


def caller() -> Identity:
    """Who makes the call that is being answered."""
    return _caller.get()


class Keys:
    """Identities by their tokens' hashes.

    A hash is looked up by a digest that is keyed anew in each process, so that how long the look-up takes says nothing
    of the hashes that are known; what is found is then compared in constant time.
    """

    def __init__(self, lines: Iterable[TokenLine]) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[bytes, Identity]] = {}
        for line in lines:
            digest = bytes.fromhex(line.sha256)
            identity = Identity(line.name, Role(line.role), Scope(line.accounts))
            self._known[self._place(digest)] = (digest, identity)

    def identify(self, digest: bytes) -> Identity | None:
        """Whose token has this SHA-256; None where it is nobody's."""
        known, identity = self._known.get(self._place(digest), (bytes(32), None))
        return identity if hmac.compare_digest(known, digest) else None

    def _place(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._secret, digest_size=16).digest()


class AuthInterceptor(aio.ServerInterceptor):
    """Stands before every handler; a call that it refuses is answered before its request is read."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._streams: OpenStreams[tuple[bytes, Identity]] = OpenStreams()

    def use(self, keys: Keys) -> None:
        """Lets these in, from the next call on; streams of those who are gone, or mean something else now, end."""
        self._keys = keys
        self._streams.end(lambda let_in: keys.identify(let_in[0]) != let_in[1])

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Request, Response] | None:
        """The method's handler, with the caller's identity set; or one that refuses, of whatever method."""
        method = handler_call_details.method
        if method in OPEN:
            return await continuation(handler_call_details)
        try:
            let_in = self._admit(method, handler_call_details.invocation_metadata)
        except DomainError as error:
            _log.debug("a call is refused", action="door", method=method, reason=str(error))
            return _refusing(error)
        _caller.set(let_in[1])
        handler = await continuation(handler_call_details)
        return handler and self._streams.handler(handler, let_in)

    def _admit(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> tuple[bytes, Identity]:
        """The hash of the caller's token, and whose it is. Raises TokenInvalid, RoleForbidden."""
        digest = hashlib.sha256(_bearer(metadata).encode()).digest()
        identity = self._keys.identify(digest)
        if identity is None:
            raise TokenInvalid("the token is not known")
        identity.require(ROLES.get(method, _OPERATORS), method.lstrip("/"))
        return digest, identity


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The token that the metadata carry. Raises TokenInvalid where that is none, or more than one."""
    given = [value for key, value in metadata or () if key == "authorization"]
    if not given:
        raise TokenInvalid("no token is given")
    scheme, _, token = str(given[0]).partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("`authorization` is not one `Bearer` and a token")
    return token.strip()


def _refusing(error: DomainError) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler that reads nothing, so that it fits a call of any shape."""
    status = rpc_status.to_status(status_of(error))

    async def refuse(_requests: object, context: aio.ServicerContext[Any, Any]) -> Never:
        await context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(refuse)
