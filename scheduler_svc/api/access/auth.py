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
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from contentgen.v1 import (
    account_service_pb2,
    asset_service_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
    worker_service_pb2,
)
from scheduler_svc.api.access.open_streams import OpenStreams
from scheduler_svc.api.messages.errors import status_of
from scheduler_svc.config.tokens import TokenLine
from scheduler_svc.domain.access import ANYONE, CallerIdentity, Role, Scope
from scheduler_svc.domain.errors import AccountForbidden, DomainError, RoleForbidden, TokenInvalid

Request = TypeVar("Request")
Response = TypeVar("Response")

MODULES = (
    task_service_pb2,
    worker_service_pb2,
    worker_pool_service_pb2,
    content_service_pb2,
    asset_service_pb2,
    account_service_pb2,
    schedule_service_pb2,
    system_service_pb2,
    webhook_service_pb2,
    audit_service_pb2,
)
"""The modules that describe the services of the contract."""

_OPERATORS = frozenset({Role.OPERATOR})
_CLIENTS = frozenset({Role.CLIENT, Role.OPERATOR})
_WORKERS = frozenset({Role.WORKER, Role.OPERATOR})

_BY_NAME: Mapping[str, frozenset[Role]] = {
    "contentgen.v1.TaskService": _CLIENTS,
    "contentgen.v1.ContentService": _CLIENTS,
    "contentgen.v1.ScheduleService": _CLIENTS,
    "contentgen.v1.AssetService": _CLIENTS,
    "contentgen.v1.WorkerService": _WORKERS,
    "contentgen.v1.WorkerPoolService.GetWorkerPool": _CLIENTS,
    "contentgen.v1.WorkerPoolService.GetDispatchStatus": _CLIENTS,
    "contentgen.v1.AccountService.GetAccount": _CLIENTS,
    "contentgen.v1.AccountService.ListAccounts": _CLIENTS,
    "contentgen.v1.SystemService.GetCaller": frozenset(Role),
}
"""Services and methods that others than operators may call; see also `_MAY_CALL`."""

_CONTENTS = ("GetContent", "ListContents", "ListContentRevisions", "ListPublishPool", "ListPublishAttempts")
_ASSETS = ("GetAsset", "GetAssetInfo")
_MAY_CALL: Mapping[Role, Mapping[str, tuple[str, ...]]] = {
    Role.REVIEWER: {
        "TaskService": (
            "GetTask",
            "BatchGetTasks",
            "ListTasks",
            "WaitTask",
            "WatchTasks",
            "ListTaskEvents",
            "ListAttemptLogs",
            "GetTaskStats",
            "GetTaskHistory",
        ),
        "ContentService": (
            *_CONTENTS,
            "UpdateContent",
            "ReviewContent",
            "BatchReviewContents",
            "ReopenContent",
            "ClaimReview",
            "ReleaseReview",
            "RegenerateContent",
            "UpdatePublishPoolEntry",
            "RemoveFromPublishPool",
            "RetryPublish",
        ),
        "AssetService": _ASSETS,
        "AccountService": ("GetAccount", "ListAccounts"),
    },
    Role.PUBLISHER: {
        "ContentService": (*_CONTENTS, "ClaimPublishPool", "RenewPublishClaim", "ReportPublished"),
        "AssetService": _ASSETS,
    },
}
"""What roles may call that are for one part of a content's way. Clients may call all of it."""

_READS = ("BatchGet", "Get", "List", "Wait", "Watch")
"""How the methods that only read are named: a viewer may call these."""


def _roles(service: ServiceDescriptor, method: MethodDescriptor) -> frozenset[Role]:
    roles = _BY_NAME.get(method.full_name, _BY_NAME.get(service.full_name, _OPERATORS))
    roles |= {role for role, named in _MAY_CALL.items() if method.name in named.get(service.name, ())}
    return roles | {Role.VIEWER} if method.name.startswith(_READS) else roles


ROLES: Mapping[str, frozenset[Role]] = {
    f"/{service.full_name}/{method.name}": _roles(service, method)
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""The roles that may call each method; others (reflection, channelz) are for operators of all accounts."""

_ALL_WORKERS = "the workers, which serve all accounts"
OF_ALL_ACCOUNTS: Mapping[str, str] = {
    "/contentgen.v1.WorkerService/Lease": _ALL_WORKERS,
    "/contentgen.v1.WorkerService/PutAsset": _ALL_WORKERS,
    "/contentgen.v1.WorkerPoolService/DrainWorker": _ALL_WORKERS,
    "/contentgen.v1.WorkerPoolService/UndrainWorker": _ALL_WORKERS,
    "/contentgen.v1.WorkerPoolService/ResizeWorker": _ALL_WORKERS,
    "/contentgen.v1.SystemService/GetSystem": "the schedulers, which serve all accounts",
    "/contentgen.v1.AccountService/CreateAccount": "new accounts",
}
"""The methods that a token tied to accounts may never call, with what each of them is about."""

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
    return sorted(method.removeprefix("/contentgen.v1.") for method in ROLES if _may_call(identity, method))


def may_call(method: str) -> bool:
    """Whether the present caller may call a method of the contract, such as `TaskService/SubmitTask`."""
    return _may_call(caller(), f"/contentgen.v1.{method}")


def _may_call(identity: CallerIdentity, method: str) -> bool:
    try:
        _check(identity, method)
    except (RoleForbidden, AccountForbidden):
        return False
    return True


def _check(identity: CallerIdentity, method: str) -> None:
    """Raises RoleForbidden, or AccountForbidden, if this caller may not call the method, whatever it asks for."""
    identity.require(ROLES.get(method, _OPERATORS), method.lstrip("/"))
    if what := OF_ALL_ACCOUNTS.get(method, "" if method in ROLES else "the schedulers, which serve all accounts"):
        identity.about_everyone(what)


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
