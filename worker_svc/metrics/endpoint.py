"""Serves `/metrics`, `/livez` and `/readyz` over HTTP, on threads of its own: no answer waits for the event loop.

Layer: inside metrics.
"""

from __future__ import annotations

import socket
import socketserver
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from worker_svc.config import SettingsError

THREADS = 4
"""Requests that are answered at once; further ones wait."""
REQUEST_TIMEOUT = 5.0
"""Seconds that a client may be silent in the middle of its request or its answer."""
STOP_INTERVAL = 0.1

Probe = Callable[[], Sequence[str]]
"""Returns the reasons for 503; none: 200. Any thread calls it, so it may only read what is there."""


class MetricsEndpoint:
    """Listens from the start until `stop`."""

    def __init__(self, address: str, registry: CollectorRegistry, *, live: Probe, ready: Probe) -> None:
        """Raises SettingsError if it can't listen on `address`, which is `host:port`."""
        self._exposition: WSGIApplication = make_wsgi_app(registry)
        self._probes = {"/livez": live, "/readyz": ready}
        self._server = _bound(address)
        self._server.set_app(self._answer)
        self._thread = Thread(target=self._server.serve_forever, args=(STOP_INTERVAL,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def stop(self) -> None:
        """Returns once the answers under way are sent."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

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


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by its base
        """Logs nothing: probes come every few seconds."""


class _Server(WSGIServer):
    """Answers on a few threads."""

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(THREADS)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="metrics")
        try:
            super().__init__((host, port), _Handler)
        except OSError:
            self._threads.shutdown()
            raise

    def server_bind(self) -> None:
        """Not that of `HTTPServer`, which asks the name server for this host's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        self._threads.submit(self._process, request, client_address)

    def _process(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client is silent, or gone
        finally:
            self.shutdown_request(request)
            self._free.release()

    def server_close(self) -> None:
        super().server_close()
        self._threads.shutdown()


def _bound(address: str) -> _Server:
    host, _, port = address.rpartition(":")
    try:
        return _Server(host.strip("[]"), int(port))
    except OSError as error:
        advice = "set CONTENTGEN_METRICS_LISTEN to another address, or stop what uses it (:0 picks a free port)"
        raise SettingsError([f"CONTENTGEN_METRICS_LISTEN={address}: {error.strerror or error}; {advice}"]) from None


def _text(start: StartResponse, status: str, *lines: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return ["".join(f"{line}\n" for line in lines).encode()]
