"""A channel to the schedulers, and how each call goes over it: with a deadline, a token, and one kind of error.

Layer: client, below the methods.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol, TypeVar

import grpc

from contentgen.client.errors import raised_for
from contentgen.client.repeats import service_config
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.system_service_pb2_grpc import SystemServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


class Stream(Protocol):
    """What lasts until it is closed."""

    def close(self) -> None: ...


PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)
S = TypeVar("S", bound=Stream)

_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # keepalive alone does not find a dead peer
    ("grpc.initial_reconnect_backoff_ms", 200),  # a replica that is back is used again before the next one goes
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


class Caller:
    """Makes calls with a deadline and the token; what the scheduler refuses is raised as the client's exceptions."""

    def __init__(self, token: str | None, timeout: float) -> None:
        """`timeout`: seconds that a call may take, beyond what it asks the scheduler to wait."""
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.timeout = timeout

    def __call__(
        self, rpc: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, *, waits: float = 0.0
    ) -> Response:
        """The answer to one call; what the scheduler refuses is raised as the client's exceptions.

        `waits`: seconds that the scheduler may work or wait before it answers.
        """
        try:
            return rpc(request, timeout=self.timeout + waits, metadata=self.metadata)
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


class Connection:
    """A channel with its stubs, and the streams that are open on it. Any number of threads may share one."""

    def __init__(self, channel: grpc.Channel, *, owned: bool, call: Caller) -> None:
        """`owned`: whether `close` closes the channel too."""
        self.call = call
        self.tasks = TaskServiceStub(channel)
        self.contents = ContentServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.pool = WorkerPoolServiceStub(channel)
        self.system = SystemServiceStub(channel)
        self._owned = ExitStack()
        if owned:
            self._owned.push(channel)
        self._lock = threading.Lock()
        self._closed = False
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def close(self) -> None:
        """Ends what is under way, and the channel where it is owned."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._owned.close()

    def keep(self, stream: S) -> S:
        """`stream`, which is closed with the connection, unless it is gone before. Raises ValueError once closed."""
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed: make a new one")
            self._streams.add(stream)
        return stream


class Connected:
    """A group of the client's methods; all groups share one connection."""

    _connection: Connection


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel that calls a target's addresses in turn; what is safe to repeat is repeated on UNAVAILABLE.

    Plaintext without `credentials`.
    """
    options = (*_KEEPALIVE, ("grpc.service_config", service_config()))
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)
