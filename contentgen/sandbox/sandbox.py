"""The service's side: calls of the work, each with a deadline, and processes that are started again.

A service and its sandbox send each other frames: bytes, after their number.
"""

from __future__ import annotations

import asyncio
import math
import queue
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from subprocess import DEVNULL

START_TIMEOUT = 30.0
"""Seconds that a process may take to be ready; a busy machine takes some."""
MAX_TRIES = 2
"""Of an input whose process ends: it may have been ended for another reason, such as the memory of the machine."""


class SandboxError(Exception):
    """An input took too much memory or time, or broke what worked on it."""


class Sandbox:
    """Calls one function, of bytes that returns bytes, in processes that are started when they are needed."""

    def __init__(self, work: str, *, timeout: float, memory: int, processes: int = 1) -> None:
        """`work` is `module:function`. `timeout`: seconds of a try; `memory`: bytes of a process's address space.

        While there are as many calls as `processes`, further ones wait.
        """
        self.timeout = timeout
        command = (sys.executable, "-I", "-m", "contentgen.sandbox", work, str(memory), str(math.ceil(timeout)))
        self._processes = [_Process(command) for _ in range(processes)]
        self._free: queue.LifoQueue[_Process] = queue.LifoQueue()
        for process in self._processes:
            self._free.put(process)
        # Plain threads: the event loops of the services start processes in ways that gRPC's threads do not stand.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="sandbox")

    async def call(self, data: bytes) -> bytes:
        """Returns what the function makes of the bytes. Raises SandboxError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, data)

    def _call(self, data: bytes) -> bytes:
        process = self._free.get()
        try:
            return self._try(process, data)
        finally:
            self._free.put(process)

    def _try(self, process: _Process, data: bytes) -> bytes:
        for _ in range(MAX_TRIES):
            try:
                return process.call(data, self.timeout)
            except TimeoutError:
                raise SandboxError(f"it took longer than {self.timeout:g} s") from None
            except (OSError, EOFError, ValueError) as error:
                failure = error
        raise SandboxError(f"its process failed {MAX_TRIES} times: {failure}")

    def close(self) -> None:
        """Ends the processes; calls that are under way raise SandboxError."""
        for process in self._processes:
            process.interrupt()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.end()


class _Process:
    """One process at a time, for calls one after the other, each on any thread."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._interrupted = False

    def call(self, data: bytes, timeout: float) -> bytes:
        """Raises TimeoutError, OSError, EOFError and ValueError, and ends the process then."""
        try:
            peer = self._started()
            deadline = time.monotonic() + timeout
            send(peer, data, deadline)
            return receive(peer, deadline)
        except BaseException:
            self.end()
            raise

    def _started(self) -> socket.socket:
        if self._running is None:
            self._running = self._start()
            if self._interrupted:
                raise EOFError("the sandbox is closed")
            try:
                receive(self._running[1], time.monotonic() + START_TIMEOUT)
            except TimeoutError:
                raise ChildProcessError(f"it was not ready after {START_TIMEOUT:g} s") from None
        return self._running[1]

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        own_end, process_end = socket.socketpair()
        with process_end:
            try:
                process = subprocess.Popen(
                    self._command, stdin=process_end.fileno(), stdout=DEVNULL, stderr=DEVNULL, env={}, cwd="/"
                )
            except OSError:
                own_end.close()
                raise
        return process, own_end

    def interrupt(self) -> None:
        """Ends the process under a call, and those that the call would start."""
        self._interrupted = True
        if running := self._running:
            running[0].kill()

    def end(self) -> None:
        if self._running:
            process, peer = self._running
            self._running = None
            process.kill()
            process.wait()
            peer.close()


MAX_FRAME = 16 * 2**20
"""Bytes."""
_LENGTH = struct.Struct(">I")


def send(peer: socket.socket, data: bytes, until: float | None = None) -> None:
    """Sends one frame. Raises TimeoutError at `until`, of `time.monotonic()`, and OSError if the peer has ended."""
    _wait_until(peer, until)
    peer.sendall(_LENGTH.pack(len(data)) + data)


def receive(peer: socket.socket, until: float | None = None) -> bytes:
    """Returns the next frame. Raises as `send` does, EOFError if the peer has ended, ValueError if one is too large."""
    (length,) = _LENGTH.unpack(_read(peer, _LENGTH.size, until))
    if length > MAX_FRAME:
        raise ValueError(f"an answer must have at most {MAX_FRAME:,} bytes, has {length:,}")
    return _read(peer, length, until)


def _read(peer: socket.socket, length: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < length:
        _wait_until(peer, deadline)
        part = peer.recv(length - len(data))
        if not part:
            raise EOFError("the peer has ended")
        data += part
    return bytes(data)


def _wait_until(peer: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        peer.settimeout(max(deadline - time.monotonic(), 0.001))  # 0 would mean: do not wait, and fail otherwise
