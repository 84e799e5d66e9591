"""A service as a process of its own, with its log: started, looked after, ended by its id.

Layer: cli.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from contentgen.stack.interrupts import Interrupts

STOP_LIMIT = 10.0
"""Seconds from the second TERM to KILL, and from that until a process has to be gone."""
_POLL = 0.02
_TAIL_LINES = 5


class StackError(Exception):
    """Something in the stack is not as it should be.

    Attributes:
        log: what to read about it.
    """

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


class Service:
    """One process. Ctrl-C on the terminal doesn't reach it: it is ended by `end`, in order."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Starts the process."""
        self.name = name
        self.log = log
        self.former_log = log.with_suffix(f"{log.suffix}.1")
        self._argv = argv
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Starts the process, also again. Its log replaces that of its last start, which is kept as `former_log`."""
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
            raise StackError(f"the {self.name} has ended with status {self.status}{self._tail()}", self.log)

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _tail(self) -> str:
        lines = self.log_text().splitlines()[-_TAIL_LINES:]
        return "".join(f"\n  {line}" for line in ("; its last lines:", *lines)) if lines else ""

    def kill(self) -> None:
        """Ends the process as a crash would."""
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        self._process.send_signal(number)


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
