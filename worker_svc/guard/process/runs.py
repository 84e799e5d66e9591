"""Runs and their CLIs: what the guard knows of each, and how one is brought to its end.

    open ──(told | deadline | the worker is gone)──> ending: TERM ──(grace is over)──> KILL ──> over
                                                              └────(nothing lives)────────────> over

A CLI can be stopped alone, too (TERM to its group, KILL after the grace); what it leaves behind stays with the run.
"""

from __future__ import annotations

import signal

from worker_svc.guard.process.process_tree import ProcessTree

TOLD = "told"
DEADLINE = "deadline"
ITSELF = "itself"


class CliProcess:
    """One child of the guard that was started on request."""

    def __init__(self, number: int, run: GuardedRun, pid: int, verdict: int, output: list[int]) -> None:
        self.number = number
        self.run = run
        self.pid = pid
        self.output = output
        self.verdict: int | None = verdict
        """Where a failed exec tells of itself; None once that is settled."""
        self.failure: tuple[int, str] | None = None
        self.kill_at: float | None = None
        """It alone was told to stop: when KILL follows."""

    def ended_by(self) -> str:
        """Who ended it, asked when it has ended."""
        return TOLD if self.kill_at is not None else self.run.ended_by or ITSELF


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
        """How many processes beside the CLIs themselves lived when the end began."""
        self.killed: set[tuple[int, int]] = set()
        self._kill_at: float | None = None

    @property
    def ending(self) -> bool:
        return self.ended_by is not None and not self.over

    def end(self, cause: str) -> None:
        """Let the run end from the next step on; the first cause counts."""
        self.ended_by = self.ended_by or cause

    def step(self, now: float, grace: float, family: ProcessTree) -> None:
        """One step towards the end, just after a survey of the family: over, or TERM, or once `grace` is over KILL.

        KILL is sent again and again: what was forked meanwhile has a parent that dies, so it becomes a child of the
        guard and the next step finds it.
        """
        members = list(family.of(self.name))
        if not members and not family.has_children(self.name):
            self.over = True
        elif self._kill_at is None:
            # A guard that was frozen itself comes too late to be gentle: the lease may be another's by now.
            self._kill_at = min(now, self.deadline) + grace
            self.leftovers = sum(process.pid not in self.clis for process in members)
            family.send_signal(members, signal.SIGTERM)
        elif now >= self._kill_at:
            self.killed.update(process.key for process in members)
            family.send_signal(members, signal.SIGKILL)
