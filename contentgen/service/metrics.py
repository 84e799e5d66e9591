"""A service's metrics, each declared by name, help, labels and buckets; and the HTTP server of them and the probes.

`docs/reference/metrics.md` is made from what is declared. Every label has a small, fixed set of values. `/metrics`,
`/livez` and `/readyz` are served on a thread of its own: no answer waits for a service's loop. A request has a deadline
as a whole, and waits for no other one: whoever sends slowly keeps nobody from an answer.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from threading import Thread
from typing import NamedTuple
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)

from contentgen.service.settings import SettingsError
from contentgen.service.values import Address


class Declared(NamedTuple):
    """One metric, as the document shows it."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...]


class ServiceMetrics:
    """The metrics of one service. Derive from it, and declare further ones."""

    def __init__(self, service: str) -> None:
        """`service`: such as `worker`."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        ProcessCollector(registry=self.registry)
        self._service = service
        self._build = self._gauge(
            "contentgen_build_info", f"Always 1. The version of this {service} is a label.", "service", "version"
        )

    def built(self, version: str) -> None:
        self._build.labels(self._service, version).set(1)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        self.declared.append(Declared(name, "counter", documentation, labels))
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        self.declared.append(Declared(name, "gauge", documentation, labels))
        return Gauge(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float], *labels: str) -> Histogram:
        self.declared.append(Declared(name, "histogram", documentation, labels))
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)


SAMPLE_INTERVAL = 0.5
FROZEN_LIMIT = 30.0
"""Seconds without a sample after which the event loop counts as frozen."""


class Sampling:
    """Samples what lives on the event loop. A scrape, on a thread of its own, reads only the last sample."""

    def __init__(self, lag: Histogram, sample: Callable[[], Awaitable[None]]) -> None:
        """`sample` sets the gauges. The time that it takes is no lag."""
        self._lag = lag
        self._sample = sample
        self._due: float | None = None
        self._sampled_at = time.monotonic()

    async def run_once(self) -> float:
        """Samples, and measures how late the event loop runs it; returns the seconds until the next time."""
        if self._due is not None:
            self._lag.observe(max(0.0, time.monotonic() - self._due))
        await self._sample()
        self._sampled_at = time.monotonic()
        self._due = self._sampled_at + SAMPLE_INTERVAL
        return SAMPLE_INTERVAL

    def frozen_reasons(self) -> list[str]:
        """Returns why the process counts as dead; empty if it lives. Any thread may call it."""
        silence = time.monotonic() - self._sampled_at
        return [f"the event loop has not run for {silence:.0f} s"] if silence > FROZEN_LIMIT else []


MAX_CONNECTIONS = 100
"""Beyond it the oldest one ends."""
MAX_HEAD = 16 * 1024
"""Bytes of a request."""
REQUEST_TIMEOUT = 5.0
"""Seconds from a connection to the end of its answer."""
STOP_TIMEOUT = 1.0
"""Seconds for the answers under way when it stops."""

Probe = Callable[[], Sequence[str]]
"""Returns the reasons for 503; none: 200. Another thread calls it, so it may only read what is there."""


class MetricsEndpoint:
    """Listens from the start until `stop`."""

    def __init__(
        self,
        address: Address,
        registry: CollectorRegistry,
        *,
        live: Probe,
        ready: Probe,
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """Raises SettingsError if it can't listen on this address."""
        self._exposition: WSGIApplication = make_wsgi_app(registry)
        self._probes = {"/livez": live, "/readyz": ready}
        self._request_timeout = request_timeout
        self._socket = listen(address, "CONTENTGEN_METRICS_LISTEN")
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}  # the oldest first
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def stop(self) -> None:
        """Returns once the answers under way are sent."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=MAX_HEAD)
        await self._stopping.wait()
        server.close()
        if tasks := [task for task in self._open.values() if task]:
            await asyncio.wait(tasks, timeout=STOP_TIMEOUT)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            next(iter(self._open)).transport.abort()
        self._open[writer] = asyncio.current_task()
        try:
            async with asyncio.timeout(self._request_timeout):
                writer.write(self._response(await reader.readuntil(b"\r\n\r\n")))
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the client is too slow, sends too much, or is gone
        finally:
            writer.transport.abort()
            del self._open[writer]

    def _response(self, head: bytes) -> bytes:
        responses: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> Callable[[bytes], object]:
            responses.append((status, headers))
            return bytes

        body = b"".join(self._answer(_environ(head), start))
        [(status, headers)] = responses
        headers += [("Content-Length", str(len(body))), ("Connection", "close")]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET":
            return _text(start, "405 Method Not Allowed", "use GET")
        if path == "/metrics":
            return self._exposition(environ, start)
        if probe := self._probes.get(path):
            reasons = probe()
            return _text(start, "503 Service Unavailable" if reasons else "200 OK", *(reasons or ["ok"]))
        return _text(start, "404 Not Found", "there are /metrics, /livez and /readyz")


def listen(address: Address, variable: str) -> socket.socket:
    """Returns a socket that listens on an address. Raises SettingsError, which names the variable."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        advice = f"set {variable} to another address, or stop what uses it (:0 picks a free port)"
        raise SettingsError([f"{variable}={address}: {error.strerror or error}; {advice}"]) from None


def _environ(head: bytes) -> WSGIEnvironment:
    """Returns the WSGI environment of a request."""
    request, *lines = head.decode("latin-1").split("\r\n")
    method, _, rest = request.partition(" ")
    path, _, query = rest.partition(" ")[0].partition("?")
    fields = (line.partition(":") for line in lines)
    variables = {f"HTTP_{name.upper().replace('-', '_')}": value.strip() for name, _, value in fields}
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **variables}


def _text(start: StartResponse, status: str, *lines: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return ["".join(f"{line}\n" for line in lines).encode()]
