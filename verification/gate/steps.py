"""Runs the steps of a gate, shows the output of each whole, and in the end what each of them cost.

Needs the standard library only: `.ci/run` starts it before there is a `.venv`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

_END_TIMEOUT = 30.0
"""Seconds that a step has to end its own processes when the gate is interrupted."""


@dataclass(frozen=True)
class Need:
    """What not every machine has."""

    name: str
    check: tuple[str, ...]
    """A command that succeeds where it is there."""

    @property
    def is_met(self) -> bool:
        try:
            subprocess.run(self.check, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):  # OSError: there is no such program
            return False
        return True


@dataclass(frozen=True)
class Step:
    name: str
    command: tuple[str, ...]
    needs: Need | None = None
    """The step is skipped where this is not met."""
    alone: bool = False
    """The step has the machine for itself, when all others have ended."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended, and its cost in seconds."""

    name: str
    result: str
    wall: float = 0.0
    cpu: float = 0.0
    """Of its processes, but not of those that outlive their parent."""

    @property
    def is_failure(self) -> bool:
        return self.result.startswith("failed")


class Gate:
    def __init__(self, side_by_side: int = 1) -> None:
        self._side_by_side = side_by_side
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._is_interrupted = False

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Returns the outcome of each step: one that fails stops none of the others. An interrupt ends them all."""
        with ThreadPoolExecutor(self._side_by_side) as pool:
            outcomes = [pool.submit(self._run, step) for step in steps]
            try:
                return [outcome.result() for outcome in outcomes]
            except BaseException:
                self._interrupt(outcomes)
                raise

    def _run(self, step: Step) -> Outcome:
        if step.needs and not step.needs.is_met:
            return Outcome(step.name, f"skipped: needs {step.needs.name}")
        with tempfile.TemporaryFile() as output:
            begin = time.monotonic()
            status, cpu = self._wait(self._start(step, output))
            result = f"failed with {status}" if status else "passed"
            outcome = Outcome(step.name, result, time.monotonic() - begin, cpu)
            self._show(outcome, output)
        return outcome

    def _start(self, step: Step, output: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_interrupted:
                raise KeyboardInterrupt
            print(f"... {step.name}", flush=True)
            process = subprocess.Popen(
                step.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            self._running.add(process.pid)
            return process

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[int, float]:
        """Returns the exit status and the CPU seconds of a process, when nothing of its process group is left."""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._running.remove(process.pid)
            _signal(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime

    def _show(self, outcome: Outcome, output: IO[bytes]) -> None:
        output.seek(0)
        with self._lock:
            print(f"\n=== {outcome.name}: {outcome.result} after {_minutes(outcome.wall)}", flush=True)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.buffer.flush()

    def _interrupt(self, outcomes: Sequence[Future[Outcome]]) -> None:
        self._signal_all(signal.SIGTERM)
        wait(outcomes, _END_TIMEOUT)
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        with self._lock:
            self._is_interrupted = True
            for group in self._running:
                _signal(group, number)


def run(steps: Sequence[Step], side_by_side: int = 1, first: Sequence[Step] = ()) -> int:
    """The exit status: 0 unless a step failed. The steps need what those of `first` make, which run one by one."""
    begin = time.monotonic()
    with _terminable():
        outcomes = Gate().run(first)
        if not any(outcome.is_failure for outcome in outcomes):
            outcomes += Gate(side_by_side).run([step for step in steps if not step.alone])
            outcomes += Gate().run([step for step in steps if step.alone])
    print("\n" + table(outcomes, time.monotonic() - begin), flush=True)
    return int(any(outcome.is_failure for outcome in outcomes))


def chosen(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """Returns the steps of these names, or all if no name is given.

    Raises:
        SystemExit: for a name that no step has.
    """
    if unknown := sorted({*names} - {step.name for step in steps}):
        raise SystemExit(f"no step {', '.join(unknown)}; there are {', '.join(step.name for step in steps)}")
    return [step for step in steps if not names or step.name in names]


def table(outcomes: Sequence[Outcome], wall: float) -> str:
    """A line a step, and one for all, with how busy the cores were."""
    cpu = sum(outcome.cpu for outcome in outcomes)
    cores = os.cpu_count() or 1
    rows = [("step", "wall", "CPU", "result")]
    rows += [(outcome.name, _minutes(outcome.wall), _minutes(outcome.cpu), outcome.result) for outcome in outcomes]
    rows += [("all", _minutes(wall), _minutes(cpu), f"{cpu / cores / max(wall, 1.0):.0%} of {cores} cores")]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{name:<{width}}  {wall:>7}  {cpu:>7}  {result}" for name, wall, cpu, result in rows)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nothing is left of it but its zombie
        os.killpg(group, number)


@contextmanager
def _terminable() -> Iterator[None]:
    """TERM ends the steps as Ctrl-C does, with the exit status of that."""
    former_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        signal.signal(signal.SIGTERM, former_handler)
