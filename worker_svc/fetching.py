"""Reads pictures that a result names by their addresses: from allowed hosts only, by https, from no private network.

Layer: beside run_files.

A host that is allowed may still be made to point anywhere, so the address that is connected to is checked, at each
redirect anew; what was resolved once is not resolved again.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.parse import urljoin, urlsplit

from worker_svc.outcome import LeftOutReason
from worker_svc.run_files import LeftOutError

MAX_REDIRECTS = 5
CONNECT_TIMEOUT = 10.0
FETCH_TIMEOUT = 60.0
"""Seconds from the first connection to the last byte of one address."""
_BLOCK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: IpAddress) -> bool:
    """Whether it is on the public internet, through tunnels and translations too."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64 or address.sixtofour or address.teredo:
            return False
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
    return address.is_global and not address.is_multicast


class Fetcher:
    """Fetches from some hosts."""

    def __init__(
        self,
        hosts: Sequence[str],
        may_connect: Callable[[IpAddress], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`hosts`: names, each perhaps with a port; `*.name`: any host below that name."""
        self._hosts = tuple(host.lower() for host in hosts)
        self._may_connect = may_connect
        self._tls = tls or ssl.create_default_context()

    def allows(self, address: str) -> bool:
        """Whether the scheme is https, and the host is one of them."""
        try:
            url = urlsplit(address)
            host, port = (url.hostname or "").rstrip(".").lower(), url.port or 443
        except ValueError:
            return False
        if url.scheme.lower() != "https" or url.username is not None or not host:
            return False
        return any(_matches(allowed, host, port) for allowed in self._hosts)

    def fetch(self, address: str, max_bytes: int) -> Iterator[bytes]:
        """Yields the bytes of what is there. Blocks. Raises LeftOutError at the first of them, or later."""
        deadline = time.monotonic() + FETCH_TIMEOUT
        for _ in range(MAX_REDIRECTS + 1):
            if not self.allows(address):
                raise LeftOutError(LeftOutReason.HOST_NOT_ALLOWED)
            with closing(self._connect(address)) as connected, _until(deadline, connected):
                try:
                    with closing(_answer(connected, address)) as response:
                        if response.status not in _REDIRECTS:
                            yield from _body(response, max_bytes, deadline)
                            return
                        address = urljoin(address, response.headers.get("location", ""))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise LeftOutError(LeftOutReason.FETCH_FAILED) from error
        raise LeftOutError(LeftOutReason.FETCH_FAILED)

    def _connect(self, address: str) -> ssl.SSLSocket:
        """Connects to a checked address of the host. Raises LeftOutError."""
        url = urlsplit(address)
        host, port = url.hostname or "", url.port or 443
        try:
            places = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise LeftOutError(LeftOutReason.FETCH_FAILED) from error
        if not all(self._may_connect(ipaddress.ip_address(place.partition("%")[0])) for place in places):
            raise LeftOutError(LeftOutReason.HOST_NOT_ALLOWED)
        for place in places:
            try:
                with socket.create_connection((place, port), CONNECT_TIMEOUT) as plain:
                    return self._tls.wrap_socket(plain, server_hostname=host)
            except OSError:
                continue
        raise LeftOutError(LeftOutReason.FETCH_FAILED)


def _matches(allowed: str, host: str, port: int) -> bool:
    name, _, wanted_port = allowed.partition(":")
    if port != int(wanted_port or 443):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


@contextmanager
def _until(deadline: float, connected: socket.socket) -> Iterator[None]:
    """Ends a read that waits for a slow peer at the deadline. TLS is left as it is: the reading thread uses it."""

    def abort() -> None:
        with suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    over = threading.Timer(max(0.0, deadline - time.monotonic()), abort)
    over.start()
    try:
        yield
    finally:
        over.cancel()
        over.join()


def _answer(connected: ssl.SSLSocket, address: str) -> http.client.HTTPResponse:
    url = urlsplit(address)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = http.client.HTTPSConnection(url.hostname or "", url.port or 443)
    connection.sock = connected
    connection.request("GET", target, headers={"Accept": "image/*, */*;q=0.5", "User-Agent": "contentgen-worker"})
    return connection.getresponse()


def _body(response: http.client.HTTPResponse, max_bytes: int, deadline: float) -> Iterator[bytes]:
    """Raises LeftOutError, OSError, HTTPException."""
    if response.status != 200:
        raise LeftOutError(LeftOutReason.FETCH_FAILED)
    size = 0
    while block := response.read1(_BLOCK):
        size += len(block)
        if size > max_bytes:
            raise LeftOutError(LeftOutReason.TOO_LARGE)
        if time.monotonic() > deadline:
            raise LeftOutError(LeftOutReason.FETCH_FAILED)
        yield block
    if response.length or not size:
        raise http.client.IncompleteRead(b"")
