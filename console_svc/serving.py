"""Serves an application by HTTP, to connections that are bounded in number and in the time that they wait.

uvicorn bounds neither: a connection without a request stays for as long as its peer likes, and whoever opens as many as
this process may have files open shuts out all others.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import create_ssl_context
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 2_000
"""Fewer if the limit of open files is lower."""
WAIT_LIMIT = 30.0
"""Seconds in which all headers of a connection's next request have to arrive, and what is left of the last one; in
which its TLS handshake has to end; and in which a peer has to take some of an answer."""
MIN_OPEN_FILES = 4_096
"""What `MAX_CONNECTIONS` needs, and some more."""
OPEN_FILES_FOR_OTHERS = 256
STOP_TIMEOUT = 3
"""Seconds for answers under way; live pages are cut off then, and come back by themselves."""
_ACCEPT_INTERVAL = 0.2
"""Seconds until another connection is accepted after one could not be."""

_log = structlog.get_logger(__name__)


class Places:
    """The connections. Where there is no place left, whoever has waited for longest without a request loses his.

    A request counts from when it has arrived as a whole: a peer that stalls one takes no place from others.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Connection, None] = {}  # for longest first
        self._served: set[Connection] = set()

    def take(self, connection: Connection) -> bool:
        """Takes a place for a new connection. Returns False if all others are being served."""
        if len(self._waiting) + len(self._served) >= self._limit:
            if not self._waiting:
                return False
            idle_connection = next(iter(self._waiting))
            self.leave(idle_connection)
            idle_connection.cut_off()
        self._waiting[connection] = None
        return True

    def serve(self, connection: Connection) -> None:
        if connection in self._waiting:
            del self._waiting[connection]
            self._served.add(connection)

    def wait(self, connection: Connection) -> None:
        if connection in self._served:
            self._served.discard(connection)
            self._waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._served.discard(connection)


class Connection(H11Protocol):
    def __init__(self, places: Places, wait_limit: float, *args: Any) -> None:
        super().__init__(*args)
        self._places = places
        self._wait_limit = wait_limit
        self._deadline: asyncio.TimerHandle | None = None
        self.opening: asyncio.Task[None] | None = None
        """Its TLS handshake, while that lasts."""

    def cut_off(self) -> None:
        if self.transport:
            self.transport.abort()
        elif self.opening:
            self.opening.cancel()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.leave(self)
        self._unlimit_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:
            self._unlimit_wait()
            if not self.cycle.more_body:
                self._places.serve(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request had been waiting already
            self._places.wait(self)
            self._limit_wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit_wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle and not self.cycle.response_complete:
            self._unlimit_wait()

    def _limit_wait(self) -> None:
        self._unlimit_wait()
        self._deadline = self.loop.call_later(self._wait_limit, self.transport.abort)

    def _unlimit_wait(self) -> None:
        if self._deadline:
            self._deadline.cancel()


class WholeRequests:
    """ASGI middleware: an answer ends once its request has arrived as a whole; what nobody has read of it is dropped.

    Else a connection that is closed after the answer is reset, and a peer that is still sending never reads the answer.
    """

    def __init__(self, app: ASGIApp, wait_limit: float) -> None:
        self._app = app
        self._wait_limit = wait_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        missing = scope["type"] == "http" and scope["method"] not in {"GET", "HEAD"}

        async def noting() -> Message:
            nonlocal missing
            message = await receive()
            missing = bool(message.get("more_body"))
            return message

        async def sending(message: Message) -> None:
            if missing and message["type"] == "http.response.body" and not message.get("more_body"):
                await send({**message, "more_body": True})
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_limit):
                        while missing:
                            await noting()
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, noting if missing else receive, sending if missing else send)


class Server(uvicorn.Server):
    def __init__(
        self, app: ASGIApp, connections: int, *, wait_limit: float = WAIT_LIMIT, cert: object = None, key: object = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                WholeRequests(app, wait_limit),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=str(cert) if cert else None,
                ssl_keyfile=str(key) if key else None,
                timeout_graceful_shutdown=STOP_TIMEOUT,
            )
        )
        self._places = Places(connections)
        self._wait_limit = wait_limit
        self._accepting: list[asyncio.Task[None]] = []

    def load_certificate(self) -> None:
        """Has later handshakes use what the files of certificate and key hold now."""
        config = self.config
        if config.ssl_certfile:
            config.ssl = create_ssl_context(
                config.ssl_certfile,
                config.ssl_keyfile,
                config.ssl_keyfile_password,
                config.ssl_version,
                config.ssl_cert_reqs,
                config.ssl_ca_certs,
                config.ssl_ciphers,
            )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        loop, states = asyncio.get_running_loop(), (self.server_state, self.lifespan.state)
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    peer, _ = await loop.sock_accept(listener)
                except OSError as error:
                    _log.warning("a connection can't be accepted", action="connection", error=error.strerror)
                    await asyncio.sleep(_ACCEPT_INTERVAL)
                    continue
                connection = Connection(self._places, self._wait_limit, self.config, *states, loop)
                if self._places.take(connection):
                    connection.opening = handshakes.create_task(self._open(connection, peer))
                else:
                    _log.warning("there are too many connections", action="connection")
                    peer.close()

    async def _open(self, connection: Connection, peer: socket.socket) -> None:
        tls = self.config.ssl
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, peer, ssl=tls, ssl_handshake_timeout=self._wait_limit if tls else None
            )
        except Exception as error:  # noqa: BLE001 - whatever a peer does in its handshake concerns no other
            _log.debug("a connection was not opened", action="connection", error=repr(error))
        finally:
            if not connection.transport:
                self._places.leave(connection)
