"""Runs and their CLIs: what the guard knows of each, and how it ends a run.

    open ──(request | deadline | the worker is gone)──> ending: TERM ──(grace is over)──> KILL ──> over
                                                                 └─────(nothing lives)───────────> over

A CLI can also be stopped alone (TERM to its group, KILL after the grace). Processes that it leaves belong to the run.
"""

from __future__ import annotations

import signal

from worker_svc.guard.process.process_tree import ProcessTree

BY_REQUEST = "request"
BY_DEADLINE = "deadline"
BY_ITSELF = "itself"


class CliProcess:
    def __init__(self, number: int, run: GuardedRun, pid: int, exec_pipe: int, output: list[int]) -> None:
        self.number = number
        self.run = run
        self.pid = pid
        self.output = output
        self.exec_pipe: int | None = exec_pipe
        """Descriptor on which a failed exec reports; None once exec has succeeded or failed."""
        self.failure: tuple[int, str] | None = None
        self.kill_at: float | None = None
        """When KILL follows, if this CLI alone was asked to stop."""

    def ended_by(self) -> str:
        return BY_REQUEST if self.kill_at is not None else self.run.ended_by or BY_ITSELF


class GuardedRun:
    """One attempt at a task: a deadline and the CLIs started for it."""

    def __init__(self, name: str, deadline: float) -> None:
        self.name = name
        self.deadline = deadline
        self.clis: dict[int, CliProcess] = {}
        """By pid, until reaped."""
        self.ended_by: str | None = None
        self.over = False
        self.close_asked = False
        self.leftovers = 0
        """Descendants, without the CLIs themselves, that lived when the run began to end."""
        self.killed: set[tuple[int, int]] = set()
        self._kill_at: float | None = None

    @property
    def ending(self) -> bool:
        return self.ended_by is not None and not self.over

    def end(self, cause: str) -> None:
        """Ends the run from the next step on; the first cause counts."""
        self.ended_by = self.ended_by or cause

    def step(self, now: float, grace: float, tree: ProcessTree) -> None:
        """Takes one step towards the end, just after a survey of `tree`: TERM, then KILL once `grace` is over.

        KILL is repeated: a process that was forked meanwhile becomes a child of the guard when its parent dies, and the
        next step finds it.
        """
        members = list(tree.of(self.name))
        if not members and not tree.has_children(self.name):
            self.over = True
        elif self._kill_at is None:
            # A guard that was stopped may be late. Another worker may hold the lease by then, so it does not wait.
            self._kill_at = min(now, self.deadline) + grace
            self.leftovers = sum(process.pid not in self.clis for process in members)
            tree.send_signal(members, signal.SIGTERM)
        elif now >= self._kill_at:
            self.killed.update(process.key for process in members)
            tree.send_signal(members, signal.SIGKILL)
