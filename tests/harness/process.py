"""A program as a process of its own: a test starts it, signals it, reads what it prints, and leaves nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import pytest

from tests.harness.fork_server import ForkedProcess, can_fork, fork_server
from tests.harness.waiting import on_this_machine, wait_until

STOP_LIMIT = 10.0
"""Seconds within which the contract promises the end after TERM."""
_TAIL = 40


def installed(command: str) -> Path:
    """Returns a command that was installed beside this Python."""
    return Path(sys.executable).with_name(command)


def inherited() -> dict[str, str]:
    """Returns the variables that a process takes from the test's environment: none that is a setting of ours."""
    return {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}


def run_to_end(
    command: Sequence[object], environment: Mapping[str, str] | None = None, *, cwd: Path | None = None, within: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command, whose end has to come in time; its output is in the result. None: this process's environment."""
    with TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        variables = os.environ if environment is None else environment
        with Process(str(command[0]), command, errors, variables, out=out, cwd=cwd or Path.cwd()) as process:
            try:
                status = process.popen.wait(on_this_machine(within))
            except subprocess.TimeoutExpired as error:
                error.add_note(f"{out.read_text()}\n{errors.read_text()}")
                raise
        return subprocess.CompletedProcess(process.command, status, out.read_text(), errors.read_text())


def _written_to_files(
    command: list[str], environment: Mapping[str, str], cwd: Path, out: Path, errors: Path
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Starts a program that writes to the ends of these files; ours are forked if that makes no difference to them."""
    if Process.by_fork and can_fork(command, environment):
        return fork_server().start(command, environment, cwd, out, errors)
    with out.open("ab") as out_file, errors.open("ab") as errors_file:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=errors_file,
            start_new_session=True,
        )


def started(
    command: Sequence[object], environment: Mapping[str, str], *, out: int, errors: int, keyboard: int | None = None
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Starts a command on descriptors of this process: pipes or a terminal. It ends when it likes."""
    arguments = [str(part) for part in command]
    if Process.by_fork and can_fork(arguments, environment):
        own = Path(f"/proc/{os.getpid()}/fd")
        typed = Path(os.devnull) if keyboard is None else own / str(keyboard)
        paths = (own / str(out), own / str(errors))
        return fork_server().start(arguments, environment, Path.cwd(), *paths, keyboard=typed)
    typed_here = subprocess.DEVNULL if keyboard is None else keyboard
    return subprocess.Popen(
        arguments, env=environment, stdin=typed_here, stdout=out, stderr=errors, start_new_session=True
    )


class Process:
    """One process at a time of one command; it can be started again. It does not outlive the block that enters it."""

    by_fork = False
    """Whether our programs are forked where that makes no difference to them; tests set it, campaigns don't."""

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        log: Path,
        environment: Mapping[str, str],
        *,
        out: Path | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Does not start it yet.

        Args:
            name: of it in messages.
            command: program and arguments.
            log: the file that it writes to; each start appends.
            environment: all of its variables.
            out: a file for its standard output; None: `log`.
            cwd: the folder that it works in; None: that of `log`.
        """
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.environment = dict(environment)
        self._out = out or log
        self._cwd = cwd or log.parent
        self._begin = 0
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def __enter__(self) -> Self:
        return self if self._process else self.launch()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            print(f"==> {self.name} <==\n{self.tail()}")
        if self.alive:
            self.kill()

    @property
    def popen(self) -> subprocess.Popen[bytes] | ForkedProcess:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What it ended with; None while it runs."""
        return self.popen.poll()

    def launch(self, **changed: str) -> Self:
        """Starts it, with some variables changed for good, and does not wait."""
        assert not self.alive, f"{self.name} runs already"
        self.environment |= changed
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        self._process = _written_to_files(self.command, self.environment, self._cwd, self._out, self.log)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Kills it by SIGKILL."""
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_LIMIT)

    def freeze(self) -> None:
        """Sends SIGSTOP: it is there, and does nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Sends SIGCONT."""
        self.signal(signal.SIGCONT)

    def stop(self, within: float = STOP_LIMIT) -> None:
        """Sends TERM; it has to end by itself in time, with status 0."""
        self.signal(signal.SIGTERM)
        self.ended(within)

    def ended(self, within: float = STOP_LIMIT, status: int = 0) -> None:
        """Waits for its end, which has to come in time, with that exit status."""
        wait_until(lambda: not self.alive, within=within, what=f"{self.name} has ended")
        exit_status = self.exit_status
        assert exit_status == status, f"{self.name} ended with status {exit_status}:\n{self.tail()}"

    @property
    def out(self) -> str:
        """What it has written to its standard output, over all its starts."""
        return self._out.read_text(encoding="utf-8")

    def text(self) -> str:
        """Returns what it has written to its log since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """Returns the last lines of its log, over all its starts."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL:])

    def events(self, action: str) -> list[dict[str, Any]]:
        """Returns the events of that action that it has logged since it was started last."""
        lines = (json.loads(line) for line in self.text().splitlines() if line.startswith("{") and line.endswith("}"))
        return [event for event in lines if event.get("action") == action]

    @property
    def metrics_port(self) -> int:
        """Where a service serves its metrics, as its log says."""
        (ready,) = self.events("ready") or self.events("metrics.ready")
        return int(str(ready["metrics_listen"]).rpartition(":")[2])

    def wait_for(self, action: str, *, within: float) -> dict[str, Any]:
        """Returns the first event of that action."""

        def logged() -> list[dict[str, Any]]:
            events = self.events(action)
            assert events or self.alive, f"{self.name} ended:\n{self.tail()}"
            return events

        return wait_until(logged, within=within, what=f"{self.name} logs {action!r}")[0]


# A command of ours that serves: its log says when it is ready.


START_LIMIT = 60.0
"""Seconds until a service has to be ready, on a machine that is busy with other tests."""


class Service(Process):
    """One process at a time of a service."""

    def __init__(self, name: str, command: str, ready: str, folder: Path, settings: Mapping[str, str]) -> None:
        """`ready` is the action of the log event that says that it serves; the log is in `folder`."""
        super().__init__(name, [installed(command)], folder / f"{name}.log", {**inherited(), **settings})
        self._ready = ready

    @property
    def served(self) -> bool:
        """Whether it has become ready since it was started last."""
        return bool(self.events(self._ready))

    def start(self, **changed: str) -> Self:
        """Starts it, with some settings changed for good, and returns once it serves."""
        self.launch(**changed)
        self.wait_for(self._ready, within=START_LIMIT)
        return self


# Programs of the system that some tests run: proxies, Prometheus.


_FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)])


def found_program(name: str) -> str | None:
    """Returns the path of a program; None if it is not installed."""
    return shutil.which(name, path=_FOLDERS)


def program(name: str) -> str:
    """Returns the path of a program; a test whose program is not installed is skipped."""
    path = found_program(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
