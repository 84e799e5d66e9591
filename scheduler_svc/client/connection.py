"""A channel to the schedulers, and how each call goes over it: with a deadline, a token, and one kind of error.

Layer: client.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import grpc
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from google.protobuf.descriptor import ServiceDescriptor

from scheduler_svc.client.errors import raised_for

Request = TypeVar("Request")
Response = TypeVar("Response")


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)

_TASKS = task_pb.DESCRIPTOR.services_by_name["TaskService"]
_CONTENTS = content_pb.DESCRIPTOR.services_by_name["ContentService"]
_ACCOUNTS = account_pb.DESCRIPTOR.services_by_name["AccountService"]
_POOL = pool_pb.DESCRIPTOR.services_by_name["WorkerPoolService"]

SAFE_TO_REPEAT: Mapping[ServiceDescriptor, Sequence[str]] = {
    _TASKS: (
        "SubmitTask",  # carries a request_id, always
        "GetTask",
        "BatchGetTasks",
        "ListTasks",
        "WaitTask",
        "ListTaskEvents",
        "GetTaskStats",
    ),
    _CONTENTS: ("GetContent", "ListContents", "ListPublishPool"),
    _ACCOUNTS: ("GetAccount", "ListAccounts"),
    _POOL: ("GetWorkerPool",),
}
"""Calls that change nothing when they come twice. A commit of unknown outcome is UNAVAILABLE too, so no others."""

_RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive alone does not find a dead peer
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


class Caller:
    """Makes calls with a deadline and the token; what the scheduler refuses is raised as the client's exceptions."""

    def __init__(self, token: str | None, timeout: float) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout

    def __call__(
        self, rpc: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, *, waits: float = 0.0
    ) -> Response:
        """`waits`: seconds that the scheduler is asked to wait before it answers."""
        try:
            return rpc(request, timeout=self._timeout + waits, metadata=self._metadata)
        except grpc.RpcError as error:
            if (better := raised_for(error)) is not error:
                raise better from error
            raise

    def pages(self, rpc: grpc.UnaryUnaryMultiCallable[PageRequest, Page], request: PageRequest) -> Iterator[Page]:
        """The answers to a List, page by page up to the last; `request` moves along."""
        while True:
            page = self(rpc, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel whose calls are repeated on UNAVAILABLE where that is safe; plaintext without `credentials`."""
    options = (*_KEEPALIVE, ("grpc.service_config", service_config()))
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def service_config() -> str:
    """The service config of the channel, as JSON: what gRPC itself repeats."""
    names = [name for service, methods in SAFE_TO_REPEAT.items() for name in _names(service, methods)]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}]})


def _names(service: ServiceDescriptor, methods: Iterable[str]) -> Iterable[dict[str, str]]:
    for method in methods:
        assert method in service.methods_by_name, method
        yield {"service": service.full_name, "method": method}
