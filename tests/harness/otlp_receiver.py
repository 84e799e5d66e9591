"""A receiver of OTLP over HTTP: keeps the spans that services export."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.harness.waiting import wait_until

_PATH = "/v1/traces"


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


class OtlpReceiver:
    """Listens on a free port. Spans come in any order."""

    def __init__(self) -> None:
        self._spans: list[ReceivedSpan] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == _PATH
                receiver._spans += _spans(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""

    @contextmanager
    def serving(self) -> Iterator[OtlpReceiver]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def spans(self, name: str = "", trace_id: str = "") -> list[ReceivedSpan]:
        """The spans of that name and trace so far, in the order of their starts."""
        spans = [span for span in self._spans if name in {"", span.name} and trace_id in {"", span.trace_id}]
        return sorted(spans, key=lambda span: span.start)

    def wait_for(self, count: int, *, within: float) -> list[ReceivedSpan]:
        """All spans, once there are so many."""
        what = f"{count} spans are exported"
        return wait_until(lambda: found if len(found := self.spans()) >= count else [], within=within, what=what)


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


def _attributes(pairs: object) -> dict[str, object]:
    attributes: dict[str, object] = {}
    for pair in pairs:  # type: ignore[attr-defined] # a repeated field
        assert isinstance(pair, KeyValue)
        attributes[pair.key] = getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
    return attributes
