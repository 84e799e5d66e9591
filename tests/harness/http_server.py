"""HTTP servers on loopback, within the test's process, whose answers a handler of the test gives."""

from __future__ import annotations

import ssl
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of a connection, as the `do_GET`, `do_POST` and so on of a test's own say."""

    def body(self) -> bytes:
        """Raises ConnectionError if the peer has gone before its end."""
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("a request without its end")
        return body

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing on the tests' stderr."""


class HttpServer(ThreadingHTTPServer):
    """Serves within the block that enters it, each connection in a thread; on a free port if none is named.

    A connection that a peer keeps is answered after the block, too.
    """

    request_queue_size = 128

    def __init__(self, handler: type[Handler], tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
