"""The protocol between worker and guard: JSON documents and descriptors over one stream socket.

Used by both ends. A document is four bytes of length (network order) and ASCII JSON; lone surrogates survive, so an
argument that is not UTF-8 arrives byte for byte. `"fds": n` says how many descriptors travel with it.

Worker to guard:

- `{"op": "open", "run", "deadline"}`: a run begins; deadline in seconds of `guard.now`
- `{"op": "move", "deadlines": {run: deadline}}`: renewed; runs that are over are skipped
- `{"op": "grace", "seconds"}`: between TERM and KILL from now on
- `{"op": "spawn", "child", "run", "argv", "env", "cwd"}`: `child` is the worker's number for it; a descriptor with it
  takes its stdout
- `{"op": "stop", "child"}`: TERM to the child's group, KILL after the grace
- `{"op": "close", "run"}`: stop the run with all its descendants

Guard to worker:

- `{"event": "ready", "capabilities"}`
- `{"event": "spawned", "child", "pid"}` with the read ends of stderr and, unless one was given, stdout before it
- `{"event": "failed", "child", "errno", "message"}`: it never ran
- `{"event": "exited", "child", "code" | "signal", "ended_by"}`
- `{"event": "ended", "run", "asked"}`: no process of the run lives; `asked` is false at its deadline
- `{"event": "refused", "op", "child" | "run", "message"}`: the request was invalid and changed nothing

End of file from the worker ends every run. End of file from the guard means that the guard is gone.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

MAX_DOCUMENT = 16 << 20  # bytes; Linux lets argv and env together be 6 MiB at most, JSON may double that
MAX_DESCRIPTORS = 8  # in one read; a document carries two at most
_HEAD = struct.Struct("!I")
_CHUNK = 1 << 16

Document = dict[str, Any]


class Closed(Exception):
    """The other end has closed the socket."""


class GuardChannel:
    """One end of the socket. Never blocks: call `flush` when it is writable, `receive` when it is readable."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._in = bytearray()
        self._fds: deque[int] = deque()

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        return bool(self._out)

    def send(self, document: Document, fds: Sequence[int] = ()) -> None:
        """Queues a document and sends what the socket takes. Closes the descriptors once they are sent."""
        data = json.dumps({**document, "fds": len(fds)}).encode("ascii")
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"a message of {len(data)} bytes is above the limit of {MAX_DOCUMENT}")
        self._out.append((memoryview(_HEAD.pack(len(data)) + data), fds))
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes now. Raises Closed."""
        try:
            while self._out:
                self._send_some(*self._out.popleft())
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._out.clear()
            raise Closed from error

    def _send_some(self, data: memoryview, fds: Sequence[int]) -> None:
        try:
            size = socket.send_fds(self._sock, [data], fds) if fds else self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self._out.appendleft((data, fds))
            raise
        except OSError:
            close_all(fds)
            raise
        close_all(fds)  # they went with the first byte
        if size < len(data):
            self._out.appendleft((data[size:], ()))

    def receive(self) -> list[tuple[Document, list[int]]]:
        """Returns the complete documents so far, each with its descriptors, which the caller has to close.

        Raises Closed on end of file, and on data that is not this protocol.
        """
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, _CHUNK, MAX_DESCRIPTORS)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise Closed from error
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds.extend(fds)
        if not data:
            raise Closed
        self._in += data
        return self._documents()

    def _documents(self) -> list[tuple[Document, list[int]]]:
        messages = []
        while len(self._in) >= _HEAD.size:
            (length,) = _HEAD.unpack_from(self._in)
            if length > MAX_DOCUMENT:
                raise Closed
            end = _HEAD.size + length
            if len(self._in) < end:
                break
            document = _document(self._in[_HEAD.size : end])
            del self._in[:end]
            if len(self._fds) < document["fds"]:
                raise Closed("descriptors were lost: this process has too many open")
            messages.append((document, [self._fds.popleft() for _ in range(document["fds"])]))
        return messages

    def shut_write(self) -> None:
        """Ends this direction; the other end reads end of file."""
        with suppress(OSError):  # the other end may be gone already
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes the socket and every descriptor that was not delivered."""
        for _, fds in self._out:
            close_all(fds)
        self._out.clear()
        close_all(self._fds)
        self._fds.clear()
        self._sock.close()


def _document(data: bytearray) -> Document:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    count = document.get("fds") if isinstance(document, dict) else None
    if not isinstance(document, dict) or type(count) is not int or not 0 <= count <= MAX_DESCRIPTORS:
        raise Closed("the data is not this protocol")
    return document


def close_all(fds: Sequence[int] | deque[int]) -> None:
    for fd in fds:
        os.close(fd)
