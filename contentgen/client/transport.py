"""What the methods of both clients stand on: one way to make a call, to read a stream and to pause.

Layer: client. The methods are coroutines. The transport of the asyncio client suspends them while a call is under way;
that of the blocking client never does, so that `run` takes a coroutine to its end at once. Each call carries the span
that it belongs to, by W3C Trace Context.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import grpc

from contentgen.client.routing import route
from contentgen.client.target import TOKEN, Person, Target
from contentgen.rpcs import PERSON
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.asset_service_pb2_grpc import AssetServiceStub
from contentgen.v1.audit_service_pb2_grpc import AuditServiceStub
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from contentgen.v1.notification_service_pb2_grpc import NotificationServiceStub
from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from contentgen.v1.system_service_pb2_grpc import SystemServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceStub
from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub

if TYPE_CHECKING:
    from contentgen.client.watch import ResumingStream

Metadata = tuple[tuple[str, str | bytes], ...]


def current_span() -> Metadata:
    """Returns OpenTelemetry's current span; empty if there is none, or the program does not use OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return tuple(headers.items())


Request = TypeVar("Request")
Response = TypeVar("Response")
Response_co = TypeVar("Response_co", covariant=True)
Kept = TypeVar("Kept", bound="ResumingStream[Any]")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

CLOSED = "the client is closed: make a new one"


class Stubs:
    """The stubs of all services, by the types of the blocking ones; a channel of grpc.aio makes them asyncio's."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.tasks = TaskServiceStub(channel)
        self.contents = ContentServiceStub(channel)
        self.assets = AssetServiceStub(channel)
        self.accounts = AccountServiceStub(channel)
        self.pool = WorkerPoolServiceStub(channel)
        self.schedules = ScheduleServiceStub(channel)
        self.system = SystemServiceStub(channel)
        self.notifications = NotificationServiceStub(channel)
        self.webhooks = WebhookServiceStub(channel)
        self.audit = AuditServiceStub(channel)


class Stream(Protocol[Response_co]):
    """The answers of one call, one after the other. What fails raises RequestError."""

    async def connected(self) -> bool | None:
        """Returns True once a scheduler has taken the call. Returns None if the stream has ended without an error."""

    async def read(self) -> Response_co | None:
        """Returns the next answer. Returns None if the stream has ended without an error."""

    def cancel(self) -> object: ...


Signal = threading.Event | asyncio.Event
"""Set once; any thread may set that of the blocking client."""


class Transport(ABC):
    """A connection to the schedulers, with what is open on it.

    Attributes:
        account_id: whom calls are about whose request does not say; 0: nobody.
    """

    account_id = 0

    def __init__(
        self,
        token: str | None,
        timeout: float,
        target: Target | None = None,
        span: Callable[[], Metadata] = current_span,
        on_behalf_of: Person | None = None,
    ) -> None:
        """`timeout`: seconds that a call may take, beyond what it asks the scheduler to wait.

        `target` is what messages name; `span` tells, at each call, which span the call belongs to.
        """
        if token and not TOKEN.fullmatch(token):
            raise ValueError("token should be one word of printable ASCII, without a line end")
        self.timeout = timeout
        self._target = target
        self._metadata: Metadata = (("authorization", f"Bearer {token}"),) if token else ()
        if on_behalf_of is not None:
            self._metadata += ((PERSON, json.dumps(on_behalf_of).encode()),)
        self._span = span
        self._lock = threading.Lock()
        self._closed = False
        self._open: weakref.WeakSet[ResumingStream[Any]] = weakref.WeakSet()

    @property
    @abstractmethod
    def stubs(self) -> Stubs: ...

    @abstractmethod
    async def call(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        waits: float = 0.0,
        about: Any = None,
    ) -> Response:
        """Returns the answer to one call.

        Args:
            rpc: of `stubs`.
            request: its message.
            waits: seconds that the scheduler may work or wait before it answers.
            about: the message that names what the call is about, if `request` is a stream of them.

        Raises:
            RequestError: the call failed.
            ValueError: the client is closed.
        """

    @abstractmethod
    def stream(
        self, rpc: grpc.UnaryStreamMultiCallable[Request, Response], request: Request, *, timeout: float
    ) -> Stream[Response]:
        """Begins a call whose answers are a stream."""

    @abstractmethod
    def signal(self) -> Signal: ...

    @abstractmethod
    async def pause(self, seconds: float, signal: Signal | None = None) -> None:
        """Returns once the signal is set, or after so many seconds."""

    def keep(self, stream: Kept) -> Kept:
        """Returns `stream`, closed with the client unless it is gone before. Raises ValueError once closed."""
        with self._lock:
            self._check_open()
            self._open.add(stream)
        return stream

    def _metadata_of(self, request: Any) -> Metadata:
        return self._metadata + route(request, self.account_id)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(CLOSED)

    def _close_streams(self) -> None:
        with self._lock:
            self._closed = True
            streams = list(self._open)
        for stream in streams:
            stream.close()


def run(steps: Coroutine[Any, Any, T]) -> T:
    """Returns what a coroutine returns that never suspends, since its transport blocks."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    steps.close()
    raise RuntimeError("a blocking transport has suspended")


class _PageRequest(Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)


class Pages(Generic[T_co]):
    """The items of a List, page by page.

    Attributes:
        token: of the next page; empty: the first one, or, once a page was read, the end.
    """

    def __init__(
        self,
        transport: Transport,
        rpc: grpc.UnaryUnaryMultiCallable[PageRequest, Page],
        request: PageRequest,
        items: Callable[[Page], Iterable[T_co]],
    ) -> None:
        """`items`: those of an answer."""
        self.token = ""
        self._begun = False

        async def fetch(size: int | None) -> list[T_co]:
            request.page_token, request.page_size = self.token, size or request.page_size
            page = await transport.call(rpc, request)
            self.token, self._begun = page.next_page_token, True
            return list(items(page))

        self._fetch = fetch

    async def next(self, size: int | None = None) -> list[T_co] | None:
        """Returns the items of the next page, perhaps none; None at the end. `size`: how many at most, from now on."""
        return await self._fetch(size) if self.token or not self._begun else None

    def __iter__(self) -> Iterator[T_co]:
        """Yields all items; needs a blocking transport."""
        while (page := run(self.next())) is not None:
            yield from page

    async def __aiter__(self) -> AsyncIterator[T_co]:
        while (page := await self.next()) is not None:
            for item in page:
                yield item

    async def first(self, limit: int) -> list[T_co]:
        """Returns so many items at most."""
        items: list[T_co] = []
        while len(items) < limit and (page := await self.next()) is not None:
            items += page
        return items[:limit]
