"""Reads what a result names: files in the CLI's own working folder and no others, and pictures by their addresses.

Pictures are read from allowed hosts only, by https, from no private network. A host that is allowed may still be made
to point anywhere, so the address that is connected to is checked, at each redirect anew; what was resolved once is not
resolved again.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import posixpath
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from worker_svc.outcome import LeftOutReason

# Files in the CLI's working folder.


class LeftOutError(Exception):
    """A file or an address is not taken, or not stored, for good, for a `reason`."""

    def __init__(self, reason: LeftOutReason) -> None:
        super().__init__(reason)
        self.reason = reason


def within(folder: Path, path: str) -> str:
    """Returns the path relative to `folder`. Raises LeftOutError if it leads out of it.

    No link is followed on the way, so `..` can be resolved by its text.
    """
    for base in (folder, os.path.realpath(folder)):  # a CLI may say the latter of itself
        relative = posixpath.normpath(posixpath.relpath(path, base) if path.startswith("/") else path)
        if not (relative == ".." or relative.startswith("../")):
            return relative
    raise LeftOutError(LeftOutReason.OUTSIDE_FOLDER)


def open_file(folder: Path, relative: str) -> int:
    """Returns a descriptor of a regular file, for reading. Raises LeftOutError.

    Opens one component after the other, so that nothing that the CLI puts in place of one leads elsewhere.
    """
    *folders, name = relative.split("/")
    dir_fd = _open(str(folder), os.O_DIRECTORY, None)
    try:
        for part in folders:
            inner = _open(part, os.O_DIRECTORY, dir_fd)
            os.close(dir_fd)
            dir_fd = inner
        file = _open(name, os.O_NONBLOCK, dir_fd)
    finally:
        os.close(dir_fd)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise LeftOutError(LeftOutReason.NOT_FOUND)
    return file


def _open(name: str, flags: int, dir_fd: int | None) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=dir_fd)
    except (OSError, ValueError):
        raise LeftOutError(_why_not(name, dir_fd)) from None


def _why_not(name: str, dir_fd: int | None) -> LeftOutReason:
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except (OSError, ValueError):
        return LeftOutReason.NOT_FOUND
    return LeftOutReason.SYMLINK if stat.S_ISLNK(status.st_mode) else LeftOutReason.NOT_FOUND


# Pictures by their addresses.

MAX_REDIRECTS = 5
CONNECT_TIMEOUT = 10.0
FETCH_TIMEOUT = 60.0  # seconds from the lookup of one address's host to its last byte
_BLOCK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses that are given to anybody."""
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24")))
"""What clouds and gateways use for themselves, and not every Python counts as private; as for webhooks' addresses."""
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
R = TypeVar("R")


def is_public(address: IpAddress) -> bool:
    """Returns whether an address is on the public internet, through tunnels and translations too."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in _GLOBAL_UNICAST or address.sixtofour or address.teredo:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


def on_own_thread(work: Callable[[], R]) -> Future[R]:
    """Runs `work` on a new thread, which does not hold up the end of the process, as one of an executor would."""
    future: Future[R] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it belongs to who waits for the future
                future.set_exception(error)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    return future


class Fetcher:
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
        """Returns whether an address has the scheme https and one of the allowed hosts."""
        try:
            url = urlsplit(address)
            host, port = (url.hostname or "").rstrip(".").lower(), url.port or 443
        except ValueError:
            return False
        if url.scheme.lower() != "https" or url.username is not None or not host:
            return False
        return any(_matches(allowed, host, port) for allowed in self._hosts)

    def fetch(self, address: str, max_bytes: int, until: float = inf) -> Iterator[bytes]:
        """Yields the bytes of what is there. Blocks, until `until` of the monotonic clock at most.

        Raises LeftOutError at the first of them, or later.
        """
        deadline = min(time.monotonic() + FETCH_TIMEOUT, until)
        for _ in range(MAX_REDIRECTS + 1):
            if not self.allows(address):
                raise LeftOutError(LeftOutReason.HOST_NOT_ALLOWED)
            with closing(self._connect(address, deadline)) as connection, _until(deadline, connection):
                try:
                    with closing(_answer(connection, address)) as response:
                        if response.status not in _REDIRECTS:
                            yield from _body(response, max_bytes, deadline)
                            return
                        address = urljoin(address, response.headers.get("location", ""))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise LeftOutError(LeftOutReason.FETCH_FAILED) from error
        raise LeftOutError(LeftOutReason.FETCH_FAILED)

    def _connect(self, address: str, deadline: float) -> ssl.SSLSocket:
        """Connects to a checked address of the host. Raises LeftOutError."""
        url = urlsplit(address)
        host, port = url.hostname or "", url.port or 443
        places = _looked_up(host, port, deadline)
        if not all(self._may_connect(ipaddress.ip_address(place.partition("%")[0])) for place in places):
            raise LeftOutError(LeftOutReason.HOST_NOT_ALLOWED)
        for place in places:
            with suppress(OSError):
                return self._connected(place, port, host, deadline)
        raise LeftOutError(LeftOutReason.FETCH_FAILED)

    def _connected(self, place: str, port: int, host: str, deadline: float) -> ssl.SSLSocket:
        """Opens a TLS connection to one address of the host. Raises OSError."""
        timeout = min(CONNECT_TIMEOUT, _left(deadline))
        with socket.create_connection((place, port), timeout) as plain:
            connection = self._tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        try:
            with _until(deadline, connection):
                connection.do_handshake()
        except BaseException:
            connection.close()
            raise
        return connection


def _left(deadline: float) -> float:
    """Returns the seconds until the deadline. Raises TimeoutError once it has passed."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("no time is left")
    return remaining


def _looked_up(host: str, port: int, deadline: float) -> list[str]:
    """Returns the host's addresses. Raises LeftOutError, at the deadline too: the system's own lookup knows none."""
    lookup = on_own_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    try:
        return [str(entry[4][0]) for entry in lookup.result(_left(deadline))]
    except (OSError, UnicodeError) as error:
        raise LeftOutError(LeftOutReason.FETCH_FAILED) from error


def _matches(allowed: str, host: str, port: int) -> bool:
    name, _, wanted_port = allowed.partition(":")
    if port != int(wanted_port or 443):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


@contextmanager
def _until(deadline: float, connection: socket.socket) -> Iterator[None]:
    """Ends a read that waits for a slow peer at the deadline. TLS is left as it is: the reading thread uses it."""

    def abort() -> None:
        with suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), abort)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _answer(tls_socket: ssl.SSLSocket, address: str) -> http.client.HTTPResponse:
    url = urlsplit(address)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection = http.client.HTTPSConnection(url.hostname or "", url.port or 443)
    connection.sock = tls_socket
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
