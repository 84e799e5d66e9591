"""A service as a process of its own: a test starts it, kills it, freezes it, stops it, and reads its log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.harness.waiting import wait_until

START_LIMIT = 20.0
"""Seconds until a service has to be ready, on a machine that is busy with other tests."""
STOP_LIMIT = 10.0
"""Seconds within which the contract promises the end after TERM."""
_TAIL = 40


class Service:
    """One process at a time of one command; it can be started again."""

    def __init__(self, name: str, command: str, ready: str, log: Path, environment: Mapping[str, str]) -> None:
        """`ready` is the action of the log event that says that it serves."""
        self.name = name
        self.environment = dict(environment)
        self.command = [str(Path(sys.executable).with_name(command))]
        """What is started: program and arguments."""
        self._ready = ready
        self.log = log
        self._begin = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def served(self) -> bool:
        """Whether it has said, since it was started last, that it serves."""
        return bool(self.events(self._ready))

    @property
    def exit_status(self) -> int | None:
        """What it ended with; None while it runs."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.poll()

    def launch(self, **changed: str) -> Self:
        """Starts it, with some settings changed for good, and does not wait."""
        assert not self.alive, f"{self.name} runs already"
        self.environment |= changed
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def start(self, **changed: str) -> Self:
        """Starts it, and returns once it serves."""
        self.launch(**changed)
        self.wait_for(self._ready, within=START_LIMIT)
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} was never started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill -9."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_LIMIT)

    def freeze(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """TERM; it has to end by itself in time, with status 0."""
        self.signal(signal.SIGTERM)
        self.ended()

    def ended(self, within: float = STOP_LIMIT) -> None:
        """Waits for its end, which has to come in time, with status 0."""
        wait_until(lambda: not self.alive, within=within, what=f"{self.name} has ended")
        assert self._process is not None
        assert self._process.returncode == 0, f"{self.name} ended with status {self._process.returncode}"

    def events(self, action: str) -> list[dict[str, Any]]:
        """The events of that action that it has logged since it was started last."""
        lines = (json.loads(line) for line in self._text().splitlines() if line.startswith("{") and line.endswith("}"))
        return [event for event in lines if event.get("action") == action]

    def wait_for(self, action: str, *, within: float) -> dict[str, Any]:
        """The first event of that action."""

        def logged() -> list[dict[str, Any]]:
            found = self.events(action)
            assert found or self.alive, f"{self.name} ended:\n{self.tail()}"
            return found

        return wait_until(logged, within=within, what=f"{self.name} logs {action!r}")[0]

    def tail(self) -> str:
        """The last lines of its log, over all its starts."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL:])

    def _text(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", "replace")
