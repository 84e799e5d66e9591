"""Starts of our programs from a process that has imported them already: a tenth of what their commands cost.

A program has the interpreter and the modules that the server had; all else is as in a process of its own: arguments,
environment, folder, umask, session, output, signals, and the end of the interpreter. What counts before that, such as a
variable of Python or gRPC, needs the command.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from threading import Lock
from typing import Any

from worker_svc.guard.process import launch

ENTRY_POINTS = {
    "contentgen": "contentgen.cli.__main__:main",
    "contentgen-console": "console_svc.__main__:main",
    "contentgen-scheduler": "scheduler_svc.__main__:main",
    "contentgen-worker": "worker_svc.__main__:main",
}
_ALSO = {
    "contentgen": ("contentgen.cli.app", "contentgen.client"),
    "contentgen-console": ("console_svc.main",),
    "contentgen-scheduler": ("scheduler_svc.main", "scheduler_svc.admin.health_command"),
    "contentgen-worker": ("worker_svc.main", "worker_svc.session.service"),
}
"""What they import later."""
_STATUS = Path("/proc/self/status")
_COUNT_BEFORE = ("GRPC_", "PYTHON", "SSL_", "TZ")
"""Variables that begin so are read while modules are imported, or before."""


class ForkServer:
    """The process that is forked. It lives as long as this one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.fork_server"],
            env={name: value for name, value in os.environ.items() if not name.startswith("CONTENTGEN_")}
            | {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "ERROR"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        out: Path,
        log: Path,
        *,
        keyboard: Path = Path(os.devnull),
    ) -> ForkedProcess:
        """Starts a program that writes to the ends of these files, or to a terminal, and reads from `keyboard`."""
        (umask,) = (line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith("Umask:"))
        wanted = {
            "command": command,
            "environment": environment,
            "cwd": cwd,
            "umask": int(umask, 8),
            "keyboard": keyboard,
            "out": out,
            "log": log,
        }
        return ForkedProcess(self, self.ask(wanted))

    def ask(self, request: Mapping[str, Any]) -> Any:
        with self._lock:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps(request, default=str).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


class ForkedProcess:
    """As a `subprocess.Popen`, as far as tests need one."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._ended = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._wait(0.0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._ended], [], [], timeout)[0]:
            os.close(self._ended)
            self.returncode = self._server.ask({"ended": self.pid})
        return self.returncode


@cache
def fork_server() -> ForkServer:
    """Returns the one of this process."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def forked_by() -> int | None:
    """Returns the process id of the server, if there is one yet."""
    return fork_server().pid if fork_server.cache_info().currsize else None


def can_fork(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Returns whether that is a program of ours, in whose environment nothing counts before it runs."""
    program = Path(command[0])
    ours = program.name in ENTRY_POINTS and program.parent == Path(sys.executable).parent
    return ours and not any(name.startswith(_COUNT_BEFORE) for name in environment)


def serve() -> None:
    """Forks a program for each request to start one. Its process gets here, too, and runs it."""
    gc.disable()  # as programs do while they import; they enable it
    answers, server = os.fdopen(os.dup(1), "wb"), os.getpid()
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            _import(Path(request["command"][0]).name)
            is_ready, ready = os.pipe()
            if (answer := os.fork()) == 0:
                launch.die_with(server)  # and that ends with pytest: nothing stays where it is killed
                answers.close()
                os.close(is_ready)
                _become(request, ready)
                return
            os.close(ready)
            os.read(is_ready, 1)
            os.close(is_ready)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


@cache
def _import(program: str) -> None:
    for name in (ENTRY_POINTS[program], *_ALSO[program]):
        resolve_name(name)
    gc.collect()
    gc.freeze()


def _become(request: Mapping[str, Any], ready: int) -> None:
    """Runs the program in a process that is as its starter wants it by the time that `ready` is closed."""
    os.setsid()
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    for target, path, flags in (
        (0, request["keyboard"], os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags | os.O_NOCTTY, 0o666)
        os.dup2(opened, target)
        os.close(opened)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    sys.argv = list(request["command"])
    os.close(ready)
    resolve_name(ENTRY_POINTS[Path(sys.argv[0]).name])()


if __name__ == "__main__":
    serve()
