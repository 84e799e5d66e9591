"""Receivers of webhooks, mail and traces, the webhooks of a replica, and a name server."""

from __future__ import annotations

import asyncio
import json
import socket
import socketserver
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from threading import Event, Thread
from typing import Any, Self, cast

import sqlalchemy as sa
import standardwebhooks
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from contentgen.v1 import webhook_service_pb2 as pb
from scheduler_svc.domain.webhook import SUBSCRIBABLE
from tests.harness.http_server import Handler, HttpServer
from tests.harness.scheduling import sql
from tests.harness.stubs import WebhookServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_async

# A receiver of webhooks: a real HTTP server on loopback, which answers as a test tells it to.


Answer = Callable[[Handler], None]


@dataclass(frozen=True, slots=True)
class Received:
    headers: Mapping[str, str]
    body: str
    path: str

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    def verify(self, secret: str) -> None:
        """Raises WebhookVerificationError unless it is signed with this secret."""
        standardwebhooks.Webhook(secret).verify(self.body, dict(self.headers))


def status(code: int, text: str = "", **headers: str) -> Answer:
    return lambda request: request.answer(code, text.encode(), **headers)


class Receiver(HttpServer):
    def __init__(self, answer: Answer | None = None, port: int = 0) -> None:
        super().__init__(_Delivery, port=port)
        self.port = self.server_port
        self.url += "/hook"
        self.answer = answer or status(204)
        self.received: list[Received] = []
        self.hanging = Event()
        """Set to let the answers of `hang` go."""

    def __exit__(self, *_: object) -> None:
        self.hanging.set()
        super().__exit__()

    @property
    def types(self) -> list[str]:
        return [request.message["type"] for request in self.received]

    @property
    def message_ids(self) -> list[str]:
        return [request.message_id for request in self.received]

    def hang(self, request: Handler) -> None:
        self.hanging.wait()
        request.answer(204)

    async def take(self, count: int) -> list[Received]:
        """Returns all that came, once that is `count` requests or more."""
        await wait_until_async(lambda: len(self.received) >= count, within=PATIENCE_S, what=f"{count} requests")
        return self.received


class _Delivery(Handler):
    server: Receiver
    protocol_version = "HTTP/1.1"  # it keeps its connections
    wbufsize = -1  # an answer leaves as a whole: who reads only its beginning keeps the connection, too

    def do_POST(self) -> None:
        self.server.received.append(Received(dict(self.headers.items()), self.body().decode(), self.path))
        self.server.answer(self)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    with Receiver(port=port) as receiver:
        yield receiver


# Webhooks of a replica, for tests: creates them, lists their deliveries, moves time by SQL.


PENDING, DELIVERED, EXHAUSTED = pb.DELIVERY_STATUS_PENDING, pb.DELIVERY_STATUS_DELIVERED, pb.DELIVERY_STATUS_EXHAUSTED


class Hooks:
    def __init__(self, stub: WebhookServiceAsyncStub, engine: sa.Engine) -> None:
        self.stub, self._engine = stub, engine

    async def create(self, url: str, *event_types: str, account_id: int = 0) -> pb.CreateWebhookResponse:
        request = pb.CreateWebhookRequest(account_id=account_id, url=url, event_types=event_types or SUBSCRIBABLE)
        return await self.stub.CreateWebhook(request)

    async def get(self, webhook_id: int) -> pb.Webhook:
        return (await self.stub.GetWebhook(pb.GetWebhookRequest(webhook_id=webhook_id))).webhook

    async def deliveries(self, webhook_id: int, **fields: Any) -> list[pb.Delivery]:
        """Returns them newest first."""
        request = pb.ListDeliveriesRequest(webhook_id=webhook_id, **fields)
        return list((await self.stub.ListDeliveries(request)).deliveries)

    async def until(self, webhook_id: int, *statuses: int) -> list[pb.Delivery]:
        """Returns the deliveries, once these are their states, newest first."""

        def these(deliveries: list[pb.Delivery]) -> list[pb.Delivery]:
            return deliveries if [delivery.status for delivery in deliveries] == list(statuses) else []

        return await self._once(webhook_id, these, f"deliveries are {statuses}")

    async def which(self, webhook_id: int, matches: Callable[[pb.Delivery], bool]) -> list[pb.Delivery]:
        """Returns the deliveries that match, once there are any."""

        def matching(deliveries: list[pb.Delivery]) -> list[pb.Delivery]:
            return [delivery for delivery in deliveries if matches(delivery)]

        return await self._once(webhook_id, matching, "a delivery that matches")

    async def _once(
        self, webhook_id: int, pick: Callable[[list[pb.Delivery]], list[pb.Delivery]], what: str
    ) -> list[pb.Delivery]:
        async def picked() -> list[pb.Delivery]:
            return pick(await self.deliveries(webhook_id))

        return await wait_until_async(picked, within=PATIENCE_S, what=what, every=0.1)

    async def tried(self, webhook_id: int) -> pb.Delivery:
        """Returns the one delivery, once a try has failed."""
        (delivery,) = await self.which(webhook_id, lambda candidate: bool(candidate.last_error))
        return delivery

    def pass_time(self, seconds: float) -> None:
        """Makes every pending delivery so much older."""
        sql(
            self._engine,
            """UPDATE webhook_deliveries SET next_attempt_time = next_attempt_time - make_interval(secs => :s),
                expire_time = expire_time - make_interval(secs => :s),
                create_time = create_time - make_interval(secs => :s) WHERE status = 1""",
            s=seconds,
        )


