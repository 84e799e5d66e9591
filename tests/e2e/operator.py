"""`contentgen` as a process: on a terminal or in pipes, with what it writes read as it comes."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.harness.waiting import wait_until

PATIENCE_S = 30
_SIZE = struct.pack("HHHH", 24, 80, 0, 0)  # lines, columns


class Operator:
    """One run of the command; leaving it kills what is left."""

    def __init__(
        self,
        target: str,
        *arguments: str,
        terminal: bool = False,
        keyboard: bool = False,
        variables: Mapping[str, str] | None = None,
        program: Sequence[str | Path] = (Path(sys.executable).with_name("contentgen"),),
    ) -> None:
        """`keyboard`: whether its terminal is its input too, for `type`; `program`: what is run instead."""
        self._output = bytearray()
        read, write = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(write, termios.TIOCSWINSZ, _SIZE)
        self._process = subprocess.Popen(
            [*program, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "TERM": "xterm-256color",
                "CONTENTGEN_SCHEDULER": target,
                **(variables or {}),
            },
            stdin=write if keyboard else subprocess.DEVNULL,
            stdout=write,
            stderr=write if terminal else subprocess.PIPE,
            start_new_session=True,
        )
        self._keyboard = os.dup(read) if keyboard else None
        os.close(write)
        self._reader = threading.Thread(target=self._read, args=(read,))
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self._keyboard is not None:
            os.close(self._keyboard)
        self._reader.join(PATIENCE_S)

    def type(self, text: str) -> None:
        """What somebody types."""
        assert self._keyboard is not None
        os.write(self._keyboard, text.encode())

    def _read(self, descriptor: int) -> None:
        with open(descriptor, "rb", buffering=0) as stream:
            while chunk := _next(stream.fileno()):
                self._output += chunk

    @property
    def output(self) -> str:
        """Standard output so far, and on a terminal standard error too."""
        return self._output.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Until that is written."""
        wait_until(lambda: text in self.output, within=PATIENCE_S, what=f"contentgen writes {text!r}")

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> tuple[int, str]:
        """Its exit status and, in pipes, what it wrote to standard error."""
        _, err = self._process.communicate(timeout=PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return self._process.returncode, (err or b"").decode()


def _next(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # a terminal whose other side is closed
        return b""
