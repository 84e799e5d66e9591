"""A service as a process of its own, with its log: started, started again, ended by its id.

Layer: cli. Signals such as Ctrl-C are noted, and acted on where that is safe: one that raised wherever it struck could
lose track of a process that was just being started.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants the command to end."""


class Interrupts:
    """A context that counts SIGINT, SIGTERM and SIGHUP."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def check(self) -> None:
        """Raises Interrupted once a signal has come."""
        if self.count:
            raise Interrupted

    def pause(self, seconds: float) -> None:
        """Waits. Raises Interrupted if a signal came meanwhile."""
        time.sleep(seconds)
        self.check()


STOP_LIMIT = 10.0
"""Seconds from the second TERM to KILL, and from that until a process has to be gone."""
_POLL = 0.02
_TAIL_LINES = 5
FIRST_PAUSE = 1.0
"""Seconds before a service is started again; doubled each time that it ends soon after its start."""
MAX_PAUSE = 30.0
_SOON = 60.0


class StackError(Exception):
    """Something in the stack is not as it should be.

    Attributes:
        log: what to read about it.
    """

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


def status_of(name: str, command: Callable[[Interrupts], None]) -> int:
    """Runs a command, says what went wrong, and returns its exit status: 0; 1 it failed; 130 it was interrupted."""
    try:
        with Interrupts() as interrupts:
            command(interrupts)
    except Interrupted:
        print("interrupted; everything is stopped", file=sys.stderr)
        return 130
    except StackError as error:
        print(f"{name} failed: {error}\nread {error.log}", file=sys.stderr)
        return 1
    return 0


class Service:
    """One process. Ctrl-C on the terminal doesn't reach it: it is ended by `end`, in order."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.former_log = log.with_suffix(f"{log.suffix}.1")
        self._argv = argv
        self._environment = environment
        self._pause = FIRST_PAUSE
        self.start()

    def start(self) -> None:
        """Starts the process, also again. Its log replaces that of its last start, which is kept as `former_log`."""
        self._started_at = time.monotonic()
        self._due: float | None = None
        if self.log.exists():
            self.log.replace(self.former_log)
        with self.log.open("wb") as log_file:
            self._process = subprocess.Popen(
                self._argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises StackError if the process has ended by itself."""
        if not self.running:
            lines = self.log_text().splitlines()[-_TAIL_LINES:]
            tail = "\n  ".join(["; its last lines:", *lines]) if lines else ""
            raise StackError(f"the {self.name} has ended with status {self.status}{tail}", self.log)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        self._process.send_signal(number)

    def keep_up(self, say: Callable[[str], None]) -> None:
        """Starts the process again if it has ended and its pause is over. Calls `say` with a line about each end."""
        if self.running:
            return
        now = time.monotonic()
        if self._due is None:
            pause = FIRST_PAUSE if now - self._started_at > _SOON else self._pause
            self._pause, self._due = min(2 * pause, MAX_PAUSE), now + pause
            again = f"it is started again in {pause:g} s, its log moves to {self.former_log}"
            say(f"the {self.name} has ended with status {self.status}; {again}")
        if now >= self._due:
            self.start()


def end(services: Sequence[Service], grace: float, interrupts: Interrupts) -> None:
    """Ends all services at once: TERM drains, TERM again stops, KILL comes last.

    Args:
        services: in no order.
        grace: seconds to drain in.
        interrupts: another signal ends each wait.
    """
    for number, limit in ((signal.SIGTERM, grace), (signal.SIGTERM, STOP_LIMIT), (signal.SIGKILL, STOP_LIMIT)):
        for service in services:
            service.send(number)
        if _ended(services, limit, interrupts):
            return
    survivor = next(service for service in services if service.running)
    raise StackError(f"the {survivor.name} does not end", survivor.log)


def _ended(services: Sequence[Service], limit: float, interrupts: Interrupts) -> bool:
    """Waits until all services have ended. Returns False if that takes too long, or another signal comes."""
    count, deadline = interrupts.count, time.monotonic() + limit
    while any(service.running for service in services):
        if interrupts.count > count or time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