# A receiver of OTLP over HTTP: keeps the spans that services export.


@dataclass(frozen=True)
class ReceivedSpan:
    """A span of a service; ids are hexadecimal, times nanoseconds since 1970."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root of a trace."""
    linked: tuple[str, ...]
    """The traces that it is linked with."""
    start: int
    end: int
    error: str
    """Empty if it is not marked as one."""
    attributes: Mapping[str, object]

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


class OtlpReceiver(HttpServer):
    """`url` is for OTEL_EXPORTER_OTLP_ENDPOINT. Spans come in any order."""

    def __init__(self) -> None:
        super().__init__(_Export)
        self.received: list[ReceivedSpan] = []

    def spans(self, name: str = "", trace_id: str = "") -> list[ReceivedSpan]:
        """Returns the spans of that name and trace so far, in the order of their starts."""
        spans = [span for span in self.received if name in {"", span.name} and trace_id in {"", span.trace_id}]
        return sorted(spans, key=lambda span: span.start)

    def wait_for(self, count: int, *, within: float) -> list[ReceivedSpan]:
        """Returns all spans, once there are so many."""
        what = f"{count} spans are exported"
        return wait_until(lambda: spans if len(spans := self.spans()) >= count else [], within=within, what=what)


class _Export(Handler):
    server: OtlpReceiver

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        self.server.received += _spans(ExportTraceServiceRequest.FromString(self.body()))
        self.answer(200, ExportTraceServiceResponse().SerializeToString(), Content_Type="application/x-protobuf")


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource in request.resource_spans:
        service = str(_attributes(resource.resource.attributes)["service.name"])
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service,
                    span.name,
                    trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple(link.trace_id.hex() for link in span.links),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.message if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else "",
                    _attributes(span.attributes),
                )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


# A name server on loopback: every name leads to 127.0.0.1, except those that it never answers.


SILENT = "silent"
"""How a name begins that is never answered."""
_HEADER = struct.Struct("!HHHHHH")
_ANSWERS, _TYPE_A, _CLASS_IN, _TTL_S = 0x8180, 1, 1, 60
_LOOPBACK = socket.inet_aton("127.0.0.1")
_POINTER_TO_NAME = 0xC00C


class NameServer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.asked: set[str] = set()
        """The names of all questions."""
        self.address = ""
        """For clients, with its port."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        (number, *_) = _HEADER.unpack_from(data)
        labels, at = [], _HEADER.size
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question, name = data[_HEADER.size : at + 5], ".".join(labels)
        self.asked.add(name)
        if name.startswith(SILENT):
            return
        (kind,) = struct.unpack_from("!H", data, at + 1)
        answer = b""
        if kind == _TYPE_A:
            answer = struct.pack("!HHHIH", _POINTER_TO_NAME, _TYPE_A, _CLASS_IN, _TTL_S, 4) + _LOOPBACK
        self._transport.sendto(_HEADER.pack(number, _ANSWERS, 1, bool(answer), 0, 0) + question + answer, addr)


@asynccontextmanager
async def naming() -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()


# A mail server on loopback, which takes whatever comes.


class MailServer(socketserver.ThreadingTCPServer):
    """Serves within the block that enters it; keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Mail)
        self.port = self.server_address[1]
        self.received: list[EmailMessage] = []
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Mail(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._answer("220 ready")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self._answer("354 go on")
                data = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.received.append(message_from_bytes(data, EmailMessage, policy=default))
            self._answer("221 bye" if command == b"QUIT" else "250 done")

    def _answer(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
